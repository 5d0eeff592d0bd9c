--- The last good answer to a question, out of the cache.
local reply = require "unbusy.reply"
local stored = require "unbusy.caching.stored"

local last_good = {}

--- A stored answer as this call's reply; nil when it cannot be read.
---@param call table
---@param value string
---@param source "cache"|"stale"
---@param age number seconds
---@param failure table? what went wrong
---@return table? reply
function last_good.recall(call, value, source, age, failure)
  local target, text, answer = stored.unpack(call.kind, value)
  if not target then return nil end
  call:emit("cache", { source = source, age = age, target = target,
    code = failure and failure.code })
  return reply.of_stored(call, answer, { source = source, age = age, target = target, raw = text,
    failure = failure })
end

-- Is it young enough for the call's `stale`, and for who asks?
local function is_young(call, age, most)
  local own = call.options.stale
  return own ~= false and (type(own) ~= "number" or age <= own) and (not most or age <= most)
end

--- The last good answer in place of a call that has failed; nil when there is none, or it may not
--- stand in.
---@param call table
---@param key userdata|false its question's, see `unbusy.caching.stored`
---@param failure table { message =, code =, detail = }
---@param most number? seconds that it may be old
---@return table? reply
function last_good.stand_in(call, key, failure, most)
  local client = call.client
  if client.closed or not key then return nil end
  local value, _, age = client.cache:get(call, key)
  if not value or not is_young(call, age, most) then return nil end
  failure.detail = call:detail(failure.detail)
  return last_good.recall(call, value, "stale", age, failure)
end

return last_good
