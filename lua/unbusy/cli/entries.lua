--- Entries of a cache as lines of JSON, so that they can be looked at, kept and given back.
--
--     {"unbusy":"cache","version":1}
--     {"key":"cA…","age":12.5,"ttl":287.5,"tags":["model:m"],"value":"…"}
--
-- The key's bytes are in base64; so is a value that is no text, as `value64`, and so are all tags
-- where one of them is none, as `tags64`. `age` is how many seconds it has been there, `ttl` for
-- how many more it is fresh (below 0: it is stale).
local base64 = require "unbusy.cli.base64"
local json = require "unbusy.json"

local entries = {}

local VERSION = 1

--- The first line.
---@return string
function entries.head()
  return ('{"unbusy":"cache","version":%d}'):format(VERSION)
end

-- The tags, and whether each of them is a text; nil for none.
local function list_of(tags)
  if not tags or not tags[1] then return nil, true end
  local sound = true
  for _, tag in ipairs(tags) do sound = sound and json.is_utf8(tag) end
  return json.array(tags), sound
end

local function each(list, f)
  local out = json.array()
  for i, item in ipairs(type(list) == "table" and list or {}) do out[i] = f(item) or false end
  return out
end

--- An entry's line.
---@param key string its bytes
---@param value string
---@param about table age, ttl, tags
---@return string
function entries.line(key, value, about)
  local out, tags, sound = { key = base64.encode(key), age = about.age, ttl = about.ttl },
    list_of(about.tags)
  if sound then out.tags = tags else out.tags64 = each(tags, base64.encode) end
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
  local tags = line.tags
  if line.tags64 ~= nil then tags = each(line.tags64, base64.decode) end
  if not is_tags(tags) then return nil, "tags: a list of at most 16 texts expected" end
  return { key = key, value = value, age = line.age, ttl = line.ttl, tags = tags }
end

return entries
