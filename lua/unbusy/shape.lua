--- Answers and errors of our own, in the shapes that OpenAI's clients expect.
--
-- What an answer says is `said`: a text, or { text =, reasoning =, finish = "stop", "length" or
-- "content_filter", usage = { prompt_tokens =, completion_tokens = } }.
local answers = require "unbusy.providers.answers"
local json = require "unbusy.json"
local responses = require "unbusy.providers.responses"
local shape_response = require "unbusy.shape_response"

local shape = {}

local epoch, serial = nil, 0

-- Unique in this process, and between processes but for an unlikely chance.
local function new_id()
  local own = tostring({}):match("0x(%x+)") or "0"
  epoch = epoch or ("%x%s"):format(os.time(), own:sub(-6))
  serial = serial + 1
  return ("unbusy-%s-%d"):format(epoch, serial)
end

local objects = { chat = "chat.completion", complete = "text_completion", responses = "response" }
local chunks = { chat = "chat.completion.chunk", complete = "text_completion" }

local function seconds(clock)
  return json.whole(math.floor((clock or os.time)()))
end

local function name_of(model)
  return model and json.is_utf8(model) and model or "unbusy"
end

local function envelope(object, model, clock)
  return { id = new_id(), object = object, created = seconds(clock), model = name_of(model) }
end

local function refuse(kind)
  return nil, ("shape: a text cannot answer a call of kind '%s'"):format(tostring(kind)), "invalid"
end

local function as_table(said)
  return type(said) == "table" and said or { text = said }
end

local function usage_of(said)
  local used = said.usage or {}
  local asked, told = used.prompt_tokens or 0, used.completion_tokens or 0
  return { prompt_tokens = asked, completion_tokens = told, total_tokens = asked + told }
end

-- {== Whole ===============================================================

-- The reader of bodies of a kind.
local function reader_of(kind)
  return kind == "responses" and responses or answers
end

--- A whole answer, as `provider.read` would give it. A text alone used no tokens.
---@param kind string chat, complete or responses
---@param model string?
---@param said string|table see above
---@param clock function? Unix seconds, os.time by default
---@return table? answer, string? message, string? code for other kinds, which no text can answer
function shape.reply(kind, model, said, clock)
  if not objects[kind] then return refuse(kind) end
  said = as_table(said)
  if kind == "responses" then
    local answer = responses.of(kind,
      shape_response.body(new_id(), name_of(model), said, seconds(clock)))
    answer.text = said.text -- an empty one too
    return answer
  end
  local body = envelope(objects[kind], model, clock)
  local choice = { index = 0, finish_reason = said.finish or "stop", logprobs = json.null }
  if kind == "chat" then
    choice.message = { role = "assistant", content = said.text,
      reasoning_content = said.reasoning }
  else
    choice.text = said.text
  end
  body.choices, body.usage = { choice }, usage_of(said)
  return answers.of(kind, body)
end

local function default(t, name, value)
  if t[name] == nil then t[name] = value end
end

local function fill_choice(kind, choice, index)
  default(choice, "index", index)
  default(choice, "finish_reason", "stop")
  default(choice, "logprobs", json.null)
  local message = choice.message
  if kind == "chat" and type(message) == "table" then
    default(message, "role", "assistant")
    default(message, "content", json.null)
  end
end

--- A body that somebody wrote, in the shape of a kind: what every answer has and this one lacks
--- (its id, time, model, roles, reasons) is added. `body` is changed.
---@param kind string chat, complete or responses
---@param body any
---@param model string?
---@param clock function? Unix seconds, os.time by default
---@return table? answer as `provider.read` gives; nil when it cannot be one of that kind
function shape.filled(kind, body, model, clock)
  if type(body) ~= "table" or json.is_array(body) or body[1] ~= nil then return nil end
  if kind == "responses" then
    if not shape_response.fill(body, new_id, name_of(model), seconds(clock)) then return nil end
  else
    if type(body.choices) ~= "table" or #body.choices == 0 then return nil end
    local head = envelope(objects[kind], model, clock)
    for name, value in pairs(head) do default(body, name, value) end
    for i, choice in ipairs(body.choices) do
      if type(choice) ~= "table" then return nil end
      fill_choice(kind, choice, i - 1)
    end
  end
  local reader = reader_of(kind)
  if reader.fault(kind, body) then return nil end
  return reader.of(kind, body)
end

-- }========================================================================

-- {== Streams =============================================================

local function choice_of(kind, delta, finish)
  local choice = { index = 0, finish_reason = finish or json.null }
  if kind == "chat" then choice.delta = delta else choice.text = delta.content or "" end
  return choice
end

local function chunk(kind, body, choices, usage)
  return assert(json.encode { id = body.id, object = chunks[kind], created = body.created,
    model = body.model, choices = choices, usage = usage })
end

-- The pieces that carry the answer: none for what is empty.
local function add_texts(pieces, kind, answer)
  local function add(field, delta, text)
    if text and text ~= "" then
      pieces[#pieces + 1] = { [field] = text, started = true,
        data = chunk(kind, answer.body, { choice_of(kind, { [delta] = text }) }) }
    end
  end
  if kind == "chat" then add("reasoning", "reasoning_content", answer.reasoning) end
  add("text", "content", answer.text)
end

--- An answer that `reply` has made as a stream's pieces, as an assembler would give them, `[DONE]`
--- apart. The last one of a chat or completion has the usage, as for who asks for it.
---@param kind string chat, complete or responses
---@param answer table
---@return table[]? pieces, string? message, string? code "invalid": its text is not UTF-8
function shape.pieces(kind, answer)
  if not json.is_utf8(answer.text) then return nil, "shape: a text that is not UTF-8", "invalid" end
  if kind == "responses" then return shape_response.pieces(answer.body) end
  local body, pieces = answer.body, {}
  if kind == "chat" then
    pieces[1] = {
      data = chunk(kind, body, { choice_of(kind, { role = "assistant", content = "" }) }) }
  end
  add_texts(pieces, kind, answer)
  pieces[#pieces + 1] = { finish = answer.finish,
    data = chunk(kind, body, { choice_of(kind, {}, answer.finish) }) }
  pieces[#pieces + 1] = { usage = answer.usage,
    data = chunk(kind, body, json.array {}, body.usage) }
  return pieces
end

-- }========================================================================

