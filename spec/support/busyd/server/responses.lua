--- Good answers of the Responses API, whole and as typed events.
local cjson = require "cjson"
local text = require "server.text"

local encode = cjson.encode

local responses = {}

local CHUNKS = 4 -- pieces of the text when the programme names no number

local function usage(call, said)
  local prompt, completion = math.ceil(call.prompt_bytes / 4),
    call.answer.tokens or math.ceil(#said / 4)
  local cached = math.min(call.answer.cached_tokens or 0, prompt)
  return ('{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d},"output_tokens":%d,'
    .. '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}')
    :format(prompt, cached, completion, prompt + completion)
end

local function part(said)
  return '{"type":"output_text","text":' .. encode(said) .. ',"annotations":[]}'
end

local function message(call, status, content)
  return ('{"type":"message","id":"msg_%d","status":"%s","role":"assistant","content":[%s]}')
    :format(call.number, status, content)
end

local function reasoning(call, said)
  return ('{"type":"reasoning","id":"rs_%d","summary":[{"type":"summary_text","text":%s}]}')
    :format(call.number, encode(said))
end

local function calls(said)
  local out = {}
  for i, tool in ipairs(said.tools or {}) do
    out[i] = ('{"type":"function_call","id":"fc_%d","call_id":%s,"name":%s,"arguments":%s,'
      .. '"status":"completed"}'):format(i, encode(tool.id), encode(tool.name),
      encode(tool.arguments))
  end
  return out
end

-- The items of a whole answer, in JSON.
local function items(call, said)
  local out = calls(said)
  if said.content then table.insert(out, 1, message(call, "completed", part(said.content))) end
  if said.reasoning then table.insert(out, 1, reasoning(call, said.reasoning)) end
  return out
end

local function response(call, status, output, used)
  return ('{"id":"resp_%d","object":"response","created_at":%d,"status":"%s","error":null,'
    .. '"incomplete_details":null,"model":%s,"output":[%s],"usage":%s}'):format(call.number,
    ngx.time(), status, encode(call.model), table.concat(output, ","), used or "null")
end

--- The whole response.
function responses.whole(call, answers)
  local said = answers.say(call)
  return response(call, "completed", items(call, said), usage(call, said.content or ""))
end

-- Gives `add(type, fields)`, which appends an event to `pieces`.
local function writer(pieces)
  return function(kind, fields)
    pieces[#pieces + 1] = ('event: %s\ndata: {"type":"%s","sequence_number":%d%s}\n\n')
      :format(kind, kind, #pieces, fields and "," .. fields or "")
  end
end

local function add_item(add, index, before, after, f)
  add("response.output_item.added", ('"output_index":%d,"item":%s'):format(index, before))
  if f then f(('"item_id":"item_%d","output_index":%d'):format(index, index)) end
  add("response.output_item.done", ('"output_index":%d,"item":%s'):format(index, after))
end

local function add_text(add, at, content, chunks)
  at = at .. ',"content_index":0'
  add("response.content_part.added", at .. ',"part":' .. part "")
  for _, piece in ipairs(text.pieces(content, chunks)) do
    add("response.output_text.delta", at .. ',"delta":' .. encode(piece))
  end
  add("response.output_text.done", at .. ',"text":' .. encode(content))
  add("response.content_part.done", at .. ',"part":' .. part(content))
end

--- The play of a response as a stream.
function responses.stream(call, answers)
  local said, pieces = answers.say(call), {}
  local add, chunks = writer(pieces), call.answer.chunks or call.answer.tokens or CHUNKS
  local begun = '"response":' .. response(call, "in_progress", {})
  add("response.created", begun)
  add("response.in_progress", begun)
  for i, item in ipairs(items(call, said)) do
    local is_message = item:find('"type":"message"', 1, true)
    add_item(add, i - 1, is_message and message(call, "in_progress", "") or item, item,
      is_message and function(at) add_text(add, at, said.content, chunks) end)
  end
  local last = #pieces
  add("response.completed", '"response":' .. responses.whole(call, answers))
  return {
    status = 200, pieces = pieces, paced = { 3, last }, good = true, patient = true, sse = true,
    headers = { ["Content-Type"] = "text/event-stream", ["Cache-Control"] = "no-cache" },
  }
end

return responses
