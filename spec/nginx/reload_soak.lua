local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local sites = require "spec.support.site"

if not package.loaded.jit then return end -- nginx runs LuaJIT, whoever tests it

local RELOADS = math.ceil(100 * (tonumber(os.getenv "UNBUSY_SOAK") or 1))

describe("inside nginx", function()
  it(("%d reloads under load lose no call and leak nothing"):format(RELOADS), function()
    local up = busyd.start { programme = { latency = { kind = "uniform", min = 0, max = 0.1 } } }
    local site = sites.start { workers = 2, targets = { { name = "a", url = up.url .. "/v1" } },
      limiter = { initial = 1000, max = 1000 } }
    local e, lost = core.engine(), {}
    local master = tonumber(site.pid)

    local function load(n)
      local ids = {}
      for i = 1, n do
        ids[i] = assert(e:submit { url = site.url .. (i % 3 == 0 and "/stream" or "/chat"),
          method = "GET", headers = { "Connection: close" } })
      end
      return ids
    end

    local function reload()
      local ids = load(50)
      site:signal "HUP"
      for _, got in ipairs(engines.finish_all(e, ids)) do
        local said = got.code or got.body
        if said ~= "echo: hi" then lost[#lost + 1] = tostring(got.message or said) end
      end
    end

    local function settle()
      sites.await("two workers", function() return #site:workers() == 2 end)
      return (sites.of_process(master)), sites.memory(master)
    end

    for _ = 1, math.min(10, RELOADS) do reload() end
    local descriptors, memory = settle()
    for _ = 11, RELOADS do reload() end
    local now, grown = settle()
    assert.same({}, lost)
    assert.is_true(now <= descriptors, now)
    assert.is_true(grown < memory + 2e7, grown - memory)
    assert.equal(1, (select(2, sites.of_process(master))))
    for _, pid in ipairs(site:workers()) do
      sites.await("the threads' end", function() return select(2, sites.of_process(pid)) == 1 end)
    end
    assert.equal("", site:faults())
    e:close()
    site:stop()
    up:stop()
  end)

  it("hours of calls leave a worker's memory flat", function()
    local up = busyd.start {}
    local site = sites.start { targets = { { name = "a", url = up.url .. "/v1" } },
      limiter = { initial = 1000, max = 1000 } }
    local rounds = math.ceil(200 * (tonumber(os.getenv "UNBUSY_SOAK") or 1))
    local pid, memory = site:workers()[1], nil
    for round = 1, rounds do
      local path = round % 2 == 0 and "/chat?q=n%d." or "/stream?q=n%d."
      for i, said in ipairs(site:get_many(100, path)) do
        assert.equal(("echo: n%d."):format(i), said)
      end
      if round == math.ceil(rounds / 4) then memory = sites.memory(pid) end
    end
    assert.is_true(sites.memory(pid) < memory + 3e6, sites.memory(pid) - memory)
    site:stop()
    up:stop()
  end)
end)
