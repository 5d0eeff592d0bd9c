local chart = require "examples.demo.chart"
local clients = require "examples.demo.clients"
local figures = require "examples.demo.figures"
local files = require "spec.support.files"
local json = require "unbusy.json"
local layout = require "examples.demo.table"
local options = require "examples.demo.options"
local plan = require "examples.demo.plan"
local words = require "examples.demo.words"

local function new_plan(more)
  local o = assert(options.read(more or {}))
  return plan.new(o)
end

describe("the demo's plan", function()
  it("asks the same questions for the same seed, and others for another", function()
    local one, two = plan.questions(new_plan()), plan.questions(new_plan())
    assert.same(one, two)
    assert.not_same(one, plan.questions(new_plan { "--seed", "2" }))
  end)

  it("is a burst of three times the capacity, then half of it, in order", function()
    local p = new_plan { "--capacity", "200" }
    local burst, later, streams, last = 0, 0, 0, 0
    for i, q in ipairs(plan.questions(p)) do
      assert.is_true(q.number == i and q.at >= last and q.at < p.total)
      last = q.at
      if q.at < p.burst then burst = burst + 1 else later = later + 1 end
      if q.kind == "stream" then streams = streams + 1 end
    end
    assert.near(3 * 200 * 5, burst, 200) -- four standard deviations
    assert.near(0.5 * 200 * 25, later, 200)
    assert.near(0.3, streams / (burst + later), 0.03)
  end)

  it("gives questions of which no two are alike", function()
    local seen = {}
    for _, q in ipairs(plan.questions(new_plan())) do
      assert.is_nil(seen[q.text])
      seen[q.text] = true
    end
  end)

  it("has a deadline of at least twice the burst and the longest service", function()
    local p = new_plan()
    assert.is_true(p.deadline >= 2 * p.burst + p.longest)
    assert.equal(20, p.places)
    assert.equal(40, new_plan({ "--service", "2" }).places)
  end)
end)

