--- Many requests in one: POST /api/v1/batch.
--
--     { "requests": [ { "prompt": "…", "parameters": { … } }, { "messages": … }, … ] }
--     { "object": "list", "responses": [ { … }, { "error": { … } }, … ], "usage": { … } }
--
-- Each response is what a request of its own would have been answered, in the order of the
-- requests. The status is 200 where at least one of them is an answer; else that of the first
-- failure, whose `error` then stands beside the `responses`.
local answers = require "unbusy.gateway.answers"
local body = require "unbusy.gateway.body"
local controls = require "unbusy.gateway.controls"
local errors = require "unbusy.gateway.errors"
local json = require "unbusy.json"
local lengths = require "unbusy.gateway.lengths"
local list = require "unbusy.batching.list"
local log = require "unbusy.gateway.log"

local batch = {}

-- {== What is asked =======================================================

local function check(request, most)
  local requests = request.requests
  if requests == nil or requests == json.null then
    return errors.invalid("'requests' is missing", "requests", "missing_required_parameter")
  elseif type(requests) ~= "table" or requests[1] == nil then
    return errors.invalid("requests: a list of at least one expected", "requests")
  elseif #requests > most then
    return errors.invalid(("requests: at most %d expected, got %d"):format(most, #requests),
      "requests", "batch_too_large")
  end
  local model = request.model
  if model ~= nil and model ~= json.null and (type(model) ~= "string" or model == "") then
    return errors.invalid("model: a name expected", "model")
  end
end

-- The requests, and their bytes.
local function read(ctx)
  local refusal = body.check_type(ctx.headers)
  if refusal then return nil, refusal end
  local text, request
  text, refusal = body.read(ctx.headers, ctx.gateway.options.body)
  if not text then return nil, refusal end
  request, refusal = body.decode(text)
  refusal = refusal or check(request, ctx.gateway.options.batch.requests)
  if refusal then return nil, refusal end
  return request, text
end

-- Those that can be asked, and where each one stands; in the places of others their errors.
local function sorted(request)
  local good, places, out = {}, {}, {}
  local model = request.model ~= json.null and request.model or nil
  for i, item in ipairs(request.requests) do
    local kind, asked, param = list.read(item, model)
    if kind then
      good[#good + 1], places[#good + 1] = asked, i
    else
      out[i] = { refusal = errors.invalid(("requests[%d]: %s"):format(i - 1, asked),
        param and ("requests[%d].%s"):format(i - 1, param)) }
    end
  end
  return good, places, out
end

-- Every request counts as a call: all of them are let in, or none.
local function admit(ctx, count)
  local most = ctx.key.calls
  if most and count > most then
    return errors.invalid(("requests: this key may have %.0f calls a minute"):format(most),
      "requests", "batch_too_large")
  end
  local ok, message, seconds = ctx.gateway.quotas:take(ctx.key, count)
  if not ok then return errors.later(message, seconds, "rate_limit_exceeded") end
end

-- }========================================================================

-- {== What is answered ====================================================

-- The bytes of an answer whose tokens nobody has told. Words of our own cost nobody anything.
local function length_of(answer)
  if answer.source == "fallback" or not lengths.are_needed(answer.usage) then return nil end
  return lengths.of(answer)
end

-- An answer as text; and what it is a refusal with, where something stands in and says so.
local function told(ctx, answer)
  if answer.source ~= "fallback" or answer.status < 400 then
    return answer.raw or json.encode_mended(answer.body)
  end
  local refusal = errors.of_fallback(answer, ctx.gateway.retries)
  return json.encode_mended(errors.added(answer.body, refusal)), refusal
end

-- What is known of one request's end: { text =, … }, { refusal = }, or both.
local function result_of(ctx, answer)
  if answer.code then
    return { failed = true, refusal = errors.of_call(answer.message, answer.code, answer.detail,
      ctx.gateway.retries) }
  end
  local text, refusal = told(ctx, answer)
  if not text then return { refusal = errors.new(502, "the answer is no JSON") } end
  return { text = text, refusal = refusal, usage = answer.usage, cost = answer.cost,
    model = answer.model, target = answer.target, source = answer.source,
    length = length_of(answer) }
end

local counts = { "prompt_tokens", "completion_tokens", "total_tokens" }

-- What all of them have used.
local function usage_of(results)
  local sum = { prompt_tokens = 0, completion_tokens = 0, total_tokens = 0 }
  for _, result in ipairs(results) do
    for _, name in ipairs(counts) do
      sum[name] = sum[name] + (result.usage and result.usage[name] or 0)
    end
  end
  return sum
end

-- The value that all answers have in common, if there is one.
local function common(results, name)
  local value
  for _, result in ipairs(results) do
    local own = result[name]
    if result.text and (own == nil or value ~= nil and own ~= value) then return nil end
    value = value or own
  end
  return value
end

-- How many of them are failures, and the first of these.
local function count(results)
  local failed, first = 0, nil
  for _, result in ipairs(results) do
    if result.refusal then failed, first = failed + 1, first or result.refusal end
  end
  return failed, first
end

local function note(ctx, results)
  local record, cost = log.notes(ctx), nil
  record.requests, record.failed = #results, (count(results))
  for _, result in ipairs(results) do
    if result.cost then cost = (cost or 0) + result.cost end
  end
  local used = usage_of(results)
  record.prompt_tokens, record.completion_tokens = used.prompt_tokens, used.completion_tokens
  record.cost = cost or false
  for _, name in ipairs { "model", "target", "source" } do
    record[name] = common(results, name) or record[name]
  end
  return used
end

local function write(ctx, results, used)
  local out, failed, first = {}, count(results)
  for i, result in ipairs(results) do
    out[i] = result.text or errors.text(result.refusal)
    if result.source or result.failed then ctx:ended(result.source or "failed") end
  end
  local whole = ('"object":"list","responses":[%s],"usage":%s}'):format(table.concat(out, ","),
    assert(json.encode(used)))
  ngx.header["x-unbusy-source"] = common(results, "source")
  if failed == #results then
    return answers.refuse(ctx, first, errors.text(first):sub(1, -2) .. "," .. whole)
  end
  ngx.header["x-request-id"] = ctx:id()
  local target = common(results, "target")
  if answers.is_plain(target) then ngx.header["x-unbusy-target"] = target end
  answers.send(ctx, 200, "{" .. whole)
end

-- Counts what its answers have used for the key: what the servers say, and where one does not, what
-- is told by the length of its answer and by its share of what was asked.
local function spend(ctx, results, used, bytes)
  if not ctx.key.tokens then return end
  local untold, answered = 0, 0
  for _, result in ipairs(results) do
    if result.length then untold, answered = untold + 1, answered + result.length end
  end
  local q = ctx.gateway.quotas
  q:spend(ctx.key, used.prompt_tokens + used.completion_tokens)
  if untold > 0 then q:spend(ctx.key, 0, bytes * untold / #results + answered) end
end

-- }========================================================================

-- Makes the calls; their results, each a reply or `{ refusal = }`.
local function ask(ctx, request, given)
  local good, places, results = sorted(request)
  given.cancel, given.at_once = ctx:canceller(), ctx.gateway.options.batch.at_once
  for i, answer in ipairs(ctx.client:batch(good, given)) do
    results[places[i]] = result_of(ctx, answer)
  end
  return results
end

--- Serves a request.
---@param ctx table
---@return table? refusal
function batch.serve(ctx)
  ctx.kind = "batch"
  if not ctx.gateway.options.batch then
    return errors.new(404, "there is nothing at this path", { code = "unknown_url" })
  end
  local request, text = read(ctx)
  if not request then return text end
  local given, refusal = controls.read(ctx, true)
  refusal = refusal or admit(ctx, #request.requests)
  if refusal then return refusal end
  local results = ask(ctx, request, given)
  local used = note(ctx, results)
  if ctx.gone then log.failure(ctx, "cancelled", {}) else write(ctx, results, used) end
  spend(ctx, results, used, #text) -- also where nobody waits for them any more
end

return batch
