-- Batches in plain Lua: in tasks of ours, in the main thread, and in a foreign coroutine.
local batch_calls = require "spec.support.batch_calls"
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local unbusy = require "unbusy"

describe("batches in plain Lua", function()
  guard.watch(before_each, after_each)
  local up

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local h = { go = unbusy.spawn, sleep = unbusy.sleep,
    run = function() unbusy.run(function() end) end }

  function h.new(options)
    local o = { targets = { { name = "a", url = up.url } }, limiter = false }
    for name, value in pairs(options) do o[name] = value end
    return unbusy.new(o)
  end

  batch_calls.describe(h, function() return up end, it)

  local function rule() return { rule = "embeddings", max = 8, window = 5 } end

  it("are none in the main thread, where nobody else could come: there is no wait", function()
    local client = h.new { batch = rule() }
    up:programme { reset = true }
    for i = 1, 3 do
      local reply = assert(client:embed { model = "m", input = "x" .. i })
      assert.equal("upstream", reply.source)
      assert.is_true(reply.times.total < 5)
    end
  end)

  it("are none in a foreign coroutine", function()
    local client = h.new { batch = rule() }
    up:programme { reset = true }
    local each = coroutine.wrap(function()
      for i = 1, 2 do coroutine.yield(client:embed { model = "m", input = "x" .. i }) end
    end)
    assert.is_true(each().times.total < 5)
    assert.equal("upstream", each().source)
  end)

  it("take a call of the main thread together with those of tasks", function()
    local client, other = h.new { batch = { rule = "embeddings", max = 2, window = 5 } }, nil
    up:programme { reset = true }
    unbusy.spawn(function() other = assert(client:embed { model = "m", input = "a" }) end)
    local mine = assert(client:embed { model = "m", input = "b" })
    unbusy.run(function() end)
    assert.same({ 2, 2 }, { mine.batch.size, other.batch.size })
    assert.same(busyd.embedding "b", mine.body.data[1].embedding)
    assert.equal(1, up:counts().received)
  end)

  it("leave no task behind where the main thread is the last to wait", function()
    local client = h.new { batch = { rule = "embeddings", max = 2, window = 5 } }
    local c = unbusy.canceller()
    up:programme { reset = true, capacity = 0, queue = 10 }
    unbusy.spawn(function() client:embed({ model = "m", input = "a" }, { deadline = 0.05 }) end)
    unbusy.spawn(function()
      while up:counts().queued == 0 do unbusy.sleep(0.01) end
      unbusy.sleep(0.1)
      c:cancel()
    end)
    assert.equal("cancelled", select(3, client:embed({ model = "m", input = "b" }, { cancel = c })))
    assert.equal(0, scheduler.live())
  end)

  it("ask a list from the main thread, and from a foreign coroutine", function()
    local client = h.new { batch = { rule = "embeddings", max = 4, window = 0.05 } }
    local requests = {}
    for i = 1, 8 do requests[i] = { model = "m", input = "t" .. i } end
    for _, run in ipairs { function(f) f() end, function(f) coroutine.wrap(f)() end } do
      up:programme { reset = true }
      run(function()
        local results = client:batch(requests)
        for i = 1, 8 do
          assert.same(busyd.embedding("t" .. i), results[i].body.data[1].embedding)
        end
      end)
      assert.equal(2, up:counts().received)
    end
  end)
end)
