--- Answers what was asked before, and stands in when nobody else answers.
--
-- A fresh answer is given at once; nothing is sent. When the call fails for reasons that are not
-- the caller's, the last good answer is given though its time is over, and says so (`reply.source`
-- is "stale", `reply.failure` what went wrong), unless the fallback says when that is due. Only
-- whole answers are kept: see `unbusy.stored`.
local codes = require "unbusy.codes"
local last_good = require "unbusy.last_good"
local stored = require "unbusy.stored"

-- Puts the answer under the key, unless the request has changed since the key was made.
local function put(cache, call, key, answer)
  local ttl, value = call.options.cache, stored.pack(call.kind, answer)
  if value and stored.key(call) == key then
    cache:set(key, value, type(ttl) == "number" and ttl or nil)
  end
end

-- Keeps the answer once it has come to its good end. What cannot be kept (for want of memory, or
-- since the client was closed meanwhile) takes no good answer away.
local function keep(cache, call, key, answer)
  answer:on_end(function(self, how)
    if not how then pcall(put, cache, call, key, self) end
  end)
end

---@param next function the rest of the call's way
---@param client table
---@return fun(call: table): table?, string?, string?, table?
return function(next, client)
  local cache = client.cache
  if not cache then return next end
  return function(call)
    if not last_good.takes_part(call) then return next(call) end
    local key = stored.key(call)
    if not key then return next(call) end -- no JSON: whoever encodes it says why
    if call.options.cache ~= "refresh" then
      local value, state, age = cache:get(key)
      local known = state == "fresh" and last_good.recall(call, value, "cache", age)
      if known then return known end
    end
    local answer, message, code, detail = next(call)
    if answer then
      keep(cache, call, key, answer)
      return answer
    end
    if codes[code].fallback and not call.stale_later then
      answer = last_good.stand_in(call, key, { message = message, code = code, detail = detail })
      if answer then return answer end
    end
    return nil, message, code, detail
  end
end
