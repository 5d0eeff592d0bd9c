local world = require "spec.support.world"

local status = world.status
local SORRY = "系统繁忙,请稍后再试"

local function busy(options)
  options = options or {}
  options.retry = false
  options.fallback = options.fallback or SORRY
  return world.new { script = { a = { status(503) } }, options = options }
end

describe("the fallback stage", function()
  it("answers with the text, marked, and says what went wrong", function()
    local reply = busy():chat()
    assert.equal(SORRY, reply.text)
    assert.equal("fallback", reply.source)
    assert.equal(200, reply.status)
    assert.equal("busy", reply.failure.code)
    assert.equal(1, reply.failure.detail.tries)
    assert.equal(SORRY, reply.body.choices[1].message.content)
    assert.equal("stop", reply.body.choices[1].finish_reason)
    assert.equal("chat.completion", reply.body.object)
  end)

  it("takes a status", function()
    assert.equal(503, busy({ fallback = { text = "x", status = 503 } }):chat().status)
  end)

  it("streams it when a stream was asked for", function()
    local w = busy()
    local stream = w:stream()
    assert.equal("fallback", stream.source)
    assert.equal("busy", stream.failure.code)
    local text = {}
    for piece in stream:pieces() do text[#text + 1] = piece.text end
    assert.equal(SORRY, table.concat(text))
    assert.equal(SORRY, w:stream():reply().text)
    w:assert_clean()
  end)

  it("stands for a completion too, and never for embeddings or a post", function()
    local w = busy()
    assert.equal(SORRY, w.client:complete({ prompt = "x" }).body.choices[1].text)
    assert.equal("busy", select(3, w.client:embed { input = "x" }))
    assert.equal("busy", select(3, w.client:post("/x", "{}")))
  end)

  it("is not for what the caller did", function()
    local w = world.new { script = { a = { status(400) } }, options = { fallback = SORRY } }
    assert.equal("invalid", select(3, w:chat()))
    w.client:close()
    assert.equal("closed", select(3, w:chat()))
  end)

  it("is not needed when an answer comes", function()
    local w = world.new { script = { a = { world.good "hi" } }, options = { fallback = SORRY } }
    assert.equal("hi", w:chat().text)
    assert.equal(0, #w:seen "fallback")
  end)

  it("tells the watcher", function()
    local w = busy()
    w:chat()
    assert.equal("busy", w:seen("fallback")[1].code)
  end)
end)
