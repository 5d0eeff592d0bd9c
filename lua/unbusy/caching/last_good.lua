--- The last good answer to a question, out of the cache.
local answers = require "unbusy.providers.answers"
local glance = require "unbusy.glance"
local json = require "unbusy.json"
local recording = require "unbusy.caching.recording"
local reply = require "unbusy.reply"
local stored = require "unbusy.caching.stored"

local last_good = {}

-- What the bytes of a kept body say, not decoded where the call only passes them on; nil where they
-- cannot be read.
local function answer_of(call, text)
  local plain = call.options.undecoded and not call.streaming and glance.of(call.kind, text)
  if plain then return plain end
  local body = json.decode(text)
  return type(body) == "table" and answers.of(call.kind, body) or nil
end

-- Its pieces as they came, for a call that wants a stream; nil where they were not kept.
local function pieces_of(call, value, at, answer)
  local pace = call.client.caching.replay
  if not call.streaming or not pace or at > #value then return nil end
  return recording.pieces(call, value, at, answer, pace)
end

--- A stored answer as this call's reply; nil when it cannot be read.
---@param call table
---@param value string
---@param source "cache"|"stale"|"coalesced"
---@param age number seconds
---@param failure table? what went wrong
---@return table? reply
function last_good.recall(call, value, source, age, failure)
  local target, text, at = stored.unpack(value)
  local answer = target and answer_of(call, text)
  if not answer then return nil end
  age = age > 0 and age or 0 -- whatever a clock says
  if call.client.on_event then
    call:emit("cache", { source = source, age = age, target = target,
      code = failure and failure.code })
  end
  return reply.of_stored(call, answer, { source = source, age = age, target = target, raw = text,
    failure = failure, pieces = pieces_of(call, value, at, answer) })
end

--- Is it young enough for the call's `stale`, and for who asks?
---@param call table
---@param age number seconds
---@param most number? seconds that it may be old
---@return boolean
function last_good.is_young(call, age, most)
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
  if not value or not last_good.is_young(call, age, most) then return nil end
  failure.detail = call:detail(failure.detail)
  return last_good.recall(call, value, "stale", age, failure)
end

return last_good
