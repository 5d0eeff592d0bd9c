-- A stream whose body ends with its connection tells of no end but `[DONE]`, which some servers do
-- not send. One of which two choices were wanted (`n = 2`), and which broke off when the first one
-- was finished and the second one had not begun, was taken for whole.
local assembler = require "unbusy.providers.assembler"
local json = require "unbusy.json"
local world = require "spec.support.world"

local function chunk(index, delta, finish)
  return "data: " .. json.encode { id = "x", object = "chat.completion.chunk", model = "m",
    choices = { { index = index, delta = delta, finish_reason = finish or json.null } } } .. "\n\n"
end

local FIRST = chunk(0, { content = "one" }) .. chunk(0, {}, "stop")
local SECOND = chunk(1, { content = "two" }) .. chunk(1, {}, "stop")

-- What becomes of a stream of these bytes.
local function ask(bytes, n)
  local w = world.new { script = { a = { world.streamed { { 0, bytes } } } },
    options = { retry = false } }
  local reply, _, code
  w.loop.run(function()
    local stream = w.client:stream { model = "m", n = n,
      messages = { { role = "user", content = "x" } } }
    reply, _, code = stream:reply()
  end)
  w:assert_clean()
  return reply and #reply.body.choices, code
end

describe("a stream that ends without [DONE]", function()
  it("is cut where it ends between two choices that were wanted", function()
    assert.same({ nil, "cut" }, { ask(FIRST, 2) })
    assert.same({ nil, "cut" }, { ask(FIRST .. SECOND, 3) })
  end)

  it("is whole with all that were wanted", function()
    assert.equal(1, (ask(FIRST)))
    assert.equal(1, (ask(FIRST, 1)))
    assert.equal(2, (ask(FIRST .. SECOND, 2)))
  end)

  it("is whole where the server says so: it may give fewer", function()
    assert.equal(1, (ask(FIRST .. world.DONE, 2)))
  end)

  it("has choices for each of the prompts", function()
    local function whole(prompt, n, events)
      local a = assembler.new("complete", nil, { prompt = prompt, n = n })
      for i = 1, events do
        a:feed { data = json.encode { choices = { { index = i - 1, text = "x",
          finish_reason = "stop" } } } }
      end
      return (a:finish())
    end
    assert.is_true(whole("x", nil, 1))
    assert.is_true(whole({ 1, 2, 3 }, nil, 1)) -- tokens
    assert.is_nil(whole({ "x", "y" }, nil, 1))
    assert.is_true(whole({ "x", "y" }, nil, 2))
    assert.is_nil(whole({ "x", "y" }, 2, 3))
    assert.is_true(whole({ "x", "y" }, 2, 4))
    assert.is_true(whole({}, json.null, 1))
  end)
end)
