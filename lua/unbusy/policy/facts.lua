--- What scripts are told: of a try, and of the targets. Copies, free of keys.
local json = require "unbusy.json"
local plain = require "unbusy.policy.plain"

local facts = {}

local MOST = 256 * 1024 -- bytes of an error's body that are shown

local function copy_of(map)
  local out = {}
  for name, value in pairs(map) do out[name] = value end
  return out
end

-- Of a failure's answer.
local function seen_failure(target, headers, said)
  if not said or #said > MOST then return { headers = headers } end
  said = target.secrets.hide(said)
  local body = json.decode(said)
  return { headers = headers, text = said, body = body ~= json.null and body or nil }
end

--- Notes what scripts are to see of a try that has just ended, before it forgets its headers.
---@param call table
---@param try table
---@param said string|false|nil the body of a failure's answer, as far as it came
---@param answer table? a reply that is whole and good
function facts.note(call, try, said, answer)
  local target = call.place.target
  try.said = nil
  if not call.policy:decides("classify", target) and not call.policy:decides("retry", target) then
    return
  end
  local headers = copy_of(answer and answer.headers or try.headers or {})
  target.secrets.hide_headers(headers)
  if not answer then
    try.seen = seen_failure(target, headers, said)
  else
    local shows = call.kind ~= "embed" and type(answer.body) == "table"
    try.seen = { headers = headers, text = answer.text, body = shows and answer.body or nil }
  end
end

local function target_named(call, name)
  for _, t in ipairs(call.client.targets) do
    if t.name == name then return t end
  end
end

--- The target of a try.
function facts.target_of(call, try)
  return target_named(call, try.target)
end

--- Of a try: what `classify`, `retry`, `queued`, `hedge` and `resume` are given.
---@param call table
---@param try table
---@param code string? how it failed; nil for a good answer
---@param detail table?
---@return table
function facts.try(call, try, code, detail)
  local now, target, seen = call.loop.now(), target_named(call, try.target), try.seen or {}
  detail = detail or {}
  return {
    number = try.number - call.past, tries = try.number, target = try.target,
    account = target.account_name, model = try.model, kind = call.kind, stream = call.streaming,
    priority = call.options.priority or "normal", code = code, message = try.message,
    status = detail.status or try.status, retry_after = detail.retry_after,
    phase = detail.phase or try.phase, seconds = try.seconds or now - try.began,
    keep_alives = try.keep_alives or 0, queued = call.queued or 0, elapsed = now - call.started,
    remaining = call.deadline - now, attempts = call.client.retry.attempts,
    headers = seen.headers and copy_of(seen.headers) or {}, text = seen.text,
    body = plain.lenient(seen.body),
  }
end

--- Of a whole good answer: what `accept` is given.
---@param call table
---@param reply table
---@return table
function facts.reply(call, reply)
  local target = target_named(call, reply.target)
  return {
    text = reply.text, reasoning = reply.reasoning, finish_reason = reply.finish_reason,
    tool_calls = plain.lenient(reply.tool_calls), body = plain.lenient(reply.body),
    usage = reply.usage and copy_of(reply.usage), cost = reply.cost, model = reply.model,
    target = reply.target, pool = target and target.pool, kind = call.kind,
    stream = call.streaming, seconds = call.loop.now() - call.started,
    remaining = call.deadline - call.loop.now(),
  }
end

local states = { open = "open", forced_open = "open", half_open = "half_open" }

local function of_target(call, t, tries, now)
  local model = t:model(call.model)
  local l = t:limiter(model)
  local stats = l and l:stats() -- nil, too, where its room in the region is lost
  return {
    name = t.name, account = t.account_name, pool = t.pool, priority = t.priority,
    weight = t.weight, price = t.price and copy_of(t.price), model = model,
    state = t.breaker and states[t.breaker:state()] or "closed", free = t:is_free(model, now),
    limit = l and l:limit(), in_flight = l and l:in_flight(),
    round_trip = stats and stats.round_trip, tries = tries,
  }
end

--- Of targets: what `route` is given.
---@param call table
---@param targets table[]
---@return table[]
function facts.targets(call, targets)
  local tries, out, now = {}, {}, call.loop.now()
  for _, try in ipairs(call.tries) do tries[try.target] = (tries[try.target] or 0) + 1 end
  for i, t in ipairs(targets) do out[i] = of_target(call, t, tries[t.name] or 0, now) end
  return out
end

return facts
