-- Those who leave while the centre is asked, over real connections; and coroutines that nobody
-- resumes.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local unbusy = require "unbusy"

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

describe("an escalation over HTTP", function()
  guard.watch(before_each, after_each)
  local edge, centre
  setup(function()
    edge, centre = busyd.start { workers = 1 }, busyd.start { workers = 1 }
  end)
  teardown(function()
    edge:stop()
    centre:stop()
  end)
  before_each(function()
    edge:programme { reset = true, answer = { text = "I don't know." } }
    centre:programme { reset = true, latency = 5 }
  end)

  local function new(more)
    local o = { targets = {
      { name = "near", url = edge.url, key = "key-1", proxy = false, pool = "edge" },
      { name = "far", url = centre.url, key = "key-2", proxy = false, pool = "centre" } },
      escalate = { hold = true } }
    for k, v in pairs(more or {}) do o[k] = v end
    return unbusy.new(o)
  end

  local function await(n, name)
    for _ = 1, 500 do
      if centre:counts()[name] == n then return end
      unbusy.sleep(0.02)
    end
    assert.equal(n, centre:counts()[name])
  end

  local function assert_idle(client)
    local s = client:status()
    assert.same({ 0, 0, 0 }, { s.active, s.waiting, s.budget.permits })
    for _, t in ipairs(s.targets) do
      for _, l in pairs(t.limits) do assert.equal(0, l.in_flight) end
    end
  end

  -- A call is made, and ended by `stop` while the centre is asked.
  local function ended(method, stop)
    local client, result = new(), nil
    unbusy.run(function()
      local cancel = unbusy.canceller()
      local task = unbusy.spawn(function()
        result = { client[method](client, QUESTION, { cancel = cancel }) }
      end)
      await(1, "received")
      stop(client, cancel, task)
      await(1, "aborted_by_client")
    end)
    assert_idle(client)
    assert.same({ 1, 1 }, { edge:counts().completed, centre:counts().received })
    return result
  end

  for _, method in ipairs { "chat", "stream" } do
    it("is seen to end by the centre when it is cancelled (" .. method .. ")", function()
      local result = ended(method, function(_, cancel) cancel:cancel() end)
      assert.same({ nil, "cancelled" }, { result[1], result[3] })
    end)

    it("and when the client is closed (" .. method .. ")", function()
      local result = ended(method, function(client) client:close() end)
      assert.same({ nil, "closed" }, { result[1], result[3] })
    end)

    it("and when its task is cancelled (" .. method .. ")", function()
      assert.is_nil(ended(method, function(_, _, task) scheduler.cancel(task) end))
    end)
  end

  it("leaves the weak answer to who waits no longer than his deadline", function()
    local client = new()
    local reply = assert(client:chat(QUESTION, { deadline = 0.5 }))
    assert.same({ "I don't know.", "refused", "timeout", 2 },
      { reply.text, reply.weak, reply.failure.code, reply.tries })
    assert_idle(client)
  end)

  it("that is read only in part is ended with its stream", function()
    centre:programme { reset = true, token_interval = 0.05, answer = { tokens = 1000 } }
    local client = new()
    local stream = assert(client:stream(QUESTION))
    assert.equal("refused", stream.escalated.reason)
    assert.is_table(stream:read())
    stream:close()
    await(1, "aborted_by_client")
    assert_idle(client)
  end)

  it("is given back with a held stream that nobody reads", function()
    centre:programme { reset = true, capacity = 0 }
    local client = new { retry = false }
    assert.equal("refused", client:stream(QUESTION).weak)
    collectgarbage()
    collectgarbage()
    assert_idle(client)
  end)

  it("answers as any call does", function()
    centre:programme { reset = true }
    local client = new()
    assert.equal("echo: hi", assert(client:chat(QUESTION)).text)
    assert.equal("echo: hi", assert(client:stream(QUESTION)):reply().text)
    assert.same({ 2, 2 }, { edge:counts().received, centre:counts().received })
    assert_idle(client)
  end)
end)
