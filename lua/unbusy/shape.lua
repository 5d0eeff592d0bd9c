--- Answers and errors of our own, in the shapes that OpenAI's clients expect.
local json = require "unbusy.json"

local shape = {}

local epoch, serial = nil, 0

-- Unique in this process, and between processes but for an unlikely chance.
local function new_id()
  local own = tostring({}):match("0x(%x+)") or "0"
  epoch = epoch or ("%x%s"):format(os.time(), own:sub(-6))
  serial = serial + 1
  return ("unbusy-%s-%d"):format(epoch, serial)
end

local objects = { chat = "chat.completion", complete = "text_completion" }
local chunks = { chat = "chat.completion.chunk", complete = "text_completion" }

local function envelope(object, model, clock)
  return { id = new_id(), object = object, created = json.whole(math.floor((clock or os.time)())),
    model = model and json.is_utf8(model) and model or "unbusy" }
end

local function refuse(kind)
  return nil, ("shape: a text cannot answer a call of kind '%s'"):format(tostring(kind)), "invalid"
end

--- A whole answer that says `text`, as `provider.read` would give it. It used no tokens.
---@param kind string chat or complete
---@param model string?
---@param text string
---@param clock function? Unix seconds, os.time by default
---@return table? answer, string? message, string? code for other kinds, which no text can answer
function shape.reply(kind, model, text, clock)
  if not objects[kind] then return refuse(kind) end
  local body = envelope(objects[kind], model, clock)
  local choice = { index = 0, finish_reason = "stop", logprobs = json.null }
  if kind == "chat" then
    choice.message = { role = "assistant", content = text }
  else
    choice.text = text
  end
  body.choices = { choice }
  body.usage = { prompt_tokens = 0, completion_tokens = 0, total_tokens = 0 }
  return { body = body, text = text, finish = "stop", model = body.model,
    usage = { prompt_tokens = 0, completion_tokens = 0, total_tokens = 0, cached_tokens = 0,
      reasoning_tokens = 0 } }
end

local function chunk(kind, head, delta, finish)
  local choice = { index = 0, finish_reason = finish or json.null }
  if kind == "chat" then choice.delta = delta else choice.text = delta.content or "" end
  return assert(json.encode { id = head.id, object = head.object, created = head.created,
    model = head.model, choices = { choice } })
end

--- The same answer as a stream's pieces, as an assembler would give them, `[DONE]` apart.
---@param kind string chat or complete
---@param model string?
---@param text string
---@param clock function? Unix seconds, os.time by default
---@return table[]? pieces, string? message, string? code as `reply`; also when it is not UTF-8
function shape.pieces(kind, model, text, clock)
  if not objects[kind] then return refuse(kind) end
  if not json.is_utf8(text) then return nil, "shape: a text that is not UTF-8", "invalid" end
  local head, pieces = envelope(chunks[kind], model, clock), {}
  if kind == "chat" then
    pieces[1] = { data = chunk(kind, head, { role = "assistant", content = "" }) }
  end
  if text ~= "" then
    pieces[#pieces + 1] = { text = text, started = true,
      data = chunk(kind, head, { content = text }) }
  end
  pieces[#pieces + 1] = { finish = "stop", data = chunk(kind, head, {}, "stop") }
  return pieces
end

local function copy(t)
  local out = {}
  for k, v in next, t do out[k] = v end
  return out
end

-- A choice of a whole chat as the one of a chunk: its message is a delta, and its calls have a
-- number each.
local function as_delta(choice)
  local out = copy(choice)
  local delta = type(choice.message) == "table" and copy(choice.message) or {}
  out.message, out.delta = nil, delta
  if type(delta.tool_calls) == "table" then
    local calls = {}
    for i, call in ipairs(delta.tool_calls) do
      calls[i] = type(call) == "table" and copy(call) or { value = call }
      calls[i].index = i - 1
    end
    delta.tool_calls = calls
  end
  return out
end

local function chunk_of(kind, body)
  local out, choices = copy(body), json.array()
  out.object = chunks[kind]
  for i, choice in ipairs(type(body.choices) == "table" and body.choices or {}) do
    choices[i] = kind == "chat" and type(choice) == "table" and as_delta(choice) or choice
  end
  out.choices = choices
  return json.encode(out)
end

--- A whole answer as the one event of a stream that would give it.
---@param kind string chat, complete or responses
---@param answer table as `provider.read` gives; `raw`, its bytes, are used where they can be
---@return string? data, string? event its name, where it has one
function shape.event(kind, answer)
  if kind ~= "responses" then return chunk_of(kind, answer.body), nil end
  local response = answer.raw or json.encode(answer.body)
  return response and '{"type":"response.completed","sequence_number":0,"response":' .. response
    .. "}", "response.completed"
end

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
