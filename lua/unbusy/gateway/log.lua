--- The line that each request leaves in the access log: JSON, without prompts and keys.
--
-- It stands in nginx's variable `$unbusy_log`, where the site has declared it.
local json = require "unbusy.json"

local log = {}

-- In this order; but for the first two, which nginx makes, what a request does not have is left
-- out.
local fields = { "time", "id", "key", "method", "path", "kind", "requests", "failed", "model",
  "target", "source", "fallback", "weak", "escalated", "tries", "hedged", "resumed", "status",
  "code", "queued", "queued_upstream", "start", "seconds", "prompt_tokens", "completion_tokens",
  "cost", "hedge_cost", "trace", "upstream_id" }

--- The fields of a line; false is nothing. (All fields at once: a table in its full size.) `given`
--- stands in no line: there was an answer, and its `code` is that of what failed before.
function log.record()
  return { time = false, id = false, key = false, method = false, path = false, kind = false,
    requests = false, failed = false, model = false, target = false, source = false,
    fallback = false, weak = false, escalated = false, tries = false, hedged = false,
    resumed = false, status = false, code = false, queued = false, queued_upstream = false,
    start = false, seconds = false, prompt_tokens = false, completion_tokens = false, cost = false,
    hedge_cost = false, trace = false, upstream_id = false, given = false }
end

local SHOWN = 256 -- bytes of a text that a client or a server has chosen

local prefix = {} -- field -> how it begins
for _, name in ipairs(fields) do prefix[name] = (',"%s":'):format(name) end

-- Also what JSON lets stand, and a terminal would obey: logs are looked at on one.
local function escaped(c)
  return ("\\u%04x"):format(c:byte(-1))
end

local function encode(text)
  text = text:sub(1, SHOWN)
  if not json.is_utf8(text) then text = text:gsub("[\128-\255]+", "?") end
  return (json.encode(text):gsub("\\/", "/"):gsub("\127", escaped)
    :gsub("\194[\128-\159]", escaped))
end

-- The same texts come again and again.
local encoded, count = {}, 0
local MOST = 1000

local function text_of(value)
  if type(value) == "number" then
    return value == math.floor(value) and ("%.0f"):format(value) or ("%.6g"):format(value)
  end
  local text = encoded[value]
  if text then return text end
  text = encode(value)
  if count >= MOST then encoded, count = {}, 0 end
  if #value <= SHOWN then encoded[value], count = text, count + 1 end
  return text
end

local is_kind = { string = true, number = true }

--- The line of a request.
---@param record table the fields above
---@return string
function log.line(record)
  local out, n = { '{"time":"', record.time, '","id":"', record.id, '"' }, 5
  for i = 3, #fields do
    local name = fields[i]
    local value = record[name]
    if is_kind[type(value)] then
      out[n + 1], out[n + 2] = prefix[name], text_of(value)
      n = n + 2
    end
  end
  out[n + 1] = "}"
  return table.concat(out)
end

-- What an answer says of the failure that went before it. A text of our own has no target: then who
-- has failed last is told.
local function note_failure(record, failure)
  record.code, record.given = failure.code, true
  local detail = failure.detail
  if not record.target and detail then record.target = detail.target end
end

-- What a reply or stream says of its call.
local function note_answer(record, answer)
  local usage, times = answer.usage, answer.times
  record.target, record.source, record.tries = answer.target, answer.source, answer.tries
  record.model = answer.model or record.model
  record.cost = answer.cost
  if times then
    record.queued, record.queued_upstream = times.queued, times.queued_upstream
    record.start = times.start
  end
  local hedged = answer.hedged
  if hedged then
    record.hedged, record.hedge_cost = hedged.won and "won" or "lost", hedged.cost
  end
  if usage then
    record.prompt_tokens = usage.prompt_tokens
    record.completion_tokens = usage.completion_tokens
  end
  if (answer.resumed or 0) > 0 then record.resumed = answer.resumed end
  if answer.trace then record.trace = answer.trace.id end
  if answer.failure then note_failure(record, answer.failure) end
  if answer.fallback then record.fallback = answer.fallback.kind end
  if answer.weak then record.weak = answer.weak end
  if answer.escalated then record.escalated = answer.escalated.reason end
  local headers = answer.headers
  local id = headers and headers["x-request-id"]
  if type(id) == "string" then record.upstream_id = id end
end

--- What is noted of a request. It is made when there is something to note, which of a stream is at
--- its end: until then it would only take room.
---@param ctx table
---@return table record
function log.notes(ctx)
  local record = ctx.record
  if not record then
    record = log.record()
    record.kind, record.model, ctx.record = ctx.kind, ctx.model, record
  end
  return record
end

--- Notes the answer of a call.
---@param ctx table
---@param answer table a reply, or a stream that has ended
function log.answer(ctx, answer)
  note_answer(log.notes(ctx), answer)
end

--- Notes the failure of a call.
---@param ctx table
---@param code string
---@param detail table
function log.failure(ctx, code, detail)
  local record = log.notes(ctx)
  record.given = false
  record.code, record.target, record.tries = code, detail.target or record.target, detail.tries
  if detail.request_id then record.upstream_id = detail.request_id end
  if detail.trace then record.trace = detail.trace.id end
end

--- Notes that the client has gone in the midst of an answer that was noted.
---@param ctx table
function log.left(ctx)
  local record = log.notes(ctx)
  record.code, record.given = "cancelled", false
end

local second, time = 0, nil -- the time as it is written in the log, and of which second it is

local function time_now()
  local now = ngx.time()
  if now ~= second then second, time = now, ngx.var.time_iso8601 end
  return time
end

-- Has the site declared the variable? It is the same for all requests of a process: what is known
-- once need not be looked up again.
local declared = false

local function is_declared()
  declared = declared or ngx.var.unbusy_log ~= nil
  return declared
end

--- Writes it, at the request's end.
---@param ctx table
function log.write(ctx)
  if not is_declared() then return end
  local record = log.notes(ctx)
  record.time, record.id = time_now(), ctx:id()
  record.method, record.path = ctx.method, ctx.path
  record.key, record.status = ctx.key.name, ctx.gone and 499 or ctx.status
  record.seconds = ctx.client.now() - ctx.began
  ngx.var.unbusy_log = log.line(record)
end

return log
