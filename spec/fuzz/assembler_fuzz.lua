--- Any stream: a line with the kind, then its bytes. Each event gives a piece or a failure that
--- keeps to the contract, and what was taken can be put together.
local contract = require "spec.fuzz.contract"
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local sse = require "unbusy.sse"

local target = {}

target.words = { "data: ", "data: {}\n\n", "data: [DONE]\n\n", "event: error\n", "\n\n", "\n",
  "id: 1\n", '{"choices":[{"index":0,"delta":{', '"content":"a"', '"role":"assistant"',
  '"tool_calls":[{', '"index":', '"function":{"name":"f","arguments":"{"}',
  '"content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]}]',
  '"custom":{"name":"f","input":"x"}', '"finish_reason":"stop"', '"refusal":',
  '"function_call":{}', '"logprobs":{"content":[1]}',
  '"usage":{"prompt_tokens":', "null", "[]", "{}", "1e300", "-1", "1.5", "9223372036854775808",
  '"error":{"code":', '"finish_reason":"error"', "}", "]", ",", '"reasoning_content":"r"',
  "\255", "系统繁忙", "[[]]", "true", '"id":"x"', "complete\n",
  "responses\n", '{"type":"response.completed","response":{"output":[', '"type":"response.',
  '"response":{"status":"failed"', "event: response.failed\n", '"output_text.delta","delta":"a"',
  '{"type":"message","content":[', '{"type":"output_text","text":"a"}', '"input_tokens":1' }

local function check_piece(piece)
  assert(type(piece) == "table" and type(piece.data) == "string")
  for _, name in ipairs { "text", "reasoning", "refusal", "finish" } do
    assert(piece[name] == nil or type(piece[name]) == "string" and piece[name] ~= "", name)
  end
end

local function check_answer(a)
  local answer = a:answer()
  assert(a:answer() == answer, "two answers")
  if a.kind ~= "responses" then
    assert(type(answer.body) == "table" and json.is_array(answer.body.choices))
  end
  assert(answer.text == nil or type(answer.text) == "string")
  local text, message = json.encode(answer.body or json.null)
  if not text then contract.line(message) end
end

local function feed_all(a, events)
  for _, event in ipairs(events) do
    local piece, message, code, detail = a:feed(event)
    if code then return contract.failure(piece, message, code, detail) end
    if piece then check_piece(piece) end
  end
end

function target.check(input)
  local kind, at = input:match "^(%l+)\n()"
  if kind ~= "complete" and kind ~= "responses" then kind = "chat" end
  local parser, a = sse.new { limit = 2000 }, openai.assembler(kind)
  local events, message, code = parser:feed(input:sub(at or 1))
  if not events then return contract.failure(events, message, code) end
  local failed = feed_all(a, events)
  local ok, why, how = a:finish()
  if not ok then contract.failure(ok, why, how) end
  check_answer(a)
  return (failed or how or "whole") .. contract.kind(a:answer().body, 5)
end

return target
