-- A chat that came whole, and was asked for as a stream, was one event: its calls of tools, and in
-- the same chunk its `finish_reason`. OpenAI's SDK for JavaScript looks for the reason first, and
-- tells of a call that it is whole (`tool_calls.function.arguments.done`) when the reason comes, or
-- the next call: of the last one it told nothing, and whoever waits for that carried nothing out.
-- And the calls in the pieces had no `index`, by which fragments are put together.
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local world = require "spec.support.world"

local function call(name)
  return { id = "c-" .. name, type = "function", ["function"] = { name = name, arguments = "{}" } }
end

local function body_of(message, finish)
  message.role = "assistant"
  return json.encode { id = "x", object = "chat.completion", created = 5, model = "m", extra = "e",
    choices = { { index = 0, finish_reason = finish, logprobs = json.null, message = message } },
    usage = { prompt_tokens = 1, completion_tokens = 2, total_tokens = 3 } }
end

local CALLS = body_of({ content = json.null, tool_calls = { call "f", call "g" } }, "tool_calls")

-- The pieces of a stream that is answered with this body, and its reply.
local function read(body)
  local w = world.new { script = { a = { { status = 200, body = body } } } }
  local pieces, stream = {}, assert(w:stream())
  for piece in stream:pieces() do pieces[#pieces + 1] = piece end
  local reply = stream:reply()
  w:assert_clean()
  return pieces, reply
end

-- The calls that OpenAI's SDK tells whole (lib/ChatCompletionStream.ts).
local function told_whole(pieces)
  local told, current, finished = {}, nil, false
  for _, piece in ipairs(pieces) do
    local choice = json.decode(piece.data).choices[1]
    finished = finished or choice.finish_reason ~= json.null
    if finished and current then told[current + 1] = true end
    for _, fragment in ipairs(choice.delta.tool_calls or {}) do
      if current and current ~= fragment.index then told[current + 1] = true end
      current = fragment.index
    end
  end
  return told
end

describe("a whole chat as a stream", function()
  it("tells its reason behind the calls of tools", function()
    local pieces, reply = read(CALLS)
    assert.same({ true, true }, told_whole(pieces))
    assert.same({ "tool_calls", 2, 3 }, { reply.finish_reason, #reply.tool_calls,
      reply.usage.total_tokens })
    local first, last = json.decode(pieces[1].data), json.decode(pieces[2].data)
    assert.same({ 2, "e", nil, "x", 5, "m" }, { #pieces, first.extra, first.usage, last.id,
      last.created, last.model })
    assert.same({ {}, "tool_calls", 3 }, { last.choices[1].delta, last.choices[1].finish_reason,
      last.usage.total_tokens })
    assert.same({ nil, "tool_calls", 3 }, { pieces[1].finish, pieces[2].finish,
      pieces[2].usage.total_tokens })
  end)

  it("is put together as what it was", function()
    local a, whole = openai.assembler "chat", openai.read("chat", 200, {}, CALLS)
    for _, piece in ipairs((read(CALLS))) do a:feed { data = piece.data } end
    assert.is_true(a:finish())
    for _, field in ipairs { "tool_calls", "finish", "usage", "model" } do
      assert.same(whole[field], a:answer()[field])
    end
  end)

  it("gives its calls as fragments with an index", function()
    local seen = {}
    for _, piece in ipairs((read(CALLS))) do
      for _, fragment in ipairs(piece.tool_calls or {}) do
        seen[fragment.index + 1] = fragment["function"].name
      end
    end
    assert.same({ "f", "g" }, seen)
  end)

  it("is one event where it says something", function()
    local pieces = read(body_of({ content = "hi", tool_calls = json.array() }, "stop"))
    assert.same({ 1, "hi", "stop", 3 }, { #pieces, pieces[1].text, pieces[1].finish,
      pieces[1].usage.total_tokens })
    assert.equal(3, json.decode(pieces[1].data).usage.total_tokens)
  end)
end)
