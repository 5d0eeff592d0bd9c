--- How many calls and tokens a client key has had in the last minute, of all workers together.
--
-- The counts live in memory that the workers share.
local core = require "unbusy.core"
local counters = require "unbusy.counters"
local region = require "unbusy.region"

local quotas = {}
quotas.__index = quotas

local WINDOW = 60
local NAMES = 2 -- for each key: calls and tokens
local BYTES = 4 -- of a token, where nobody counts them

local MOST = 1e12 -- tokens of a call, whatever a server says: so that sums stay finite

local kinds = { "tokens", "calls" }

local function has_quota(keys)
  for _, key in ipairs(keys or {}) do
    if key.calls or key.tokens then return true end
  end
end

local TAG = "unbusy quotas 01" -- 16 bytes, no secret

-- Of another list of keys than these there are other counts: each has room for its own alone. (The
-- number of a key without a name is that of another one there.)
local function part_for(keys)
  local names = {}
  for i, key in ipairs(keys) do
    names[i] = key.key and not key.named and core.sip(key.key, TAG) or key.name
  end
  table.sort(names)
  return "gateway quotas " .. core.sip(table.concat(names, "\0"), TAG)
end

local function counts_in(shared, keys, now)
  return counters.new { counters = #keys * NAMES, region = shared, name = part_for(keys),
    clock = now }
end

--- Counts for these keys, in a region of their own where none is given, or it has no room left.
---@param keys table[]? { name =, calls =, tokens = }, …
---@param shared userdata? a region
---@param now function? gives seconds
---@return table? quotas, string? message
function quotas.new(keys, shared, now)
  local self = setmetatable({}, quotas)
  if not has_quota(keys) then return self end
  local message, code
  if shared then
    self.counts, message, code = counts_in(shared, keys, now)
    if code and code ~= "full" then return nil, message end
  end
  if not self.counts then -- no room there for so many
    shared, message = region.new { bytes = 512 * 1024 + #keys * NAMES * 256 }
    if not shared then return nil, message end
    self.counts, message = counts_in(shared, keys, now)
  end
  if not self.counts then return nil, message end
  return self
end

local function name_of(key, what)
  return what .. " " .. key.name
end

--- May a call be made for this key, or several at once? They count when they may.
---@param key table { name =, calls =, tokens = }
---@param calls integer? 1 by default; 0: only look
---@return boolean? true, string? message, number? seconds until it may
function quotas:take(key, calls)
  for _, what in ipairs(kinds) do
    if key[what] then
      local n = what == "calls" and (calls or 1) or 0
      local fine, seconds = self.counts:take(name_of(key, what), n, key[what], WINDOW)
      if not fine then
        return nil, ("this key may have %.0f %s a minute"):format(key[what], what), seconds
      end
    end
  end
  return true
end

--- A call of this key's has used so many tokens; 0 where nobody has counted them: then its `bytes`
--- tell.
---@param key table
---@param tokens number
---@param bytes number? of request and answer
function quotas:spend(key, tokens, bytes)
  if not key.tokens then return end
  if tokens == 0 and bytes then tokens = math.ceil(bytes / BYTES) end
  if tokens <= 0 then return end
  self.counts:add(name_of(key, "tokens"), math.min(tokens, MOST), WINDOW)
end

return quotas
