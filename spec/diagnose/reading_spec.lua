-- What is read: a gateway's log and metrics, also where they are broken.
local exposition = require "unbusy.diagnose.exposition"
local log = require "unbusy.diagnose.log"
local metrics = require "unbusy.diagnose.metrics"
local period = require "unbusy.diagnose.period"

local function write(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

local function read(text)
  local path = write(text)
  local facts, message = log.read(path)
  os.remove(path)
  return facts, message and message:gsub("^.-(:?%d*:? )", "%1", 1)
end

-- The line of a call that ended at a second of the minute.
local function line(second, rest)
  return ('{"time":"2026-01-31T12:00:%02d+00:00","kind":"chat","target":"a",%s}\n'):format(second,
    rest)
end

local GOOD = '"source":"upstream","tries":1,"queued":0,"start":0.1,"seconds":0.2'

describe("a log", function()
  it("is parted into the trouble and the quiet time", function()
    local lines = {}
    for second = 10, 29 do
      for _ = 1, 10 do lines[#lines + 1] = line(second, GOOD) end
      for _ = 1, second >= 20 and second < 24 and 10 or 0 do
        lines[#lines + 1] = line(second, '"code":"busy","tries":2,"seconds":0.1')
      end
    end
    local f = assert(read(table.concat(lines)))
    assert.same({ 240, 0 }, { f.calls, f.skipped })
    assert.same({ 80, 40, 40 }, { f.trouble.calls, f.trouble.bad, f.trouble.codes.busy })
    assert.same({ 160, 0 }, { f.quiet.calls, f.quiet.bad })
    assert.same({ 0.1, 0.2 }, { f.quiet.took, f.quiet.whole })
    assert.same({ 120, 40, 40 }, { f.trouble.tries, f.trouble.refused, f.trouble.retried })
    assert.is_true(f.to - f.from <= 6)
  end)

  it("of a time when answers take long is trouble, too, and so is one in which calls wait",
    function()
      local lines = {}
      for second = 10, 29 do
        lines[#lines + 1] = line(second, second < 25 and GOOD
          or '"source":"upstream","tries":1,"queued":0,"seconds":0.9')
      end
      assert.equal(0.9, read(table.concat(lines)).trouble.took)
      for second = 30, 34 do
        lines[#lines + 1] = line(second, '"code":"full","tries":0,"seconds":2')
      end
      assert.equal(5, read(table.concat(lines)).trouble.codes.full)
    end)

  it("has lines that are no calls", function()
    local f = assert(read(line(1, GOOD)
      .. '{"time":"2026-01-31T12:00:01+00:00","kind":"models","status":200}\n\n'
      .. line(1, '"status":429,"code":"limited","seconds":0') -- a quota of the client's key
      .. '{"time":"2026-01-31T12:0'))
    assert.same({ 1, 4 }, { f.calls, f.skipped })
    assert.is_nil(f.trouble)
  end)

  it("that makes no sense is told with its line", function()
    local function said(text) return (select(2, read(text))) end
    assert.matches("^:2: not JSON", said(line(1, GOOD) .. ("nonsense\n"):rep(2) .. line(2, "x")))
    assert.matches("^:1: time: as 2026", said '{"time":"yesterday","kind":"chat"}\n')
    assert.matches("^:1: seconds: a number", said(line(1, '"source":"upstream","seconds":-1')))
    assert.matches("no call stands in it", said "")
    assert.matches("no call stands in it", said "\n\n")
    assert.is_nil((log.read "/nowhere/at/all"))
    assert.is_nil((log.read "/tmp"))
    assert.matches("a line of more than", said(("x"):rep(70000)))
  end)
end)

local TEXT = [[
# HELP unbusy_calls_total calls that ended
# TYPE unbusy_calls_total counter
unbusy_calls_total{kind="chat",source="upstream",code=""} 90
unbusy_calls_total{kind="chat",source="none",code="full"} 10 1767225600000
unbusy_tries_total{target="a",account="a",code="",status="200"} 90
unbusy_first_token_seconds_sum{target="a"} 18
unbusy_first_token_seconds_count{target="a"} 90
unbusy_queue_wait_seconds_sum{priority="normal"} 100
unbusy_limit{account="a"} 4
unbusy_in_flight{account="a"} NaN
odd{name="a \"b\" \\ {c}, \n",x="}"} 7
odd{name="infinite"} +Inf
# EOF
]]

describe("an exposition", function()
  it("has names, labels and values", function()
    local families = assert(exposition.read(TEXT))
    assert.equal(100, exposition.sum(families, "unbusy_calls_total"))
    assert.equal(10, exposition.sum(families, "unbusy_calls_total", { code = "full" }))
    assert.is_nil(exposition.sum(families, "unbusy_in_flight"))
    assert.is_nil(exposition.sum(families, "nothing"))
    assert.same({ name = 'a "b" \\ {c}, \n', x = "}" }, families.odd[1].labels)
    assert.same({ 1, 7 }, { #families.odd, families.odd[1].value })
    assert.equal(1, #exposition.read("a 1\nb 1e999\n").a)
  end)

  it("that is none is told with its line", function()
    for text, message in pairs { ["<html>"] = "line 1: no metric", [""] = "no metric",
      ["a 1\nb{c=} 1"] = "line 2: no metric", ["a{b=\"c} 1"] = "line 1: no metric",
      ["a"] = "line 1: no metric", ["a x"] = "line 1: no metric", ["a{b=\"\\"] =
        "line 1: no metric", ["# only remarks"] = "no metric" } do
      assert.same({ nil, message }, { exposition.read(text) }, text)
    end
  end)
end)

describe("metrics", function()
  local function grown(more)
    return (TEXT:gsub("} 90\n", ("} %d\n"):format(90 + more)))
  end

  it("of one scrape are what was ever counted", function()
    local f = assert(metrics.read(TEXT))
    assert.is_nil(f.quiet)
    assert.same({ 100, 10, 0.2, 1, 4 }, { f.trouble.calls, f.trouble.bad, f.trouble.took,
      f.trouble.queued, f.trouble.limit })
  end)

  it("of two are what lies between them, beside what lay before", function()
    local f = assert(metrics.read(TEXT:gsub(" 10 1767225600000", " 30"), TEXT, { span = 5 }))
    assert.same({ 20, 20, 5 }, { f.trouble.calls, f.trouble.bad, f.trouble.span })
    assert.equal(100, f.quiet.calls)
    f = assert(metrics.read(grown(50), TEXT, { span = 5 }))
    assert.is_nil(f.trouble)
    assert.equal(50, f.quiet.calls)
  end)

  it("compare first tokens with first tokens, and whole answers with whole ones", function()
    local function of(streams, seconds, calls, busy)
      return ('unbusy_calls_total{code=""} %d\nunbusy_calls_total{code="busy"} %d\n'
        .. 'unbusy_call_duration_seconds_sum{source="upstream"} %g\n'
        .. 'unbusy_call_duration_seconds_count{source="upstream"} %d\n%s'):format(calls, busy,
        seconds * calls, calls, streams and ("unbusy_first_token_seconds_sum %g\n"
        .. "unbusy_first_token_seconds_count %d\n"):format(0.1 * calls, calls) or "")
    end
    local f = assert(metrics.read(of(false, 2, 100, 50), of(false, 1, 40, 0)))
    assert.is_true(f.trouble.took > 2 and f.quiet.took == 1)
    f = assert(metrics.read(of(true, 2, 100, 50), of(true, 1, 40, 0)))
    assert.is_true(math.abs(f.trouble.took - 0.1) < 1e-9 and math.abs(f.quiet.took - 0.1) < 1e-9)
    f = assert(metrics.read(of(true, 2, 100, 50), of(false, 1, 40, 0)))
    assert.is_nil(f.quiet.took)
  end)

  it("of a gateway that has begun anew are what it says now", function()
    local f = assert(metrics.read(grown(-80), TEXT, { span = 5 }))
    assert.equal(20, f.trouble.calls) -- 10 answered, and 10 full
  end)

  -- What is looked up (how often a breaker has opened) goes with its target at a reload.
  it("of a gateway that counts on, with a target fewer, are what was added", function()
    local since = TEXT .. "unbusy_start_time_seconds 1000\n"
    local before = since .. 'unbusy_breaker_opened_total{target="gone"} 3\n'
    local f = assert(metrics.read(since:gsub("} 90\n", "} 140\n"), before, { span = 5 }))
    assert.is_nil(f.trouble)
    assert.equal(50, f.quiet.calls)
    f = assert(metrics.read(since:gsub(" 1000\n$", " 1010\n"), since, { span = 5 }))
    assert.equal(100, f.trouble.calls) -- begun anew, and as many as before
  end)

  it("know when the counting began", function()
    local since = TEXT .. "unbusy_start_time_seconds 1000\n"
    assert.equal(20, metrics.read(since, nil, { at = 1020 }).trouble.span)
    local later = since:gsub(" 10 1767225600000", " 30")
    local f = assert(metrics.read(later, since, { at = 1020, span = 5 }))
    assert.same({ 5, 15 }, { f.trouble.span, f.quiet.span })
    assert.equal(4, period.rate(f.trouble))
  end)

  it("of somebody else are refused", function()
    assert.same({ nil, "no unbusy_calls_total: no metrics of unbusy" }, { metrics.read "up 1\n" })
    assert.same({ nil, "line 1: no metric" }, { metrics.read "<html>" })
    assert.same({ nil, "the earlier one: no metric" }, { metrics.read(TEXT, "") })
  end)
end)
