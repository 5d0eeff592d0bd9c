--- Answers what was asked before, and stands in when nobody else answers.
--
-- A fresh answer is given at once; nothing is sent. When the call fails for reasons that are not
-- the caller's, the last good answer is given though its time is over, and says so (`reply.source`
-- is "stale", `reply.failure` what went wrong), unless the fallback says when that is due. Only
-- whole answers are kept: see `unbusy.caching.stored`.
--
-- A policy may say for how long an answer is kept, if at all (`cache`, where the call itself says
-- nothing), and which requests are the same question (`normalise`).
local codes = require "unbusy.codes"
local last_good = require "unbusy.caching.last_good"
local plain = require "unbusy.policy.plain"
local stored = require "unbusy.caching.stored"

local kinds = { chat = true, complete = true, embed = true }

-- Does the policy let the call take part? nil where none decides. It may know better than the rule
-- of the request's temperature.
local function let_by_policy(call)
  local decided, value = call.policy:ask(call, "cache", nil, call:shown_request())
  if not decided then return nil end
  if type(value) == "number" then call.keep_for = value end
  return value ~= false
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
  if not own or not call.policy:decides "normalise" then return own end
  local decided, request = call.policy:ask(call, "normalise", nil, plain.lenient(call.request))
  local key = decided and stored.key(call, request)
  if not key then return own end
  call.own_key = own
  return key
end

-- Puts the answer under the key, unless the request has changed since its own key was made.
local function put(cache, call, key, answer)
  local ttl, value = call.keep_for or call.options.cache, stored.pack(call.kind, answer)
  if value and stored.key(call) == (call.own_key or key) then
    cache:set(key, value, { ttl = type(ttl) == "number" and ttl or nil })
  end
end

-- Keeps the answer once it has come to its good end. What cannot be kept (for want of memory, or
-- since the client was closed meanwhile) takes no good answer away.
local function keep(cache, call, key, answer)
  answer:on_end(function(self, how)
    if not how then pcall(put, cache, call, key, self) end
  end)
end

-- Is the call there to ask before the answer's time is over?
local function is_to_be_renewed(call, age)
  local ahead = call.ahead
  return ahead and age > (call.keep_for or call.client.caching.ttl) - ahead.before
end

---@param next function the rest of the call's way
---@param client table
---@return fun(call: table): table?, string?, string?, table?
return function(next, client)
  local cache, hot, warmer = client.cache, client.hot, client.warmer
  if not cache then return next end
  return function(call)
    if not takes_part(call) then return next(call) end
    local key = stored.key(call)
    if call.policy then key = normal_key(call, key) end
    if not key then return next(call) end -- no JSON: whoever encodes it says why
    if hot then hot:count(call, key) end
    if warmer then warmer:look(call.loop, call.started) end
    if call.options.cache ~= "refresh" then
      local value, state, age = cache:get(call, key)
      local known = state == "fresh" and not is_to_be_renewed(call, age)
        and last_good.recall(call, value, "cache", age)
      if known then return known end
    end
    local answer, message, code, detail = next(call)
    if answer then
      keep(cache, call, key, answer)
      return answer
    end
    if call.stale_later then
      call.stale_key = key
    elseif codes[code].fallback then
      answer = last_good.stand_in(call, key, { message = message, code = code, detail = detail })
      if answer then return answer end
    end
    return nil, message, code, detail
  end
end
