--- The directives of a request's `cache-control` (RFC 9111 5.2.1, RFC 5861) as options of its call.
--
-- | directive | the call's |
-- |---|---|
-- | `no-store` | `cache = false` |
-- | `no-cache`, `max-age=0` | `cache = "refresh"`; no stale answer either, unless it says so |
-- | `max-age=N` | `max_age = N`; no stale answer either, unless it says so |
-- | `max-stale`, `max-stale=N` | `max_stale = true`, `N` |
-- | `stale-if-error=N` | `stale = N` |
-- | `only-if-cached` | `only_cached = true` |
--
-- All others, and what cannot be read, mean nothing here (RFC 9111 5.2.3). What the request has
-- said in our own header goes before.
local cache_control = {}

local MOST = 1e9 -- seconds

-- Seconds, perhaps in quotes; nil for no such number.
local function seconds(value)
  local digits = value and (value:match "^(%d+)$" or value:match '^"(%d+)"$')
  return digits and math.min(tonumber(digits), MOST) or nil
end

-- Lower-case name -> its value, or true; of one that comes twice, the first.
local function directives(text)
  local out = {}
  for item in text:gmatch "[^,]+" do
    local name, value = item:match "^%s*([%w_-]+)%s*=%s*(.*)$"
    value = value and (value:match "^.*%S" or "")
    name = (name or item:match "^%s*([%w_-]+)%s*$" or ""):lower()
    if out[name] == nil then out[name] = value or true end
  end
  return out
end

local function of(said, name)
  local value = said[name]
  return type(value) == "string" and seconds(value) or nil
end

--- Adds to the options of a call what a request's header says.
---@param given table options of the call
---@param header string|string[]
function cache_control.add(given, header)
  local said = directives(type(header) == "table" and table.concat(header, ",") or header)
  local age, asks = of(said, "max-age"), said["no-cache"] == true
  local stale = of(said, "stale-if-error")
  local most = said["max-stale"] == true or of(said, "max-stale")
  if given.cache == nil then
    if said["no-store"] then given.cache = false
    elseif asks or age == 0 then given.cache = "refresh" end
  end
  given.max_age, given.max_stale = age, most or nil
  if stale then given.stale = stale
  elseif (asks or age) and not most then given.stale = false end
  if said["only-if-cached"] then given.only_cached = true end
end

return cache_control
