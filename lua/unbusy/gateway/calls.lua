--- The endpoints whose requests are calls of the client: chat, completions, embeddings, responses.
local answers = require "unbusy.gateway.answers"
local body = require "unbusy.gateway.body"
local controls = require "unbusy.gateway.controls"
local errors = require "unbusy.gateway.errors"
local events = require "unbusy.gateway.events"
local json = require "unbusy.json"
local lengths = require "unbusy.gateway.lengths"
local log = require "unbusy.gateway.log"

local calls = {}

-- {== What a request must be ==============================================

local needed = { chat = "messages", complete = "prompt", embed = "input", responses = "input" }

-- Fields that would make another call of it.
local foreign = { complete = { "messages", "input", "previous_response_id", "conversation" },
  responses = { "messages" } }

local MODEL = 256 -- bytes of a model's name

local function check_model(model)
  if model == nil then return nil end
  if type(model) ~= "string" or model == "" or #model > MODEL then
    return errors.invalid("model: a name expected", "model")
  end
end

local function has(request, field)
  return request[field] ~= nil and request[field] ~= json.null
end

-- A response may also go on from what the server has kept.
local function has_beginning(request)
  local prompt = request.prompt
  return has(request, "previous_response_id") or has(request, "conversation")
    or type(prompt) == "table" and prompt.id ~= nil
end

local function check_needed(kind, request)
  local field, value = needed[kind], request[needed[kind]]
  if not has(request, field) and not (kind == "responses" and has_beginning(request)) then
    return errors.invalid(("'%s' is missing"):format(field), field, "missing_required_parameter")
  end
  if kind == "chat" and (type(value) ~= "table" or value[1] == nil) then
    return errors.invalid("messages: a list of at least one expected", "messages")
  end
  if kind == "complete" and type(value) == "table" and value.id ~= nil then
    return errors.invalid("prompt: a stored one is for responses", "prompt")
  end
end

local function check_foreign(kind, request)
  for _, field in ipairs(foreign[kind] or {}) do
    if request[field] ~= nil then
      return errors.invalid(("'%s' is not known here"):format(field), field, "unknown_parameter")
    end
  end
end

local function check(kind, request)
  local stream = request.stream
  if stream ~= nil and stream ~= json.null and type(stream) ~= "boolean" then
    return errors.invalid("stream: true or false expected", "stream")
  end
  return check_model(request.model) or check_needed(kind, request) or check_foreign(kind, request)
end

-- The request, its bytes, and whether these may be sent on as they are.
local function read(ctx, kind)
  local refusal = body.check_type(ctx.headers)
  if refusal then return nil, refusal end
  local text, request, sound
  text, refusal = body.read(ctx.headers, ctx.gateway.options.body)
  if not text then return nil, refusal end
  request, refusal, sound = body.decode(text)
  refusal = refusal or check(kind, request)
  if refusal then return nil, refusal end
  return request, text, sound
end

-- }========================================================================

-- {== Tokens ==============================================================

-- Counts what the call has used for its key: what the server says, or what its length tells. Words
-- of our own cost nobody anything.
local function spend(ctx, text)
  if not ctx.key.tokens then return end
  local r = log.notes(ctx)
  local by_length = ctx.answered and r.source ~= "fallback"
  ctx.gateway.quotas:spend(ctx.key, (r.prompt_tokens or 0) + (r.completion_tokens or 0),
    by_length and #text + ctx.answered)
end

-- }========================================================================

-- The bytes of an answer whose tokens its server has not told; vectors need not be decoded for it.
local function length_of(kind, reply)
  if not lengths.are_needed(reply.usage) then return nil end
  return kind == "embed" and 0 or lengths.of(reply)
end

local function call(ctx, kind, request, given)
  local reply, message, code, detail = ctx.client[kind](ctx.client, request, given)
  if reply then
    if ctx.key.tokens then ctx.answered = length_of(kind, reply) end
    return answers.reply(ctx, reply)
  end
  log.failure(ctx, code, detail)
  return errors.of_call(message, code, detail, ctx.gateway.retries)
end

--- Serves a request.
---@param ctx table
---@param route table
---@return table? refusal
function calls.serve(ctx, route)
  local kind = route.kind
  ctx.kind = kind
  local request, text, sound = read(ctx, kind)
  if not request then return text end
  ctx.model = request.model
  local given, refusal = controls.read(ctx)
  if not given then return refusal end
  given.raw, given.raw_is_sound, given.cancel = text, sound, ctx:canceller()
  given.undecoded = true -- what is answered goes on as it is
  local streams = request.stream == true and kind ~= "embed"
  if streams then refusal = events.serve(ctx, request, given)
  else refusal = call(ctx, kind, request, given) end
  spend(ctx, text)
  return refusal
end

return calls
