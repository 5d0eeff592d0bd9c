--- The library `utf8` of Lua 5.4, for the scripts of any Lua.
local utf8 = {}

utf8.charpattern = "[%z\1-\127\194-\253][\128-\191]*"

local native = rawget(_G, "utf8")
if native then
  for _, name in ipairs { "char", "codepoint", "codes", "len", "offset" } do
    utf8[name] = native[name]
  end
  return utf8
end

local byte, char, floor = string.byte, string.char, math.floor

-- The character that begins at byte `i`: its code point and its length; nil where none does.
local function decode(s, i)
  local a, b, c, d = byte(s, i, i + 3)
  local function follows(x) return x and x >= 0x80 and x < 0xC0 end
  if not a then return nil end
  if a < 0x80 then return a, 1 end
  if a < 0xC2 or not follows(b) then return nil end
  if a < 0xE0 then return (a - 0xC0) * 64 + b - 0x80, 2 end
  if not follows(c) then return nil end
  if a < 0xF0 then
    local code = ((a - 0xE0) * 64 + b - 0x80) * 64 + c - 0x80
    if code < 0x800 or code >= 0xD800 and code < 0xE000 then return nil end
    return code, 3
  end
  if not follows(d) then return nil end
  local code = (((a - 0xF0) * 64 + b - 0x80) * 64 + c - 0x80) * 64 + d - 0x80
  if code < 0x10000 or code > 0x10FFFF then return nil end
  return code, 4
end

local function encode(code)
  if code < 0x80 then return char(code) end
  local tail = char(0x80 + code % 64)
  code = floor(code / 64)
  if code < 0x20 then return char(0xC0 + code) .. tail end
  tail = char(0x80 + code % 64) .. tail
  code = floor(code / 64)
  if code < 0x10 then return char(0xE0 + code) .. tail end
  return char(0xF0 + floor(code / 64), 0x80 + code % 64) .. tail
end

--- The characters of so many code points, as one text.
function utf8.char(...)
  local out = { ... }
  for i, code in ipairs(out) do
    if type(code) ~= "number" or code < 0 or code > 0x10FFFF or code ~= floor(code) then
      error("char: a code point expected", 2)
    end
    out[i] = encode(code)
  end
  return table.concat(out)
end

local function position(s, i, otherwise)
  i = i or otherwise
  return i >= 0 and i or #s + i + 1
end

--- How many characters begin at the bytes `i` to `j`; nil and the first byte that is none.
function utf8.len(s, i, j)
  local at, last, count = position(s, i, 1), position(s, j, -1), 0
  while at <= last do
    local code, length = decode(s, at)
    if not code then return nil, at end
    at, count = at + length, count + 1
  end
  return count
end

--- The code points of the characters that begin at the bytes `i` to `j`.
function utf8.codepoint(s, i, j)
  local at = position(s, i, 1)
  local last, out = position(s, j, at), {}
  while at <= last do
    local code, length = decode(s, at)
    if not code then error("codepoint: invalid UTF-8", 2) end
    at, out[#out + 1] = at + length, code
  end
  return unpack(out) -- luacheck: ignore 113
end

local function next_code(s, at)
  local _, length = decode(s, at)
  at = at == 0 and 1 or at + (length or 1)
  if at > #s then return nil end
  local code = decode(s, at)
  if not code then error("codes: invalid UTF-8", 2) end
  return at, code
end

--- For a loop over the characters: the byte where each begins, and its code point.
function utf8.codes(s)
  return next_code, s, 0
end

local function continues(s, i)
  local b = byte(s, i)
  return b and b >= 0x80 and b < 0xC0
end

local function forward(s, at, n)
  while n > 0 and at <= #s do
    repeat at = at + 1 until not continues(s, at)
    n = n - 1
  end
  return n == 0 and at or nil
end

local function backward(s, at, n)
  while n < 0 and at > 1 do
    repeat at = at - 1 until at <= 1 or not continues(s, at)
    n = n + 1
  end
  return n == 0 and at or nil
end

--- The byte where the n-th character from byte `i` on begins; n = 0: where the one at `i` does.
function utf8.offset(s, n, i)
  local at = position(s, i, n > 0 and 1 or #s + 1)
  if n == 0 then
    while at > 1 and continues(s, at) do at = at - 1 end
    return at
  end
  if continues(s, at) then error("offset: no character begins there", 2) end
  if n > 0 then return forward(s, at, n - 1) end
  return backward(s, at, n)
end

return utf8
