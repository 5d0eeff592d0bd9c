--- Answers what was asked before, and stands in when nobody else answers.
--
-- A fresh answer is given at once; nothing is sent. When the call fails for reasons that are not
-- the caller's, the last good answer is given though its time is over, and says so (`reply.source`
-- is "stale", `reply.failure` what went wrong). Only whole answers are kept: see `unbusy.stored`.
local codes = require "unbusy.codes"
local reply = require "unbusy.reply"
local stored = require "unbusy.stored"

local kinds = { chat = true, complete = true, embed = true }

local function takes_part(call)
  return kinds[call.kind] and call.options.cache ~= false
    and stored.may_ask(call.request, call.client.cache_temperature)
end

-- Keeps the answer once it has come to its good end.
local function keep(call, key, answer)
  local ttl = call.options.cache
  answer:on_end(function(self, how)
    local value = not how and stored.pack(call.kind, self)
    if value then call.client.cache:set(key, value, type(ttl) == "number" and ttl or nil) end
  end)
end

-- A stored answer as this call's reply; nil when it cannot be read.
local function recall(call, value, source, age, failure)
  local target, text, answer = stored.unpack(call.kind, value)
  if not target then return nil end
  call:emit("cache", { source = source, age = age, target = target,
    code = failure and failure.code })
  return reply.of_stored(call, answer, { source = source, age = age, target = target, raw = text,
    failure = failure })
end

-- May an answer of that age stand in for a call that failed like this?
local function may_stand_in(call, code, age)
  local most = call.options.stale
  return codes[code].fallback and most ~= false and (type(most) ~= "number" or age <= most)
end

local function ask(call, next, key, value, age)
  local asked = call.loop.now()
  local answer, message, code, detail = next(call)
  if answer then
    keep(call, key, answer)
    return answer
  end
  age = value and age + (call.loop.now() - asked)
  local stale = value and may_stand_in(call, code, age) and recall(call, value, "stale", age,
    { message = message, code = code, detail = call:detail(detail) })
  if stale then return stale end
  return nil, message, code, detail
end

---@param next function the rest of the call's way
---@param client table
---@return fun(call: table): table?, string?, string?, table?
return function(next, client)
  local cache = client.cache
  if not cache then return next end
  return function(call)
    if not takes_part(call) then return next(call) end
    local key = stored.key(call)
    if not key then return next(call) end -- no JSON: whoever encodes it says why
    local value, state, age = cache:get(key)
    if state == "fresh" and call.options.cache ~= "refresh" then
      local answer = recall(call, value, "cache", age)
      if answer then return answer end
    end
    return ask(call, next, key, value, age)
  end
end
