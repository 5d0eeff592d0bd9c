-- While a connection to an https server is being made, libcurl has all others for that server wait
-- for it, since it may turn out to be of HTTP/2; and looks at their `connect` limits only once they
-- connect themselves, one after the other. Of a hundred calls to a server that takes connections
-- and shakes no hands, the last one had its timeout after a hundred times `connect`: a plain call,
-- which has no other clock but `total`, went elsewhere after minutes.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"
local unbusy = require "unbusy"

local CALLS, CONNECT = 60, 0.5 -- seconds; in a row they take 30

describe("calls that wait for the connection of another one", function()
  guard.watch(before_each, after_each)
  local up, raw
  setup(function()
    up = busyd.start { tls = true }
    raw = raw_server.start(up.dir)
  end)
  teardown(function()
    up:stop()
    raw:stop()
  end)

  it("wait no longer than they may", function()
    local e, ids = core.engine(), {}
    raw:freeze() -- the kernel still connects, but nobody shakes hands
    for i = 1, CALLS do
      ids[i] = assert(e:submit(engines.chat(raw, "x", { url = raw.tls_url, connect = CONNECT })))
    end
    local results = engines.finish_all(e, ids)
    raw:thaw()
    e:close()
    for _, got in ipairs(results) do -- each at its own limit, not at a multiple of it
      assert.same({ "timeout", "connect" }, { got.code, got.info.phase })
      assert.is_true(got.info.total < CALLS * CONNECT / 2, tostring(got.info.total))
    end
  end)

  it("are not forgotten where they begin slowly, one after the other", function()
    local e, ids = core.engine(), {}
    raw:freeze()
    for i = 1, CALLS do
      local limit = core.now() + 0.02
      while core.now() < limit do end -- luacheck: ignore 542 (the machine is out of breath)
      ids[i] = assert(e:submit(engines.chat(raw, "x", { url = raw.tls_url, connect = CONNECT })))
    end
    local results = engines.finish_all(e, ids)
    raw:thaw()
    e:close()
    for _, got in ipairs(results) do
      assert.same({ "timeout", "connect" }, { got.code, got.info.phase })
    end
  end)

  it("go elsewhere, all of them", function()
    raw:freeze()
    local client = unbusy.new { clocks = { connect = CONNECT }, breaker = false, budget = false,
      limiter = false, targets = {
        { name = "a", url = raw.tls_url, key = "k", weight = 1000000 },
        { name = "b", url = up.url, key = "k", weight = 1 } } }
    local slowest = 0
    unbusy.run(function()
      for _ = 1, CALLS do
        unbusy.spawn(function()
          local reply = assert(client:chat { messages = { { role = "user", content = "x" } } })
          slowest = math.max(slowest, reply.times.total)
        end)
      end
    end)
    raw:thaw()
    client:close()
    assert.is_true(slowest < CALLS * CONNECT / 2, tostring(slowest))
  end)
end)
