-- Streams: what is passed on cannot be judged before; what is held back can.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status, words = world.good, world.status, world.words

local function new(given)
  local o = { escalate = { hold = given.hold } }
  for name, value in pairs(given.options or {}) do o[name] = value end
  return world.new { script = { edge = given.edge, centre = given.centre or {
    words({ "from ", "the ", "centre" }, 1) } }, order = { "edge", "centre" },
    targets = { edge = { pool = "edge", price = { input = 1e6, output = 1e6 } },
      centre = { pool = "centre", price = { input = 1e6, output = 1e6 } } }, options = o }
end

local function asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do out[i] = entry.host end
  return table.concat(out, " ")
end

local function report(w)
  return w.client:status().escalate
end

local NO = { "I don't ", "know." }

-- A stream's pieces, and the times at which they came.
local function read(w, stream)
  local texts, times = {}, {}
  for piece in stream:pieces() do
    if piece.text then texts[#texts + 1], times[#times + 1] = piece.text, w:now() end
  end
  return texts, times
end

describe("a stream that is passed on", function()
  guard.watch(before_each, after_each)

  it("comes as it comes, and is marked at its end where it was weak", function()
    local w = new { edge = { words(NO, 1) } }
    local stream = w:stream()
    local texts, times = read(w, stream)
    assert.same(NO, texts)
    assert.near(1, times[2] - times[1], 1e-9)
    assert.equal("refused", stream:reply().weak)
    assert.equal("edge", asked(w))
    assert.same({ stream = 1 }, report(w).kept)
    assert.same({ "refused", "stream" },
      { w:seen "weak"[1].reason, w:seen "weak"[1].why })
    w:assert_clean()
  end)

  it("is not marked where it was good, and not judged where it was cut", function()
    local broken = world.streamed({ { 0, world.chunk { content = "so" } } },
      { fail = "network", message = "gone" })
    local w = new { edge = { words { "yes" }, broken } }
    assert.is_nil(w:stream():reply().weak)
    local stream = w:stream()
    assert.equal("so", stream:read().text)
    assert.equal("cut", select(3, stream:read()))
    assert.same({ {}, 2 }, { report(w).weak, report(w).judged })
    w:assert_clean()
  end)

  it("is not kept as a good answer", function()
    local w = new { edge = { words(NO), words { "yes" } }, options = { cache = true } }
    w:stream():reply()
    assert.same({ "upstream", "yes" }, { w:stream():reply().source, w:stream():reply().text })
    assert.equal("cache", w:stream():reply().source)
    assert.equal(2, #w.log)
  end)

  it("is judged by the policy, too", function()
    local w = new { edge = { words { "yes" } }, options = { escalate = false,
      policy = { accept = function(_, reply) return not reply.stream end } } }
    assert.equal("policy", w:stream():reply().weak)
  end)

  it("that is left early is not judged", function()
    local w = new { edge = { words(NO, 1) } }
    local stream = w:stream()
    stream:read()
    stream:close()
    w.loop.run(function() w.loop.sleep(9) end) -- so that the server sees it
    assert.same({}, report(w).weak)
    w:assert_clean()
  end)
end)

describe("a stream that is held back", function()
  guard.watch(before_each, after_each)

  it("comes when it is whole, in one piece, where it is good", function()
    local w = new { hold = true, edge = { words({ "all ", "of ", "it" }, 1) } }
    local stream = w:stream()
    local texts, times = read(w, stream)
    assert.same({ { "all of it" }, "edge", 1 }, { texts, stream.target, stream.tries })
    assert.near(3.1, times[1], 1e-9)
    local reply = stream:reply()
    assert.same({ "all of it", "stop", "upstream" },
      { reply.text, reply.finish_reason, reply.source })
    assert.equal("all of it", reply.body.choices[1].message.content)
    w:assert_clean()
  end)

  it("gives way to the centre's, which comes as it comes", function()
    local w = new { hold = true, edge = { words(NO, 0.5) } }
    local stream = w:stream()
    assert.same({ "centre", "refused", 2 },
      { stream.target, stream.escalated.reason, stream.tries })
    local texts, times = read(w, stream)
    assert.same({ "from ", "the ", "centre" }, texts)
    assert.near(1, times[2] - times[1], 1e-9)
    assert.equal("refused", stream:reply().escalated.reason)
    assert.equal(1, report(w).replaced)
    w:assert_clean()
  end)

  it("costs what both have cost", function()
    local function with_usage(list, n)
      local answer = words(list)
      table.insert(answer.steps, #answer.steps, { 0, "data: " .. json.encode { choices =
        json.array {}, usage = { prompt_tokens = n, completion_tokens = 0, total_tokens = n } }
        .. "\n\n" })
      return answer
    end
    local w = new { hold = true, edge = { with_usage(NO, 3) }, centre = { with_usage({ "x" }, 5) } }
    local reply = w:stream():reply()
    assert.same({ 8, 8, 3 }, { reply.usage.total_tokens, reply.cost, reply.escalated.cost })
  end)

  it("is given all the same where the centre fails, and says so", function()
    local w = new { hold = true, edge = { words(NO) }, centre = { status(500) },
      options = { retry = false } }
    local stream = w:stream()
    assert.same({ "edge", "refused", "upstream" },
      { stream.target, stream.weak, stream.failure.code })
    assert.equal("I don't know.", stream:reply().text)
    assert.equal("refused", stream:reply().weak)
    w:assert_clean()
  end)

  it("that is cut is a failed try, before anybody has seen a word", function()
    local w = new { hold = true, edge = { world.streamed({ { 0, world.chunk { content = "so" } } },
      { fail = "network", message = "gone" }) } }
    local stream = w:stream()
    assert.same({ "centre", nil, 2 }, { stream.target, stream.escalated, stream.tries })
    assert.equal("from the centre", stream:reply().text)
    assert.equal("network", w:seen "failed"[1].code)
    w:assert_clean()
  end)

  it("may have come whole from a server that streams nothing", function()
    local w = new { hold = true, edge = { good "whole", good "" } }
    assert.equal("whole", w:stream():reply().text)
    assert.equal("centre", w:stream():reply().target)
  end)

  it("is not held where nobody else could be asked, nor of another pool", function()
    local w = new { hold = true, edge = { words({ "a ", "b" }, 1) } }
    assert.same({ "a ", "b" }, (read(w, w:stream { target = "edge" })))
    assert.same({ "a ", "b" }, (read(w, w:stream { pool = "edge" })))
    assert.same({ "from ", "the ", "centre" }, (read(w, w:stream { pool = "centre" })))
    w:assert_clean()
  end)

  it("is kept in the cache where it is good, and not where it is weak", function()
    local w = new { hold = true, edge = { words { "yes" } }, options = { cache = true } }
    w:stream():reply()
    assert.same({ "cache", "yes" }, { w:stream():reply().source, w:chat().text })
    w = new { hold = true, edge = { words(NO) }, options = { cache = true,
      escalate = { hold = true, most = 0, floor = 0 } } }
    w:stream():reply()
    assert.equal("upstream", w:stream():reply().source)
  end)

  it("of a response is one event", function()
    local body = { status = "completed", output = json.array { { type = "message",
      content = { { type = "output_text", text = "yes" } } } } }
    local event = "event: response.completed\ndata: " .. json.encode { type = "response.completed",
      response = body } .. "\n\n"
    local w = new { hold = true, edge = { world.streamed { { 0, event } } } }
    local stream = w.client:stream { input = "x" }
    assert.equal("yes", stream:reply().text)
    w:assert_clean()
  end)

  it("ends when the call is cancelled, whatever is under way", function()
    for _, at in ipairs { 0.5, 2.5 } do -- while the edge speaks, and while the centre is asked
      local w = new { hold = true, edge = { words(NO, 1) }, centre = { good("late", 9) } }
      local cancel, result = unbusy.canceller(), nil
      w.loop.run(function()
        w.loop.spawn(function()
          w.loop.sleep(at)
          cancel:cancel()
        end)
        result = { w:stream { cancel = cancel } }
      end)
      assert.same({ nil, "cancelled" }, { result[1], result[3] })
      w:assert_clean()
    end
  end)

  it("that nobody reads is given back", function()
    local w = new { hold = true, edge = { words { "yes" } } }
    w:stream()
    collectgarbage()
    collectgarbage()
    w:assert_clean()
  end)
end)
