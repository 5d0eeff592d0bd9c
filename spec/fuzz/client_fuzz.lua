--- A whole call in virtual time whose server answers anything: the input is as in answers_fuzz.lua,
--- with "stream" as one more kind, and its body comes in pieces. The call ends with an answer or
--- with a failure that keeps to the contract, the key is nowhere, and nothing is left.
local answers = require "spec.fuzz.answers_fuzz"
local contract = require "spec.fuzz.contract"
local world = require "spec.support.world"

local target = {}

local KEY = "key-of-a"

target.words = { KEY, "Bearer key-of-a", "stream ", "content-type: text/event-stream\n" }
for _, word in ipairs(answers.words) do target.words[#target.words + 1] = word end
for _, word in ipairs { ": keep-alive\n\n", "data: ", "data: [DONE]\n\n", "data: {}\n\n", "chat ",
  '"delta":{"content":"a"}', '"finish_reason":"stop"', "event: error\n" } do
  target.words[#target.words + 1] = word
end

-- The body in pieces whose sizes depend on what is in it.
local function steps(body)
  local list, at = {}, 1
  while at <= #body do
    local size = 1 + body:byte(at) % 61
    list[#list + 1] = { size % 3, body:sub(at, at + size - 1) }
    at = at + size
  end
  return list
end

local function read_stream(stream)
  for _ = 1, 10000 do
    local piece, message, code, detail = stream:read()
    if code then return contract.failure(piece, message, code, detail, KEY) end
    if not piece then return "whole" end
    assert(piece.text == nil or type(piece.text) == "string")
  end
  error "a stream without an end"
end

local question = { messages = { { role = "user", content = "hi" } }, prompt = "hi", input = "hi" }

local function ask(client, kind)
  if kind == "stream" then
    local stream, message, code, detail = client:stream(question)
    if not stream then return contract.failure(stream, message, code, detail, KEY) end
    local how = read_stream(stream)
    stream:close()
    return how
  end
  local reply, message, code, detail
  if kind == "post" then
    reply, message, code, detail = client:post("/x", "body")
  else
    reply, message, code, detail = client[kind](client, question)
  end
  if not reply then return contract.failure(reply, message, code, detail, KEY) end
  return "answer" .. contract.kind(reply.body)
end

local kinds = { chat = "chat", complete = "complete", embed = "embed", post = "post",
  stream = "stream" }

function target.check(input)
  local status, kind, headers, body = answers.split(input)
  if not kinds[kind] or status < 200 then return "none" end
  local answer = { status = status, headers = headers, steps = steps(body) }
  local w = world.new { script = { a = { answer } }, options = { retry = { attempts = 2 },
    clocks = { total = 60 } } }
  local result = ask(w.client, kind)
  w:assert_clean()
  for _, event in ipairs(w.events) do
    if event.message then contract.line(event.message, KEY) end
  end
  return kind .. status .. result
end

return target
