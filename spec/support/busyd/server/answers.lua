--- Good answers. What is to be sent is a *play*:
--
--   status, headers    as they say
--   pieces             strings, sent in this order
--   paced = { a, b }   pieces a … b have `gap` seconds between them: they hold the answer's text
--   patient            the programme's latency and token interval apply
--   good               the caller gets a whole answer (presets that spoil it clear this)
--
-- presets.lua changes plays, player.lua sends them and knows the rest of their fields.
local cjson = require "cjson"
local items = require "server.items"
local responses = require "server.responses"
local stream = require "server.stream"
local text = require "server.text"
local ffi = require "ffi"

local encode = cjson.encode

local answers = {}

local MODELS = { "busyd-large", "busyd-small" }

--- Tokens as we count them: one for four bytes, or as many words as the programme wants.
function answers.usage(call, answer, said)
  local prompt = math.ceil(call.prompt_bytes / 4)
  local completion = answer.tokens or math.ceil(#said / 4)
  local cached = math.min(answer.cached_tokens or 0, prompt)
  return ('{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    .. '"prompt_cache_hit_tokens":%d,"prompt_cache_miss_tokens":%d,'
    .. '"prompt_tokens_details":{"cached_tokens":%d}}'):format(
    prompt, completion, prompt + completion, cached, prompt - cached, cached)
end

-- What goes before the rest where it is asked for in words: what the programme says, or what the
-- request wants repeated, between <<< and >>>.
local function repeated(turn, answer)
  if not answer.repeats then return turn.asked:match "<<<\n(.-)\n>>>" or "" end
  return answer.repeats > 0 and turn.begun:sub(-answer.repeats) or ""
end

-- The rest of a text that was begun in the message before the last one; nil where that is no
-- beginning of it.
local function go_on(turn, answer)
  local whole = text.answer(turn.question, answer)
  if whole:sub(1, #turn.begun) ~= turn.begun then return nil end
  return (answer.lead or "") .. repeated(turn, answer) .. whole:sub(#turn.begun + 1)
end

-- The text to say; what continues one leaves out what was said already.
local function say(call, answer, question)
  local rest = answer.continues and call.turn and go_on(call.turn, answer)
  if rest then return rest end
  local whole = text.answer(question, answer)
  local prefix = call.prefix
  if prefix and whole:sub(1, #prefix) == prefix then
    return (answer.lead or "") .. whole:sub(#prefix + 1)
  end
  return whole
end

-- The tool calls the programme asks for; without arguments they carry the question.
local function tool_calls(answer, question)
  local calls = {}
  for i, tool in ipairs(answer.tool_calls) do
    local arguments = tool.arguments or { question = question }
    calls[i] = {
      index = i - 1, id = tool.id or "call_" .. i, name = tool.name or "lookup",
      arguments = type(arguments) == "table" and encode(arguments) or arguments,
    }
  end
  return calls
end

--- What a good answer to this call says, before it is put into any shape.
---@return table said  { content, reasoning, tools, finish_reason }
function answers.say(call)
  local answer, question = call.answer, call.question
  local calls = call.kind == "chat" or call.kind == "response"
  local tools = answer.tool_calls and calls and tool_calls(answer, question)
  return {
    content = not tools and say(call, answer, question) or answer.text,
    reasoning = answer.reasoning and text.reasoning(question, answer), tools = tools or nil,
    finish_reason = answer.finish_reason or tools and "tool_calls" or "stop",
  }
end

local function tools_json(tools)
  local list = {}
  for i, tool in ipairs(tools) do
    list[i] = ('{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}')
      :format(tool.index, encode(tool.id), encode(tool.name), encode(tool.arguments))
  end
  return "[" .. table.concat(list, ",") .. "]"
end

--- The head that every object of this call begins with: `{"id":…,"model":…,`.
function answers.head(call, object)
  return '{"id":"' .. (call.kind == "chat" and "chatcmpl-" or "cmpl-") .. call.number ..
    '","object":"' .. object .. '","created":' .. ngx.time() .. ',"model":' ..
    encode(call.model) .. ","
end

local shapes = {}

function shapes.chat(call)
  local said = answers.say(call)
  return answers.head(call, "chat.completion") ..
    '"choices":[{"index":0,"message":{"role":"assistant","content":' ..
    encode(said.content or cjson.null) ..
    (said.reasoning and ',"reasoning_content":' .. encode(said.reasoning) or "") ..
    (said.tools and ',"tool_calls":' .. tools_json(said.tools) or "") ..
    '},"logprobs":null,"finish_reason":' .. encode(said.finish_reason) .. '}],"usage":' ..
    answers.usage(call, call.answer, said.content or "") .. "}"
end

-- An item of a list, or what stands there where it has failed.
local function item_json(call, i, input, good)
  local failed = items.error(call, input)
  if failed then return ('{"index":%d,"error":%s}'):format(i - 1, failed) end
  return good()
end

-- One choice for each prompt.
function shapes.completion(call)
  local choices, whole = {}, {}
  for i, prompt in ipairs(call.inputs) do
    whole[i] = text.completion(prompt, call.answer)
    choices[i] = item_json(call, i, prompt, function()
      return ('{"index":%d,"text":%s,"logprobs":null,"finish_reason":%s}'):format(
        i - 1, encode(whole[i]), encode(call.answer.finish_reason or "stop"))
    end)
  end
  return answers.head(call, "text_completion") .. '"choices":[' .. table.concat(choices, ",") ..
    '],"usage":' .. answers.usage(call, call.answer, table.concat(whole)) .. "}"
end

local function base64_floats(vector)
  local floats = ffi.new("float[?]", #vector)
  for i, number in ipairs(vector) do floats[i - 1] = number end
  return ngx.encode_base64(ffi.string(floats, 4 * #vector))
end

function shapes.embedding(call)
  local data = {}
  for i, input in ipairs(call.inputs) do
    data[i] = item_json(call, i, input, function()
      local vector = text.embedding(input, call.answer.dimensions)
      return ('{"object":"embedding","index":%d,"embedding":%s}'):format(
        i - 1, encode(call.base64 and base64_floats(vector) or vector))
    end)
  end
  local tokens = math.ceil(call.prompt_bytes / 4)
  return ('{"object":"list","data":[%s],"model":%s,"usage":{"prompt_tokens":%d,"total_tokens":%d}}')
    :format(table.concat(data, ","), encode(call.model), tokens, tokens)
end

-- One answer for each request, and what they have in common once.
function shapes.batch(call)
  local list, whole = {}, {}
  for i, prompt in ipairs(call.inputs) do
    whole[i] = text.answer(prompt, call.answer)
    list[i] = item_json(call, i, prompt, function()
      return ('{"choices":[{"index":0,"message":{"role":"assistant","content":%s},'
        .. '"finish_reason":%s}]}'):format(encode(whole[i]),
        encode(call.answer.finish_reason or "stop"))
    end)
  end
  return answers.head(call, "list") .. '"responses":[' .. table.concat(list, ",") ..
    '],"usage":' .. answers.usage(call, call.answer, table.concat(whole)) .. "}"
end

function shapes.response(call) return responses.whole(call, answers) end

function shapes.models()
  local data = {}
  for i, name in ipairs(MODELS) do
    data[i] = ('{"id":"%s","object":"model","created":0,"owned_by":"busyd"}'):format(name)
  end
  return '{"object":"list","data":[' .. table.concat(data, ",") .. "]}"
end

--- The play of a good answer.
---@param call table  with `answer`, the programme's say on it
function answers.play(call)
  if call.stream and call.kind == "response" then return responses.stream(call, answers) end
  if call.stream then return stream.play(call, answers) end
  return {
    status = 200, headers = { ["Content-Type"] = "application/json" },
    pieces = { shapes[call.kind](call) }, paced = { 1, 1 }, good = true, patient = true,
  }
end

--- The play of an error in OpenAI's shape.
---@param code? string  JSON null when nil
function answers.error(status, message, kind, code)
  return {
    status = status, headers = { ["Content-Type"] = "application/json" },
    pieces = { encode { error = {
      message = message, type = kind, param = cjson.null, code = code or cjson.null,
    } } }, paced = { 1, 1 },
  }
end

return answers
