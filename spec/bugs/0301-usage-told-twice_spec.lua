-- A stream that breaks off behind its `finish_reason` is whole, and with `resume` nobody is asked:
-- an end of our own comes behind it, with the usage. Where the server had told that too (in the
-- last chunk, as DeepSeek does, or in one of its own before `[DONE]`), it came twice: LangChain and
-- others, who add up what the chunks say, had twice the tokens.
local json = require "unbusy.json"
local resumed = require "spec.support.resumed"
local world = require "spec.support.world"

local USAGE = { prompt_tokens = 10, completion_tokens = 5, total_tokens = 15 }

local function chunk(choices, usage)
  return "data: " .. json.encode { id = "x", object = "chat.completion.chunk", model = "m",
    choices = json.array(choices), usage = usage } .. "\n\n"
end

local function text(words, finish, usage)
  return chunk({ { index = 0, delta = { content = words }, finish_reason = finish or json.null } },
    usage)
end

-- Reads a stream of these bytes, behind which the connection breaks: each usage that its chunks
-- tell, and the reply.
local function read(bytes, more)
  local w = world.new { targets = { a = { prefix = "flag" } }, script = { a = {
    world.streamed({ { 0, bytes } }, { fail = "network", message = "reset", phase = "body" }) } },
    options = { retry = resumed.QUICK, resume = "prefix" } }
  local told, stream = {}, assert(w.client:stream(resumed.question(more)))
  for piece in stream:pieces() do
    local body = json.decode(piece.data)
    if type(body.usage) == "table" then told[#told + 1] = body.usage end
    assert.equal(type(body.usage) == "table", piece.usage ~= nil)
  end
  local reply = stream:reply()
  assert.same({ "one two", "stop", 1 }, { reply.text, reply.finish_reason, #w.log })
  resumed.finish(w)
  return told, reply
end

describe("the usage of a stream that breaks off behind its finish_reason", function()
  it("comes once, where its server has told it", function()
    for _, bytes in ipairs { text "one " .. text("two", "stop") .. chunk({}, USAGE),
      text "one " .. text("two", "stop", USAGE) } do
      local told, reply = read(bytes, { stream_options = { include_usage = true } })
      assert.same({ USAGE }, told)
      assert.same({ 15, 0 }, { reply.usage.total_tokens, reply.usage.estimated_tokens })
      assert.equal(15, reply.body.usage.total_tokens)
    end
  end)

  it("comes once of a rest that breaks off there, too", function()
    local first = world.streamed({ { 0, text "one " } }, { fail = "network", message = "reset" })
    local rest = world.streamed({ { 0, text("two", "stop") .. chunk({}, USAGE) } },
      { fail = "network", message = "reset" })
    local w = world.new { targets = { a = { prefix = "flag" } }, script = { a = { first, rest } },
      options = { retry = resumed.QUICK, resume = "prefix" } }
    local told, stream = {}, assert(w.client:stream(resumed.question()))
    for piece in stream:pieces() do told[#told + 1] = piece.usage end
    assert.same({ "one two", 1, 2 }, { stream:reply().text, #told, #w.log })
    assert.is_true(told[1].total_tokens > 15 and told[1].estimated_tokens > 0)
    resumed.finish(w)
  end)

  it("is asked for anew where a kept answer has none but an estimate, for who wants it", function()
    local cut = world.streamed({ { 0, text("hi", "stop") } },
      { fail = "network", message = "reset" })
    local w = world.new { targets = { a = { prefix = "flag" } },
      script = { a = { cut, world.streamed { { 0, text("hi", "stop") .. chunk({}, USAGE) } } } },
      options = { retry = resumed.QUICK, resume = "prefix", cache = { ttl = 60 } } }
    local function ask(include)
      local told, stream = 0, assert(w.client:stream(resumed.question { temperature = 0,
        stream_options = { include_usage = include } }))
      for piece in stream:pieces() do told = told + (piece.usage and 1 or 0) end
      return { stream.source, told }
    end
    assert.same({ { "upstream", 0 }, { "cache", 0 } }, { ask(false), ask(false) })
    assert.same({ { "upstream", 1 }, { "cache", 1 } }, { ask(true), ask(true) })
    assert.same({ { "cache", 0 }, 2 }, { ask(false), #w.log })
    resumed.finish(w)
  end)

  it("is estimated where its server has not, for who wants it", function()
    local bytes = text "one " .. text("two", "stop")
    assert.equal(1, #read(bytes, { stream_options = { include_usage = true } }))
    assert.equal(0, #read(bytes, { stream_options = { include_usage = false } }))
  end)
end)