describe("the demo's options", function()
  it("has defaults, and short ones", function()
    local o = options.read {}
    assert.same({ 20, 1, 0, 1, 5, 30 },
      { o.capacity, o.service, o.queue, o.seed, o.burst, o.total })
    assert.is_true(options.read({ "--short" }).total < 5)
    assert.equal(7, options.read({ "--seed=7", "--json" }).seed)
  end)

  for _, bad in ipairs { "--capacity 0", "--capacity 1.5", "--capacity", "--capacity nan",
    "--service -1", "--seed x", "--json=1", "--nothing", "word", "--queue 1e9" } do
    it("turns down " .. bad, function()
      local args = {}
      for word in bad:gmatch "%S+" do args[#args + 1] = word end
      local o, message = options.read(args)
      assert.is_nil(o)
      assert.is_string(message)
    end)
  end
end)

describe("the demo's loop", function()
  -- A loop whose time passes only by sleeping, and a server that gives each of `answers` in turn.
  local function play(answers, deadline)
    local now, slept, asked = 0, {}, 0
    local loop = { now = function() return now end,
      sleep = function(seconds) slept[#slept + 1], now = seconds, now + seconds end }
    local ask = clients.with_retries({ loop = loop, draw = function() return 1 end }, function()
      asked = asked + 1
      local answer = answers[asked] or answers[#answers]
      if answer == "ok" then return { text = "good" } end
      return nil, "failure " .. asked, answer
    end)
    local reply, message, code = ask({}, deadline or 100)
    return { reply = reply, message = message, code = code, slept = slept, asked = asked }
  end

  it("tries five times, 1, 2, 4 and 8 s and a tenth apart, and gives the last failure", function()
    local got = play { "busy" }
    assert.equal(5, got.asked)
    for i, seconds in ipairs { 1.1, 2.2, 4.4, 8.8 } do assert.near(seconds, got.slept[i], 1e-9) end
    assert.equal(4, #got.slept)
    assert.same({ "failure 5", "busy" }, { got.message, got.code })
  end)

  it("stops at the first answer", function()
    local got = play { "busy", "limited", "ok" }
    assert.equal("good", got.reply.text)
    assert.equal(3, got.asked)
  end)

  it("tries again after busy answers only", function()
    for _, code in ipairs { "open", "timeout", "network", "invalid", "cut" } do
      local got = play { code }
      assert.same({ 1, code }, { got.asked, got.code })
    end
  end)

  it("does not sleep over the deadline", function()
    assert.equal(2, play({ "busy" }, 2).asked)
  end)
end)

describe("the demo's figures", function()
  local function example()
    local records = {
      { at = 0.5, kind = "plain", how = "answered", seconds = 1, queued = 0 },
      { at = 1.5, kind = "plain", how = "answered", seconds = 3, queued = 2 },
      { at = 2.5, kind = "stream", how = "failed", code = "busy", seconds = 1, queued = 0 },
      { at = 2.6, kind = "plain", how = "fallback", code = "open", seconds = 0, queued = 0 },
    }
    local r = { name = "x", plan = { burst = 2 }, records = records, late = 0.001, tries = 5,
      opened = 1, asked = 4, took = 9,
      counts = { answered = 2, failed = 1, fallback = 1, wrong = 0 } }
    return r, { received = 5, completed = 2, refused = 3, aborted_by_client = 0 }
  end

  it("are what the records and the server say", function()
    local f = figures.of(example())
    assert.same({}, f.faults)
    assert.same({ 2, 1, 1, 5, 3, 1 },
      { f.answered, f.fallback, f.failed, f.calls, f.refused, f.shut_out })
    assert.same({ 0.5, 1.25, 1, 3 }, { f.share, f.calls_each, f.p50, f.p99 })
    assert.same({ 0, 2, 1 }, { f.lost_in_burst, f.lost_later, f.waited })
    assert.same({ busy = 1, open = 1 }, f.reasons)
  end)

  local lies = {
    ["an answer too many"] = function(r) r.counts.answered = 3 end,
    ["a question without an end"] = function(r) r.records[4] = nil end,
    ["a wrong answer"] = function(r) r.counts.answered, r.counts.wrong = 1, 1 end,
    ["a call the server never saw"] = function(r) r.tries = 6 end,
    ["a call nobody made"] = function(_, server) server.received = 6 end,
    ["an answer the server never gave"] = function(_, server)
      server.completed, server.refused = 1, 4
    end,
    ["a call that came to nothing"] = function(_, server) server.refused = 2 end,
    ["an error raised"] = function(r) r.records[3].code = "raised: oh" end,
  }
  for name, lie in pairs(lies) do
    it("find " .. name, function()
      local r, server = example()
      lie(r, server)
      assert.is_true(#figures.of(r, server).faults > 0)
    end)
  end

  it("never round a share up", function()
    assert.equal("99.9 %", figures.percent(9999, 10000))
    assert.equal("100.0 %", figures.percent(7, 7))
    assert.equal("29.0 %", figures.percent(29, 100))
    assert.equal("0.0 %", figures.percent(0, 0))
  end)

  it("take the nearest rank", function()
    assert.equal(2, figures.quantile({ 1, 2, 3, 4 }, 0.5))
    assert.equal(4, figures.quantile({ 1, 2, 3, 4 }, 0.99))
    assert.is_nil(figures.quantile({}, 0.5))
  end)

  it("are put where the question was asked", function()
    local list = figures.over_time(example().records, 3, 3)
    assert.same({ { asked = 1, answered = 1, seconds = 1 },
      { asked = 1, answered = 1, seconds = 3 }, { asked = 2, answered = 0 } }, list)
  end)
end)

describe("the demo's pictures", function()
  local function columns(text) return select(2, text:gsub("[^\128-\191]", "")) end

  it("show a full block for all of it and nothing less", function()
    assert.equal("█", chart.sign(1, "utf8"))
    assert.equal("▇", chart.sign(0.999, "utf8"))
    assert.equal("▁", chart.sign(0.001, "utf8"))
    assert.equal("·", chart.sign(0, "utf8"))
    assert.equal(" ", chart.sign(nil, "utf8"))
  end)

  it("fit into 80 columns, and without UTF-8 are ASCII", function()
    for _, total in ipairs { 1, 3, 7, 30, 600 } do
      local n = chart.columns(total, total / 30)
      local values = {}
      for i = 1, n do values[i] = i / n end
      for _, style in ipairs { "utf8", "ascii" } do
        local row, axis = chart.row("loop+breaker", values, n, style),
          chart.axis(total / 6, total, n, style)
        assert.is_true(columns(row) <= 80 and columns(axis) <= 80)
        assert.equal(style == "utf8", row:find "[\128-\255]" ~= nil)
        assert.equal(style == "utf8", axis:find "[\128-\255]" ~= nil)
      end
    end
  end)

  it("ask the environment as the C library does", function()
    local function of(env) return chart.is_utf8(function(name) return env[name] end) end
    assert.is_true(of { LANG = "C.UTF-8" })
    assert.is_true(of { LC_ALL = "zh_CN.utf8", LANG = "C" })
    assert.is_false(of { LC_ALL = "C", LANG = "C.UTF-8" })
    assert.is_false(of { LC_ALL = "" })
  end)

  it("set a table to the right, by characters", function()
    assert.same({ "  a   n", "  é  12" }, layout.lines { { "a", "n" }, { "é", "12" } })
  end)
end)

describe("the demo's verdict", function()
  local function by(share, calls)
    return { unbusy = { share = share, calls_each = calls, answered = share * 1000, asked = 1000 },
      loop = { share = 0.9, calls_each = 2, answered = 900, asked = 1000 } }
  end

  it("wants 99 % with fewer calls than the loop, and says what was missed", function()
    assert.is_true((words.verdict(by(0.99, 1.9))))
    local few, how = words.verdict(by(0.98, 1))
    assert.is_false(few)
    assert.matches("MISSED: at least 99 %% answered%.$", how)
    local many, why = words.verdict(by(1, 2))
    assert.is_false(many)
    assert.matches("MISSED: fewer calls than the loop%.$", why)
  end)
end)

describe("the demo", function()
  local lua = os.getenv "UNBUSY_LUA" or rawget(_G, "jit") and "luajit" or "lua5.4"

  local function run(arguments)
    local out = files.output(lua .. " examples/demo/demo.lua " .. arguments .. " 2>&1; echo $?")
    local text, status = out:match "^(.-)(%d+)%s*$"
    return text, tonumber(status)
  end

  it("tells its story and ends with the line of shares", function()
    local text, status = run "--short"
    local last = text:match "([^\n]+)\n$"
    local share = "(%d+%.%d) %%"
    assert.matches("^answered: naive " .. share .. " · loop " .. share .. " · unbusy " .. share
      .. "$", last)
    assert.is_nil(text:find("THE COUNTS DO NOT AGREE", 1, true), text)
    assert.equal(text:find("MISSED", 1, true) and 1 or 0, status)
    for line in text:gmatch "[^\n]+" do
      assert.is_true(select(2, line:gsub("[^\128-\191]", "")) <= 80, line)
    end
  end)

  it("gives figures that add up", function()
    local text, status = run "--short --json --seed 3"
    local got = assert(json.decode(text))
    assert.equal(got.good and 0 or 1, status)
    assert.same({}, got.faults)
    local by = {}
    for _, f in ipairs(got.clients) do
      by[f.name] = f
      assert.equal(#plan.questions(new_plan { "--short", "--seed", "3" }), f.asked)
      assert.equal(f.asked, f.answered + f.fallback + f.failed)
      assert.equal(f.calls, f.completed + f.refused + f.aborted)
    end
    assert.equal(by.naive.asked, by.naive.calls)
    assert.equal(0, by.naive.fallback + by.loop.fallback)
    assert.is_true(by.naive.refused > 0 and by.loop.calls > by.loop.asked)
    assert.is_true(by.loop.answered > by.naive.answered)
  end)

  it("turns down what would not be fair, and helps", function()
    local text, status = run "--deadline 5"
    assert.equal(2, status)
    assert.matches("no fair test", text)
    local help, zero = run "--help"
    assert.equal(0, zero)
    assert.matches("%-%-capacity", help)
  end)
end)
