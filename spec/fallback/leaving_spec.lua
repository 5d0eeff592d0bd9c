-- Those who leave in the middle of a second asking, over real connections.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"

local QUESTION = { model = "pro", messages = { { role = "user", content = "hi" } } }

describe("a second asking over HTTP", function()
  guard.watch(before_each, after_each)
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function()
    up:programme { reset = true, script = { { preset = "busy_503" }, { latency = 5 } } }
  end)

  local function new(more)
    local o = { targets = { { name = "a", url = up.url, key = "key-1", proxy = false },
      { name = "b", url = up.url, key = "key-2", proxy = false, pool = "spare", reserve = true } },
      retry = false, fallback = { { model = "flash" }, "sorry" } }
    for k, v in pairs(more or {}) do o[k] = v end
    return unbusy.new(o)
  end

  local function await(n, name)
    for _ = 1, 200 do
      if up:counts()[name] == n then return end
      unbusy.sleep(0.02)
    end
    assert.equal(n, up:counts()[name])
  end

  -- A call is made, and ended by `stop` when its second asking is under way.
  local function ended(method, stop, more)
    local client, result = new(more), nil
    unbusy.run(function()
      local cancel = unbusy.canceller()
      unbusy.spawn(function()
        result = { client[method](client, QUESTION, { cancel = cancel }) }
      end)
      await(2, "received")
      stop(client, cancel)
      await(1, "aborted_by_client")
    end)
    local s = client:status()
    assert.same({ 0, 0, 0 }, { s.active, s.waiting, s.budget.permits })
    assert.equal(2, up:counts().received)
    return result
  end

  for _, method in ipairs { "chat", "stream" } do
    it("is seen to end by the server when it is cancelled (" .. method .. ")", function()
      local result = ended(method, function(_, cancel) cancel:cancel() end)
      assert.same({ nil, "cancelled" }, { result[1], result[3] })
    end)

    it("and when the client is closed (" .. method .. ")", function()
      local result = ended(method, function(client) client:close() end,
        { fallback = { { pool = "spare" }, "sorry" } })
      assert.same({ nil, "closed" }, { result[1], result[3] })
    end)
  end

  it("that is read only in part is ended with its stream", function()
    up:programme { reset = true, token_interval = 0.05, answer = { tokens = 1000 },
      script = { { preset = "busy_503" } } }
    local client = new()
    local stream = assert(client:stream(QUESTION))
    assert.equal("model", stream.fallback.kind)
    assert.is_table(stream:read())
    stream:close()
    await(1, "aborted_by_client")
    assert.equal(0, client:status().active)
  end)

  it("answers as any call does", function()
    up:programme { reset = true, script = { { preset = "busy_503" }, {} } }
    local reply = assert(new():chat(QUESTION))
    assert.same({ "echo: hi", "upstream", "model", 2 },
      { reply.text, reply.source, reply.fallback.kind, reply.tries })
  end)
end)
