--- Bytes as text (RFC 4648, with padding).
local base64 = {}

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local digit, value = {}, {}
for i = 1, 64 do
  digit[i - 1], value[ALPHABET:byte(i)] = ALPHABET:sub(i, i), i - 1
end

local floor = math.floor

local function encode_group(group)
  local a, b, c = group:byte(1, 3)
  local n = a * 65536 + (b or 0) * 256 + (c or 0)
  return digit[floor(n / 262144)] .. digit[floor(n / 4096) % 64]
    .. (b and digit[floor(n / 64) % 64] or "=") .. (c and digit[n % 64] or "=")
end

--- The text of some bytes.
---@param bytes string
---@return string
function base64.encode(bytes)
  return (bytes:gsub("..?.?", encode_group))
end

local function decode_group(group)
  local a, b, c, d = group:byte(1, 4)
  local n = value[a] * 262144 + value[b] * 4096 + (value[c] or 0) * 64 + (value[d] or 0)
  return string.char(floor(n / 65536), floor(n / 256) % 256, n % 256)
end

--- The bytes of a text; nil for what is none.
---@param text any
---@return string?
function base64.decode(text)
  if type(text) ~= "string" or #text % 4 ~= 0 then return nil end
  local body, padding = text:match "^([%w+/]*)(=?=?)$"
  if not body then return nil end
  local bytes = text:gsub("....", decode_group)
  return bytes:sub(1, #bytes - #padding)
end

return base64
