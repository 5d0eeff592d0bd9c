-- In a gateway's log the target is who has answered, and the code of an answer in another's place
-- is that of what failed before it. `unbusy diagnose` and `unbusy trace` put the two together: a
-- reserve that answered for a main server that was gone was called dead. And tries that are no
-- refusals were taken for such: those beside slow ones, those of a call that others have joined, in
-- the line of each of them, and answers that were weak.
local access_log = require "unbusy.simulate.access_log"
local judge = require "unbusy.diagnose.judge"
local log = require "unbusy.diagnose.log"

local function with_file(lines, f)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(table.concat(lines))
  file:close()
  local a, b = f(path)
  os.remove(path)
  return assert(a, b)
end

-- The line of a call that ended at a second of a minute.
local function line(second, target, rest)
  return ('{"time":"2026-01-31T12:00:%02d+00:00","kind":"chat","target":"%s",%s}\n'):format(second,
    target, rest)
end

local GOOD = '"source":"upstream","tries":1,"queued":0,"start":0.1,"seconds":0.2'

-- Ten good answers of "main" a second, and from the twentieth on ten others.
local function log_of(target, rest)
  local lines = {}
  for second = 10, 29 do
    for _ = 1, 10 do
      lines[#lines + 1] = second < 20 and line(second, "main", GOOD) or line(second, target, rest)
    end
  end
  return lines
end

local function rows(lines)
  local t = with_file(lines, function(path) return access_log.read(path, {}) end)
  local out = {}
  for i = 1, t.rows do
    out[i] = ("%s %s"):format(t.targets[t.of[i]].name, tostring(t.statuses[i]))
  end
  table.sort(out)
  return out
end

describe("a log's line of an answer", function()
  it("in another's place speaks for who gave it", function()
    for _, how in ipairs { '"fallback":"pool"', '"fallback":"model"', '"weak":"short"' } do
      local rest = how .. ',"source":"upstream","code":"network","tries":2,"seconds":0.3'
      local f = with_file(log_of("spare", rest), log.read)
      assert.same({ tries = 100, answered = 100, codes = {} }, f.trouble.targets.spare)
      assert.same({ 100, 100, 100 }, { f.trouble.bad, f.trouble.codes.network, f.trouble.retried })
      assert.is_not_equal("dead", judge.of(f)[1].cause)
      assert.same({ "main 200", "spare 200", "spare false" },
        rows { line(1, "main", GOOD), line(9, "spare", rest) })
    end
  end)

  it("that broke off then, not", function()
    local rest = '"fallback":"pool","source":"upstream","code":"cut","tries":2,"seconds":0.3'
    local f = with_file(log_of("spare", rest), log.read)
    assert.same({ tries = 100, answered = 0, codes = { cut = 100 } }, f.trouble.targets.spare)
  end)

  it("with a try beside it, or behind a weak one, tells of no refusal", function()
    for _, how in ipairs { '"hedged":"won"', '"hedged":"lost"', '"escalated":"short"' } do
      local rest = how .. ',"source":"upstream","tries":2,"queued":1,"seconds":1.4'
      local f = with_file(log_of("main", rest), log.read)
      assert.same({ f.trouble.calls, 0 }, { f.trouble.tries, f.trouble.retried }, how)
      local first = judge.of(f)[1]
      assert.same({ "pool", 0.5 }, { first.cause, first.weight })
      assert.same({ "main 200", "main false" }, rows { line(9, "main", rest) })
    end
  end)

  it("that others share is asked for once", function()
    local lines = { line(20, "main", '"source":"upstream","tries":3,"queued":0,"seconds":3') }
    for _ = 1, 9 do
      lines[#lines + 1] = line(20, "main", '"source":"coalesced","tries":3,"queued":0,"seconds":3')
    end
    local f = with_file(lines, log.read)
    assert.same({ 3, 10 }, { (f.trouble or f.quiet).tries, (f.trouble or f.quiet).calls })
    local out = rows(lines)
    assert.same({ "main 200", "main 503", "main 503" }, { out[1], out[2], out[3] })
    assert.equal("main false", out[4])
  end)
end)
