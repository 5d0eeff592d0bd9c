--- How many calls and tokens a client key has had in the last minute, of all workers together.
--
-- Two minutes are counted, this one and the one before, of which as much counts as still lies
-- within sixty seconds: so no minute's end lets twice as many through. The counts live in memory
-- that the workers share.
local clock = require "unbusy.clock"
local counters = require "unbusy.counters"
local region = require "unbusy.region"

local quotas = {}
quotas.__index = quotas

local WINDOW = 60
local NAMES = 8 -- for each key: calls and tokens of some minutes

local kinds = { "tokens", "calls" }

local function has_quota(keys)
  for _, key in ipairs(keys or {}) do
    if key.calls or key.tokens then return true end
  end
end

-- Counters for them, in the region if it has the room, else in one of their own; or a failure.
local function new_counts(keys, shared)
  local o = { counters = #keys * NAMES + 64, name = "gateway quotas", region = shared }
  local made, message, code = nil, nil, "full"
  if shared then made, message, code = counters.new(o) end
  if made or code ~= "full" then return made, message end
  o.region, message = region.new { bytes = 512 * 1024 + #keys * NAMES * 256 }
  if not o.region then return nil, message end
  return counters.new(o)
end

--- Counts for these keys.
---@param keys table[]? { name =, calls =, tokens = }, …
---@param shared userdata? a region
---@param now function? gives seconds
---@return table? quotas, string? message
function quotas.new(keys, shared, now)
  local self = setmetatable({ now = now or clock }, quotas)
  if not has_quota(keys) then return self end
  local message
  self.counts, message = new_counts(keys, shared)
  if not self.counts then return nil, message end
  return self
end

local function name_of(key, what, minute)
  return ("%s %.0f %s"):format(what, minute, key.name)
end

-- The seconds until there is room for one more, where `this` and `last` minute have had so many.
local function wait(this, last, past, most)
  local left = WINDOW - past -- until this minute's end
  if this + 1 <= most then return (this + last * (1 - past / WINDOW) + 1 - most) / last * WINDOW end
  return left + math.max(0, (this + 1 - most) / this) * WINDOW
end

-- Counts `n` more, unless there is no room for one; then the seconds until there is.
local function count(self, key, what, n)
  local now, most = self.now(), key[what]
  local minute, past = math.floor(now / WINDOW), now % WINDOW
  local name = name_of(key, what, minute)
  local this = self.counts:add(name, n) -- first, so that no two workers take the last one
  local last = self.counts:get(name_of(key, what, minute - 1))
  if this - n + last * (1 - past / WINDOW) + 1 <= most then return true end
  if n > 0 then self.counts:add(name, -n) end
  return false, this == n and last == 0 and WINDOW or wait(this - n, last, past, most)
end

--- May a call be made for this key? It counts when it may.
---@param key table { name =, calls =, tokens = }
---@return boolean? true, string? message, number? seconds until it may
function quotas:take(key)
  for _, what in ipairs(kinds) do
    if key[what] then
      local fine, seconds = count(self, key, what, what == "calls" and 1 or 0)
      if not fine then
        return nil, ("this key may have %.0f %s a minute"):format(key[what], what), seconds
      end
    end
  end
  return true
end

--- A call of this key's has used so many tokens.
---@param key table
---@param tokens number
function quotas:spend(key, tokens)
  if not key.tokens or tokens <= 0 then return end
  self.counts:add(name_of(key, "tokens", math.floor(self.now() / WINDOW)), tokens)
end

return quotas
