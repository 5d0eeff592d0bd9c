--- What every failure keeps to, whatever a server has sent.
local codes = require "unbusy.codes"
local json = require "unbusy.json"

local contract = {}

local MOST_BYTES = 400

--- Raises unless `text` is fit for a log: one short line of UTF-8 without the secret.
function contract.line(text, secret)
  assert(type(text) == "string", "a message that is no string")
  assert(#text <= MOST_BYTES, "a message of " .. #text .. " bytes")
  assert(not text:find "%c", "a control character in a message: " .. text)
  assert(json.is_utf8(text), "a message that is no UTF-8")
  assert(not (secret and text:find(secret, 1, true)), "the key in a message: " .. text)
end

-- No text in a table is long or holds the secret.
local function values(t, secret)
  for k, v in next, t do
    if type(k) == "string" then contract.line(k, secret) end
    if type(v) == "string" then contract.line(v, secret) end
    if type(v) == "table" then values(v, secret) end
  end
end

--- Raises unless this is a failure as all of ours are.
---@return string code
function contract.failure(value, message, code, detail, secret)
  assert(value == nil, "neither an answer nor a failure")
  contract.line(message, secret)
  assert(codes[code], "a code that is none: " .. tostring(code))
  if detail ~= nil then
    assert(type(detail) == "table", "a detail that is no table")
    values(detail, secret)
  end
  return code
end

--- A text that tells kinds of values apart: types and names, to some depth.
function contract.kind(value, depth)
  depth = depth or 3
  if value == json.null then return "null" end
  if type(value) ~= "table" or depth == 0 then return type(value):sub(1, 2) end
  local names = {}
  for k, v in next, value do
    local name = type(k) == "string" and k:sub(1, 12) or "#"
    names[#names + 1] = name .. contract.kind(v, depth - 1)
    if #names > 6 then break end
  end
  table.sort(names)
  return "{" .. table.concat(names, ",") .. "}"
end

return contract
