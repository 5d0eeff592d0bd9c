-- tools/bench.sh, with benches of a tree of their own beside the project's own modules.

local files = require "spec.support.files"
local served = require "spec.support.served"

local BENCH = [[
local measure = require "bench.support.measure"
print "%s was here"
measure.goal("of %s", 1, 2, "s")
%s
]]

describe("running benches", function()
  local place, dir

  -- The project, but for what is built and for its benches.
  setup(function()
    place = served.place()
    dir = place.dir
    files.trimmed(([[
      mkdir -p %s/build/bench %s/docs %s/bench
      for part in tools lua spec; do ln -s "$PWD/$part" %s/; done
      for lua in lua5.4 luajit; do ln -s "$PWD/build/$lua" %s/build/; done
      ln -s "$PWD/bench/support" %s/bench/
    ]]):gsub("%%s", dir))
    for _, name in ipairs { "spill", "warm", "gateways", "limits", "scale", "hedge", "blackout",
      "edge", "failover", "brownout", "flight", "cache" } do
      place:write(("bench/%s.lua"):format(name), BENCH:format(name, name,
        name == "edge" and 'error "it is ill"'
        or name == "cache" and 'if not rawget(_G, "jit") then os.exit(3) end' or ""))
    end
  end)

  teardown(function() place:remove() end)

  -- What it says, and its exit status.
  local function ran(words)
    local said = files.trimmed(("cd '%s' && env -u UNBUSY_BENCH_RESULTS sh tools/bench.sh %s 2>&1;"
      .. " echo \"status $?\""):format(dir, words))
    return said, tonumber(said:match "status (%d+)%s*$")
  end

  it("runs one on both Luas, and keeps what it tells", function()
    local said, status = ran "warm"
    assert.equal(0, status, said)
    assert.truthy(said:find("== warm on lua5.4\nwarm was here\n", 1, true))
    assert.truthy(said:find("== warm on luajit\nwarm was here\n", 1, true))
    local told = files.text(dir .. "/build/bench/results/warm.luajit.jsonl")
    assert.truthy(told:find '"kind":"run".*"what":"of warm".*"kind":"end"')
  end)

  it("tells of one that fails, and of one that is not there", function()
    for _, name in ipairs { "edge", "nosuch" } do
      local said, status = ran(name)
      assert.equal(1, status)
      assert.truthy(said:find("failed: " .. name .. ".lua5.4.jsonl", 1, true), said)
    end
  end)

  it("runs all of them, writes the page, and tells of those that failed", function()
    local said, status = ran ""
    assert.equal(1, status)
    assert.truthy(said:find("failed: cache.lua5.4.jsonl\nedge.luajit.jsonl\n", 1, true), said)
    for _, name in ipairs { "spill", "flight", "hedge" } do
      assert.truthy(said:find(("== %s on luajit\n%s was here\n"):format(name, name), 1, true))
    end
    local page = files.text(dir .. "/docs/performance.md")
    assert.truthy(page:find("| failed | `cache` on Lua 5.4, `edge` on LuaJIT |", 1, true), page)
    assert.truthy(page:find("| `flight` | of flight | ≤ 2 s |  | 1 |", 1, true))
    assert.truthy(page:find("11 of 11 were met", 1, true), page)
  end)
end)
