-- A forked child that comes late may find the room of its parts taken by others. Its calls went on
-- without them, but the status and the metrics raised, and so did a wait in line for a limit.
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"

describe("a child that has lost its room in the region", function()
  -- Runs f while there is no room in the region of that name.
  local function filled(name, f)
    local r = assert(region.new { name = name })
    local parts = regions.filled(r)
    f()
    assert(#parts > 0)
    r:close()
  end

  it("tells its status and metrics without what was in it", function()
    local name = regions.name()
    local r = assert(region.new { name = name, bytes = 8 * 1024 * 1024 })
    local client = assert(unbusy.new { region = r, metrics = true,
      cache = { entries = 100, bytes = 100000, top = {} },
      targets = { { name = "a", url = "http://127.0.0.1:1", key = "k",
        limits = { requests_per_minute = 5 } } }, retry = { attempts = 2, base = 0.01 } })
    local child = regions.fork(function(_, told)
      told "go"
      local question = { model = "m", messages = { { role = "user", content = "x" } } }
      local reply, _, code = client:chat(question, { deadline = 2 })
      assert(not reply and code)
      local status = client:status()
      assert(status.cache == nil and status.targets[1].name == "a")
      local text = assert(client:metrics())
      assert(text:find("unbusy_build_info", 1, true))
      assert(not text:find("unbusy_start_time_seconds", 1, true))
      assert(client:top(5))
      client:close()
    end)
    client:close()
    r:close()
    filled(name, function()
      child:tell "go"
      child:wait()
    end)
    regions.collect()
  end)
end)
