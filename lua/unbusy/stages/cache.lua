--- Answers what was asked before, and stands in when nobody else answers.
--
--     fresh ────────────────────────────────────────────────► the kept answer, nothing is sent
--     stale, within `revalidate` or the call's `max_stale` ─► the kept answer; asked anew behind it
--     stale, none, too old for the call, "refresh" ─────────► asked ─► its answer, which is kept
--                                                              └─ failed ─► the last good answer
--
-- When the call fails for reasons that are not the caller's, the last good answer is given though
-- its time is over, and says so (`reply.source` is "stale", `reply.failure` what went wrong),
-- unless the fallback says when that is due. How answers are kept: `unbusy.caching.keeping`.
--
-- A policy may say for how long an answer is kept, if at all (`cache`, where the call itself says
-- nothing), and which requests are the same question (`normalise`).
--
-- `call.key` is set where the call takes part: those with the same key may have the same answer.
local codes = require "unbusy.codes"
local keeping = require "unbusy.caching.keeping"
local last_good = require "unbusy.caching.last_good"
local plain = require "unbusy.policy.plain"
local stored = require "unbusy.caching.stored"

local kinds = { chat = true, complete = true, embed = true }

-- {== Who takes part ======================================================

-- Does the policy let the call take part? nil where none decides. It may know better than the rules
-- of what is asked and answered.
local function let_by_policy(call)
  local decided, value = call.policy:ask(call, "cache", nil, call:shown_request())
  if call.keeps or decided then call.keeps = decided and value end
  if decided then return value ~= false end
end

local function takes_part(call)
  if not kinds[call.kind] then return false end
  local own = call.options.cache
  if own == nil and call.policy then
    local let = let_by_policy(call)
    if let ~= nil then return let end
  end
  return own ~= false and stored.may_ask(call.kind, call.request, call.client.caching.temperature)
end

-- The key of what the policy makes of the request, beside which the call keeps its own; or that,
-- where nothing is made of it.
local function normal_key(call, own)
  if call.own_key then call.own_key = nil end
  if not own or not call.policy:decides "normalise" then return own end
  local decided, request = call.policy:ask(call, "normalise", nil, plain.lenient(call.request))
  local key = decided and stored.key(call, request)
  if not key then return own end
  call.own_key = own
  return key
end

local function key_of(call)
  if not takes_part(call) then return nil end
  local key = stored.key(call) -- none of what is no JSON: whoever encodes it says why
  if call.policy then return normal_key(call, key) end
  return key
end

-- }========================================================================

-- {== What is there =======================================================

-- May an answer that is no longer fresh be given before anybody is asked? How long ago it was
-- fresh, where that is within the time in which it is asked for anew.
local function may_be_stale(call, value, age)
  local most, revalidate = call.options.max_stale, call.client.caching.revalidate
  if not most and revalidate == 0 then return false end
  local over = math.max(age - (stored.ttl(value) or 0), 0)
  local renews = over <= revalidate
  if most then return most == true or over <= most, renews end
  return renews and last_good.is_young(call, age), renews
end

-- A stale answer at once; behind it the question is asked anew.
local function stale(call, key, value, age, next)
  local may, renews = may_be_stale(call, value, age)
  local known = may and last_good.recall(call, value, "stale", age)
  if known and renews and not call.options.only_cached then
    call.client.flights:refresh(call, key, next)
  end
  return known
end

-- Does it do for a call that asks ahead of time? Only what is fresh for long enough does.
local function lasts(call, value, state, age)
  return state == "fresh" and (stored.ttl(value) or 0) - age > call.ahead.before
end

-- What is there and will do.
local function known_answer(call, key, next)
  local value, state, age = call.client.cache:get(call, key)
  local most = call.options.max_age
  if not value or most and age > most then return nil end
  if stored.lacks_usage(call, value) and not call.options.only_cached then return nil end
  if call.ahead and not lasts(call, value, state, age) then return nil end
  if state == "fresh" then return last_good.recall(call, value, "cache", age) end
  return stale(call, key, value, age, next)
end

local function none_kept()
  return nil, "cache: no answer is kept that would do, and nobody is to be asked", "invalid",
    { only_cached = true }
end

-- }========================================================================

-- The call takes no part: nothing is read for it, nothing kept.
local function without(call, next)
  if call.key then call.key = nil end
  if call.options.only_cached then return none_kept() end
  return next(call)
end

---@param next function the rest of the call's way
---@param client table
---@return fun(call: table): table?, string?, string?, table?
return function(next, client)
  local hot, warmer = client.hot, client.warmer
  if not client.cache then return next end
  return function(call)
    local key = key_of(call)
    if not key then return without(call, next) end
    call.key = key
    if hot then hot:count(call, key) end
    if warmer then warmer:look(call.loop, call.started) end
    local known = call.options.cache ~= "refresh" and known_answer(call, key, next)
    if known then return known end
    if call.options.only_cached or not stored.is_sound(call) then return without(call, next) end
    local answer, message, code, detail = next(call)
    if answer then
      if not answer.kept then keeping.watch(call, answer) end
      return answer
    end
    if not call.stale_later and codes[code].fallback then
      answer = last_good.stand_in(call, key, { message = message, code = code, detail = detail })
      if answer then return answer end
    end
    return nil, message, code, detail
  end
end
