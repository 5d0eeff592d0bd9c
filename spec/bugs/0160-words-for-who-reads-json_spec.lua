-- A text stood in for any chat, also for one that had asked for JSON. The SDK's parser, or the
-- program's, failed on it: nobody learned that the server was busy, since status 200 was out.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

local messages = { { role = "user", content = "hi" } }
local schema = { type = "json_schema", json_schema = { name = "x", schema = {} } }

local wanting = {
  { messages = messages, response_format = { type = "json_object" } },
  { messages = messages, response_format = schema },
  { input = "hi", text = { format = { type = "json_schema", name = "x", schema = {} } } },
}
local not_wanting = {
  { messages = messages, response_format = { type = "text" } },
  { input = "hi", text = { format = { type = "text" }, verbosity = "low" } },
}

describe("what stands in for an answer in JSON", function()
  guard.watch(before_each, after_each)

  local function failing(fallback)
    return world.new { script = { a = { world.status(503) } },
      options = { retry = false, fallback = fallback } }
  end

  -- The text, whole and as a stream, or the code of the failure.
  local function got(w, request)
    local call = request.input and w.client.responses or w.client.chat
    local reply, _, code = call(w.client, request)
    local stream, _, streamed = w.client:stream(request)
    assert.same({ code, reply and reply.text }, { streamed, stream and stream:reply().text })
    return reply and reply.text or code
  end

  it("is no text that is none", function()
    local w = failing "忙"
    for _, request in ipairs(wanting) do assert.equal("busy", got(w, request)) end
    for _, request in ipairs(not_wanting) do assert.equal("忙", got(w, request)) end
    assert.equal("忙", w.client:complete({ prompt = "hi" }).text)
    w:assert_clean()
  end)

  it("is the next that can be read", function()
    local w = failing { "忙", '{"busy":"{code}"}' }
    for _, request in ipairs(wanting) do assert.equal('{"busy":"busy"}', got(w, request)) end
    for _, request in ipairs(not_wanting) do assert.equal("忙", got(w, request)) end
    w:assert_clean()
  end)

  it("is a text whose status says that it is no answer", function()
    local w = failing { text = "忙", status = 503 }
    for _, request in ipairs(wanting) do assert.equal("忙", got(w, request)) end
    w:assert_clean()
  end)
end)
