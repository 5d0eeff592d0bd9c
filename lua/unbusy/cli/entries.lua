--- Entries of a cache as lines of JSON, so that they can be looked at, kept and given back.
--
--     {"unbusy":"cache","version":1}
--     {"key":"cA…","age":12.5,"ttl":287.5,"tags":["model:m"],"value":"…"}
--
-- The key's bytes are in base64; so is a value that is no text, as `value64`. `age` is how many
-- seconds it has been there, `ttl` for how many more it is fresh (below 0: it is stale).
local base64 = require "unbusy.cli.base64"
local json = require "unbusy.json"

local entries = {}

local VERSION = 1

--- The first line.
---@return string
function entries.head()
  return ('{"unbusy":"cache","version":%d}'):format(VERSION)
end

--- An entry's line.
---@param key string its bytes
---@param value string
---@param about table age, ttl, tags
---@return string
function entries.line(key, value, about)
  local out = { key = base64.encode(key), age = about.age, ttl = about.ttl,
    tags = about.tags and about.tags[1] and json.array(about.tags) or nil }
  if json.is_utf8(value) then out.value = value else out.value64 = base64.encode(value) end
  return assert(json.encode(out))
end

local function is_tags(tags)
  if tags == nil then return true end
  if type(tags) ~= "table" or #tags > 16 then return false end
  for _, tag in ipairs(tags) do
    if type(tag) ~= "string" or #tag < 1 or #tag > 255 then return false end
  end
  return true
end

local function is_number(n)
  return type(n) == "number" and n - n == 0 and math.abs(n) < 1e10
end

-- What the head says; nil where the line is none.
local function head_fault(line)
  if line.unbusy == nil then return nil end
  if line.unbusy == "cache" and line.version == VERSION then return false end
  return "not of this version of unbusy"
end

--- Reads a line: the entry `{ key = bytes, value =, age =, ttl =, tags = }`; false for the head;
--- or nil and what is wrong.
---@param text string
---@return table|false|nil entry, string? wrong
function entries.read(text)
  local line = json.decode(text)
  if type(line) ~= "table" then return nil, "not JSON" end
  local wrong = head_fault(line)
  if wrong == false then return false end
  if wrong then return nil, wrong end
  local key = base64.decode(line.key)
  local value = line.value or base64.decode(line.value64)
  if not key or type(value) ~= "string" then return nil, "a key and a value expected" end
  if not is_number(line.age) or line.age < 0 or not is_number(line.ttl) then
    return nil, "age and ttl, in seconds, expected"
  end
  if not is_tags(line.tags) then return nil, "tags: a list of at most 16 texts expected" end
  return { key = key, value = value, age = line.age, ttl = line.ttl, tags = line.tags }
end

return entries
