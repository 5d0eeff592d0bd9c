-- What `unbusy top` draws of what it is told, whatever that is.
local drawing = require "unbusy.cli.drawing"
local json = require "unbusy.json"

local function zeros() local out = {} for i = 1, 60 do out[i] = 0 end return out end

local function told()
  local upstream, cache = zeros(), zeros()
  upstream[58], upstream[60], cache[60] = 10, 26, 4
  return {
    version = "0.1.0", active = 9, region = { waiting = 3 }, waiting = 0,
    cache = {},
    targets = {
      { name = "up", account = "a", state = "open", limits = { m = { limit = 5.9, in_flight = 5 } },
        breaker = { calls = 4, failures = 4 }, start = { half = 0.016, most = 1.27 } },
      { name = "same account", account = "a", state = "half_open",
        limits = { m = { limit = 5.9, in_flight = 5 } } },
      { name = "spare", account = "b", state = "closed", rests = 90, breaker = { calls = 0 },
        limits = { n = { limit = 20, in_flight = 2 }, m = { in_flight = 1 } } },
      { name = "poor", account = "c", state = "closed", refused = "quota", limits = {} },
    },
    hour = { answers = { upstream = upstream, cache = cache },
      failures = { { target = "up", code = "busy", count = 14, ago = 0.2 },
        { target = "", code = "full", count = 1, ago = 61 } } },
    questions = { { hash = "ab", count = 2, error = 0, model = "m" } },
    top = { asked = 2, used = 1 },
  }
end

local WHOLE = {
  "unbusy 0.1.0: 2 of 4 targets are out; in flight 8, waiting 3",
  "",
  "target        state        model  in flight                       first token     failures",
  "up            open         m      [####################] 5 of 5   16 ms .. 1.3 s  4 of 4",
  "same account  half open    m      [####################] 5 of 5   -               -",
  "spare         rests 2 min  m      1                               -               -",
  "                           n      [##------------------] 2 of 20",
  "poor          no credit                                           -               -",
  "",
  "calls in the last hour: 40",
  "  upstream  [##################--]  36  90.0 %",
  "  cache     [##------------------]   4  10.0 %",
  ("  by minute |%s- #| at most 30"):format((" "):rep(57)),
  "",
  "failures in the last hour",
  "  up  busy  14   just now",
  "  -   full   1  1 min ago",
  "",
  "2.0 questions lately, 1 of them told apart",
  "   #     asked  +-     hash              model",
  "   1       2.0         ab  m",
}

describe("the drawing of what goes on", function()
  it("shows all of it", function()
    assert.same(WHOLE, drawing.lines(told(), 200))
    local t = told()
    t.cache = { hits = 1, misses = 1, stale = 0 }
    assert.equal(WHOLE[1] .. "; 50.0 % of all lookups found a fresh answer",
      drawing.lines(t, 200)[1])
    assert.same({ WHOLE[19] .. "; 50.0 % of all lookups found a fresh answer", WHOLE[20],
      WHOLE[21] }, drawing.questions(t, 200, true))
  end)

  it("cuts lines at the edge, and characters nowhere", function()
    local t = told()
    t.targets[1].name = ("长"):rep(50)
    for columns = 20, 60 do
      for _, line in ipairs(drawing.lines(t, columns)) do
        assert.is_truthy(json.is_utf8(line))
        assert.is_true(select(2, line:gsub("[^\128-\191]", "")) <= columns)
      end
    end
  end)

  it("shows what little there is", function()
    assert.same({ "unbusy : no target is out; in flight 0, waiting 0", "",
      "target  state  model  in flight  first token  failures" },
      drawing.lines({ targets = {} }, 100))
    local t = told()
    t.hour, t.questions = { answers = {} }, json.null
    assert.equal("calls in the last hour: 0", drawing.lines(t, 100)[10])
  end)

  it("takes anything, and says nothing that a terminal would obey", function()
    local bad = { "x\27[2J\7\n", 5, true, json.null, -1, 1 / 0, 0 / 0, 1e308, {}, { {} },
      { a = { b = 1 } }, "\194\155", ("y"):rep(1000) }
    local function check(t)
      for _, line in ipairs(drawing.lines(t, 120)) do
        assert.is_nil(line:find "[%z\1-\31\127]")
        assert.is_nil(line:find "\194\155")
      end
    end
    for _, value in ipairs(bad) do
      for name in pairs(told()) do
        local t = told()
        if name ~= "questions" then t[name] = value end -- which are checked before
        check(t)
      end
      for name in pairs(told().targets[1]) do
        local t = told()
        t.targets[1][name] = value
        check(t)
      end
      local t = told()
      t.targets[2], t.targets[3].limits.m, t.hour.answers.cache = value, value, value
      t.hour.failures = { value, { target = value, code = value, count = value, ago = value } }
      t.targets[1].limits.m = { limit = value, in_flight = value }
      t.targets[1].start = { half = value, most = value }
      t.hour.answers.upstream = { value, value }
      check(t)
    end
  end)
end)