-- {== A whole answer as a stream ==========================================

local function copy(t)
  local out = {}
  for k, v in next, t do out[k] = v end
  return out
end

--- The calls of a whole answer as a stream has them, each with its number.
---@param calls table
---@return table
function shape.numbered(calls)
  local out = {}
  for i, call in ipairs(calls) do
    out[i] = type(call) == "table" and copy(call) or { value = call }
    out[i].index = i - 1
  end
  return out
end

-- A choice of a whole chat as the one of a chunk: its message is a delta.
local function as_delta(choice)
  local out = copy(choice)
  local delta = type(choice.message) == "table" and copy(choice.message) or {}
  out.message, out.delta = nil, delta
  if type(delta.tool_calls) == "table" then delta.tool_calls = shape.numbered(delta.tool_calls) end
  return out
end

local function choices_of(body)
  return answers.table_of(body.choices) or {}
end

local function calls_tools(kind, body)
  if kind ~= "chat" then return false end
  for _, choice in ipairs(choices_of(body)) do
    local message = type(choice) == "table" and answers.table_of(choice.message)
    local calls = message and answers.table_of(message.tool_calls)
    if calls and calls[1] ~= nil then return true end
  end
  return false
end

local function chunk_of(kind, body, is_open)
  local out, choices = copy(body), json.array()
  out.object = chunks[kind]
  for i, choice in ipairs(choices_of(body)) do
    choices[i] = kind == "chat" and type(choice) == "table" and as_delta(choice) or choice
    if is_open and choices[i] ~= choice then choices[i].finish_reason = json.null end
  end
  out.choices, out.usage = choices, not is_open and body.usage or nil
  return json.encode_mended(out)
end

-- How a chunk ends that was open: with the reasons, and the usage.
local function end_of(kind, body)
  local choices = json.array()
  for _, choice in ipairs(choices_of(body)) do
    if type(choice) == "table" then
      choices[#choices + 1] = { index = choice.index, delta = {}, logprobs = json.null,
        finish_reason = choice.finish_reason }
    end
  end
  return json.encode_mended { id = body.id, object = chunks[kind], created = body.created,
    model = body.model, choices = choices, usage = body.usage }
end

--- A whole answer as the one event of a stream that would give it; of a response, as the last one.
--- Of a chat that calls tools, all but its end: see `shape.after_event`.
---@param kind string chat, complete or responses
---@param answer table as `provider.read` gives; `raw`, its bytes, are used where they can be
---@param number integer? of a response: how many events go before it (0)
---@return string? data what JSON cannot say is mended, string? event its name, where it has one
function shape.event(kind, answer, number)
  if kind ~= "responses" then
    return chunk_of(kind, answer.body, calls_tools(kind, answer.body)), nil
  end
  local response = answer.raw or json.encode_mended(answer.body)
  local name = shape_response.last(answer.body)
  return response and ('{"type":"%s","sequence_number":%d,"response":'):format(name, number or 0)
    .. response .. "}", name
end

--- The piece that goes behind that event, where one does: the reason of a chat that calls tools. By
--- it OpenAI's SDK hears that the last call is whole, and only where it comes behind the call.
---@param kind string
---@param answer table as `shape.event`
---@return table?
function shape.after_event(kind, answer)
  if not calls_tools(kind, answer.body or {}) then return nil end
  return { data = end_of(kind, answer.body), finish = answer.finish, usage = answer.usage }
end

--- The pieces that go before that event. SDKs read a response's text out of its deltas alone.
---@param kind string
---@param answer table as `shape.event`
---@return table[]
function shape.before_event(kind, answer)
  if kind ~= "responses" then return {} end
  local body = answer.body or answer.raw and json.decode(answer.raw)
  if type(body) ~= "table" then return {} end
  local pieces = shape_response.before_end(body)
  if not pieces[1] and not answer.raw then return shape_response.before_end(json.mended(body)) end
  return pieces
end

-- }========================================================================

local types = { invalid = "invalid_request_error", auth = "authentication_error",
  quota = "insufficient_quota", limited = "rate_limit_error" }

--- An error's body as OpenAI writes it.
---@param message string
---@param code string? one of our code words
---@param status integer? the HTTP status it goes with, which decides the type of unnamed codes
---@return table body { error = { message, type, param = null, code } }
function shape.error(message, code, status)
  local kind = types[code]
  if not kind then
    kind = status and status >= 400 and status < 500 and "invalid_request_error" or "server_error"
  end
  return { error = { message = message, type = kind, param = json.null, code = code or json.null } }
end

return shape
