-- Members whose coroutines are never resumed, since their controller of cqueues is gone: they leave
-- with them, and so does a batch that nobody waits for.
local busyd = require "spec.support.busyd"
local cqueues = require "cqueues"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"

local function collect()
  if jit then jit.flush() end -- luacheck: ignore 113
  for _ = 1, 4 do collectgarbage() end
end

describe("a batch in a controller that is dropped", function()
  guard.watch(before_each, after_each)
  local up

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  -- Two members in a controller of their own, which is stepped until `ready()` and then lost.
  local function lose(client, ready)
    local cq = cqueues.new()
    for i = 1, 2 do
      cq:wrap(function() client:embed { model = "m", input = "t" .. i } end)
    end
    repeat assert(cq:step(0.05)) until ready()
  end

  local function new(max)
    return unbusy.new { targets = { { name = "a", url = up.url } },
      batch = { rule = "embeddings", max = max, window = 60 } }
  end

  it("leaves nothing of its window, nor of what is under way", function()
    for _, max in ipairs { 3, 2 } do
      local client = new(max)
      up:programme { reset = true, capacity = 0, queue = 10 }
      lose(client, function()
        if max == 2 then return up:counts().queued == 1 end
        return client:status().active == 2
      end)
      collect()
      local status = client:status()
      assert.same({ 0, 0 }, { status.active, status.budget.active })
      for _, limit in pairs(status.targets[1].limits) do assert.equal(0, limit.in_flight) end
      -- whoever comes next begins a new window, elsewhere
      up:programme { reset = true }
      unbusy.run(function()
        for i = 1, max do
          unbusy.spawn(function()
            local reply = assert(client:embed { model = "m", input = "n" .. i })
            assert.same({ "batch", max }, { reply.source, reply.batch.size })
          end)
        end
      end)
    end
  end)
end)
