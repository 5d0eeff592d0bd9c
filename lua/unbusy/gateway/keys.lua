--- Who a request comes from: the client's own key, which is none of the upstream's.
--
-- Keys are compared by a keyed hash (SipHash with 128 bits) under a secret of this process. How
-- long that takes depends on the key that was sent, not on those that are known; and what is then
-- looked up tells, by its time, at most something about a hash that nobody outside can compute, and
-- so cannot steer. So a key cannot be found out piece by piece.
local core = require "unbusy.core"

local keys = {}
keys.__index = keys

local secret = (core.random_id() .. core.random_id()):gsub("%x%x", function(digits)
  return string.char(tonumber(digits, 16))
end)

local function mark_of(key)
  return core.sip(key, secret)
end

-- Under which name a key's answers are kept, the same in all processes, today and tomorrow: the one
-- that the site gave it. A key without one has a hash: by its number it would inherit the answers
-- of another key when the list changes.
local TENANTS = "unbusy tenants 1" -- 16 bytes, no secret

local function tenant_of(key, name)
  return name and "name " .. name or "key " .. core.sip(key, TENANTS)
end

--- What knows the keys; open to everybody without them.
---@param list table[]? { key =, name =, named = by the site, … }, checked
function keys.new(list)
  local self = setmetatable({ open = list == nil, known = {} }, keys)
  for _, k in ipairs(list or {}) do
    self.known[mark_of(k.key)] = { name = k.name, calls = k.calls, tokens = k.tokens,
      tenant = tenant_of(k.key, k.named and k.name) }
  end
  return self
end

-- The key that was sent: as OpenAI's clients send it, or in one of the two ways of others.
local function sent(headers)
  local text = headers.authorization
  if type(text) == "string" then
    local scheme, key = text:match "^(%a+)%s+(%S+)%s*$"
    if scheme and scheme:lower() == "bearer" then return key end
  end
  local key = headers["api-key"] or headers["x-api-key"]
  return type(key) == "string" and key ~= "" and key or nil
end

local BEARER = "Bearer "

-- Who sent it in the usual form: quickly, since nearly all do, and no key has blanks in it.
local function usual(self, text)
  if type(text) ~= "string" or text:sub(1, #BEARER) ~= BEARER then return nil end
  return self.known[mark_of(text:sub(#BEARER + 1))]
end

--- Whose request is it? `{}` where everybody is served.
---@param headers table lower-case name -> value, or a list of them
---@return table? key { name =, calls =, tokens =, tenant = see `cache.per` }, string? message
function keys:of(headers)
  if self.open then return {} end
  local known = usual(self, headers.authorization)
  if known then return known end
  local key = sent(headers)
  if not key then return nil, "a key is needed: authorization: Bearer …" end
  known = self.known[mark_of(key)]
  if not known then return nil, "this key is not known here" end
  return known
end

return keys
