-- What benches tell, and the page that is made of it.
local files = require "spec.support.files"
local json = require "unbusy.json"
local served = require "spec.support.served"
local measure_path = "bench.support.measure"
local host = os.getenv "UNBUSY_LUA" or "lua5.4"

describe("the page of what was measured", function()
  local place, dir

  before_each(function()
    place = served.place()
    dir = place.dir
  end)
  after_each(function() place:remove() end)

  -- Results as a bench tells them, one fact a line.
  local function results(name, facts)
    local lines = { '{"kind":"run","at":1700000000,"load":0.5}' }
    for i, fact in ipairs(facts) do lines[i + 1] = json.encode(fact) end
    lines[#lines + 1] = '{"kind":"end","seconds":60}'
    place:write(name .. ".jsonl", table.concat(lines, "\n") .. "\n")
  end

  -- What the tool says, and the page, if there is one.
  local function made()
    local said = files.trimmed(("%s tools/performance.lua '%s' '%s/page.md' 2>&1"):format(host, dir,
      dir))
    local file = io.open(dir .. "/page.md")
    local page = file and file:read "*a"
    if file then file:close() end
    return said, page
  end

  local function goal(met, value)
    return { kind = "goal", what = "of a floor | no more", limit = 2, value = value, unit = "times",
      at_least = false, met = met }
  end

  it("has goals, peers, tables and curves of both Luas side by side", function()
    local function facts(factor)
      local list = { { kind = "row", title = "a race", name = "ours", value = 1234567 * factor,
        unit = "ns", ratio = 1 }, { kind = "row", title = "a race", name = "theirs",
        value = 0.0625, unit = "ns", ratio = 0.5 },
        goal(factor == 1, 1.5 * factor),
        { kind = "peer", peer = "<theirs>", what = "a call", ratio = 0.25 * factor } }
      for _, x in ipairs { 1, 10, 200 } do
        list[#list + 1] = { kind = "point", curve = "a choice", line = "ours", x = x,
          y = x * 100 * factor, of = "targets", unit = "ns" }
      end
      return list
    end
    results("balancer.lua5.4", facts(2))
    results("balancer.luajit", facts(1))
    local said, page = made()
    assert.equal(dir .. "/page.md: 1 benches", said)
    assert.truthy(page:find("1 of 2 were met", 1, true))
    assert.truthy(page:find("| `balancer` | of a floor \\| no more | ≤ 2 times | **3** | 1.5 |", 1,
      true))
    assert.truthy(page:find("| a call | <theirs> | × 0.5 | × 0.25 | `balancer` |", 1, true))
    assert.truthy(page:find("| ours | 2,469,134 ns | × 1 | 1,234,567 ns | × 1 |", 1, true))
    assert.truthy(page:find("| 200 | 40,000 | 20,000 |", 1, true))
    assert.truthy(page:find("2 minutes in all", 1, true))
    assert.truthy(page:find("The balancer: a decision", 1, true), "the head of the bench's file")
  end)

  it("draws plots that are whole XML and lie beside the page", function()
    results("entries.luajit", { { kind = "peer", peer = "a & <b>", what = "x", ratio = 30 },
      { kind = "point", curve = "a hit", line = "ours", x = 1000, y = 3, of = "entries",
        unit = "ns" } })
    local _, page = made()
    for _, name in ipairs { "peers.svg", "entries-1.svg" } do
      assert.truthy(page:find("(page/" .. name .. ")", 1, true), name)
      local svg, open = files.text(dir .. "/page/" .. name), {}
      for slash, tag, rest in svg:gmatch "<(/?)(%a+)([^>]*)>" do
        if slash == "/" then assert.equal(tag, table.remove(open))
        elseif rest:sub(-1) ~= "/" then open[#open + 1] = tag end
      end
      assert.same({}, open)
      assert.falsy(svg:find "nan" or svg:find "inf", name)
    end
    assert.truthy(files.text(dir .. "/page/peers.svg"):find("x · a &amp; &lt;b&gt;", 1, true))
  end)

  it("says which bench did not finish", function()
    place:write("hits.luajit.jsonl", '{"kind":"run","at":1,"load":0}\n'
      .. '{"kind":"end","seconds":2,"failed":true}\n')
    local _, page = made()
    assert.truthy(page:find("| failed | `hits` on LuaJIT |", 1, true))
  end)

  it("refuses what is no result, with its place, and leaves the old page", function()
    for _, bad in ipairs { '{"kind":"gaol"}', "1", "{", '{"kind":"peer","peer":"a","what":"b"}',
      '{"kind":"peer","peer":"a","what":"b","ratio":0}',
      '{"kind":"point","curve":"c","line":"l","x":0,"y":1}' } do
      place:write("page.md", "old")
      place:write("hits.luajit.jsonl", '{"kind":"run","at":1,"load":0}\n' .. bad .. "\n")
      local said, page = made()
      assert.truthy(said:find("hits.luajit.jsonl:2: not a result", 1, true), bad .. ": " .. said)
      assert.equal("old", page)
    end
    os.remove(dir .. "/hits.luajit.jsonl")
    assert.truthy(made():find("no results in", 1, true))
  end)

  it("is fed by benches: what they print they tell", function()
    place:write("bench.lua", ([[
      local measure = require %q
      measure.race("a race", { { name = "a", run = function(n) for _ = 1, n do end end } })
      measure.goal("small", 3, 2, "times")
      measure.goal("large", 3, 2, "times", true)
      measure.goal("no figure", 0 / 0, 2, "times")
      measure.peer("nobody", "nothing", 1 / 0)
      measure.peer("somebody", "a call", 0.5)
      measure.curve("grows", "targets", "ns")("ours", 10, 20)
    ]]):format(measure_path))
    files.trimmed(("UNBUSY_BENCH_TURNS=1 UNBUSY_BENCH_RESULTS='%s/told' %s '%s/bench.lua'")
      :format(dir, host, dir))
    local told = {}
    for line in io.lines(dir .. "/told") do told[#told + 1] = json.decode(line) end
    assert.equal(6, #told)
    assert.equal("a race", told[1].title)
    assert.equal(1, told[1].ratio)
    assert.is_true(told[1].value > 0)
    assert.same({ false, true, false }, { told[2].met, told[3].met, told[4].met })
    assert.is_nil(told[4].value)
    assert.same({ kind = "peer", peer = "somebody", what = "a call", ratio = 0.5 }, told[5])
    assert.same({ kind = "point", curve = "grows", line = "ours", x = 10, y = 20, of = "targets",
      unit = "ns" }, told[6])
  end)
end)
