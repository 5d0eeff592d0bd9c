-- Mistral's reasoning models tell their thoughts as parts of the content (BerriAI/litellm#16272):
--
--     "delta": { "content": [ { "type": "thinking", "thinking": [ { "type": "text", … } ] } ] }
--
-- They were no bytes of answer: one that thought for longer than the start clock was called off in
-- the midst of it, and one that thought again later, by the token clock. Of a stream that was put
-- together the thoughts were lost.
local openai = require "unbusy.providers.openai"
local world = require "spec.support.world"

local function thought(text)
  return world.chunk { content = { { type = "thinking",
    thinking = { { type = "text", text = text } } } } }
end

-- A stream of these chunks, a second apart.
local function steps_of(chunks)
  local steps = { { 0, world.chunk { role = "assistant", content = "" } } }
  for _, chunk in ipairs(chunks) do steps[#steps + 1] = { 1, chunk } end
  steps[#steps + 1] = { 0, world.chunk({}, "stop") .. world.DONE }
  return steps
end

local function ask(chunks, options)
  options.clocks, options.retry = { start = 5, token = 5 }, false
  return world.new { script = { a = { world.streamed(steps_of(chunks)) } }, options = options }
end

local THINKS = {}
for i = 1, 8 do THINKS[i] = thought(i .. " ") end
THINKS[9] = world.chunk { content = { { type = "text", text = "So " } } }
for i = 10, 17 do THINKS[i] = thought(i .. " ") end
THINKS[18] = world.chunk { content = "be it." }

local THOUGHTS = "1 2 3 4 5 6 7 8 10 11 12 13 14 15 16 17 "

describe("thoughts among the parts of a content", function()
  it("are an answer that has begun, and goes on", function()
    local w = ask(THINKS, {})
    local stream, thoughts = assert(w:stream()), {}
    for piece in stream:pieces() do thoughts[#thoughts + 1] = piece.reasoning end
    assert.same({ THOUGHTS, THOUGHTS, "So be it." }, { table.concat(thoughts),
      stream:reply().reasoning, stream:reply().text })
    w:assert_clean()
  end)

  it("are not lost where a stream is put together", function()
    local w = ask(THINKS, { upstream_stream = true })
    local reply = assert(w:chat())
    assert.same({ THOUGHTS, "So be it." }, { reply.reasoning, reply.text })
    local message = reply.body.choices[1].message
    assert.same({ THOUGHTS, "So be it." }, { message.reasoning_content, message.content })
    w:assert_clean()
  end)

  it("are a whole answer's, too, whatever stands among them", function()
    for content, expected in pairs {
      ['[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"}]']
        = { "hm", "a" },
      ['[1,{"type":"thinking","thinking":"hm"},{"type":"thinking"},"x"]'] = { "hm" },
      ['[{"type":"thinking","thinking":5}]'] = {} } do
      local answer = assert(openai.read("chat", 200, {},
        '{"choices":[{"message":{"content":' .. content .. '}}]}'))
      assert.same({ content, expected[1], expected[2] },
        { content, answer.reasoning, answer.text })
    end
  end)
end)
