--- JSON over lua-cjson, with the corners that requests to an API need.
--
--     local json = require "unbusy.json"
--     local text = json.encode { tools = json.array {}, stop = json.null }
--     -- {"tools":[],"stop":null}
--     local value = json.decode(text)     -- tools is an array again
--
-- Whole numbers up to 2^53 (and Lua 5.4's 64-bit integers) are written digit by digit, others so
-- that they read back the same. `\0` is written as \u0000. A string whose first or last character
-- is not UTF-8 (text cut by bytes, another encoding) is refused; bytes in between are passed on as
-- they are, `json.is_utf8` looks at all of them. Nothing here raises for bad data: it gives nil and
-- a message that names the place and never shows the data.
--
-- Ordinary tables go straight to lua-cjson after one walk. Only those with an empty array or a long
-- number are written here, string by string. Numbers are read as lua-cjson reads them, which on
-- Lua 5.4 makes floats (3.0, see `json.whole`) and rounds what lies beyond 2^53.
local cjson = require "cjson"

local json = {}

--- JSON's null.
json.null = cjson.null

--- How deep tables may be nested, both ways.
json.max_depth = 128

local coder = cjson.new() -- our own: the settings of the module `cjson` stay as they are
coder.decode_max_depth(json.max_depth)
coder.decode_invalid_numbers(false)

local array_mt = { __name = "unbusy.array", __metatable = "unbusy.array" }
local integer_type = math.type or function() return "float" end -- luacheck: ignore 143
local floor, byte, sub = math.floor, string.byte, string.sub
local is_null = { [cjson.null] = true }
local is_empty_array = {}
if cjson.empty_array then is_empty_array[cjson.empty_array] = true end -- newer versions have one

--- Marks a table as an array, so that it is written as [] even when empty. The mark is a metatable.
---@param t table? a new one by default
---@return table t the same table
function json.array(t)
  t = t or {}
  if type(t) ~= "table" or getmetatable(t) ~= nil and getmetatable(t) ~= "unbusy.array" then
    error("json: a table without a metatable expected, got " ..
      (type(t) == "table" and "one with" or "a " .. type(t)), 2)
  end
  return getmetatable(t) and t or setmetatable(t, array_mt)
end

--- Whether a table was marked by `json.array` or came from JSON's [].
---@return boolean
function json.is_array(t)
  return type(t) == "table" and getmetatable(t) == "unbusy.array"
end

--- A whole number as Lua writes one (3, not 3.0); nil for anything else.
---@param n any
---@return integer?
function json.whole(n)
  if type(n) ~= "number" or n ~= floor(n) or n - n ~= 0 then return nil end
  return floor(n) -- on 5.4 this turns a float into an integer when it fits
end

-- Of the character that begins with `lead`: its length, and the range of its second byte.
local function sequence(lead)
  if lead < 0xC2 or lead > 0xF4 then return nil end
  if lead < 0xE0 then return 2, 0x80, 0xBF end
  if lead < 0xF0 then return 3, lead == 0xE0 and 0xA0 or 0x80, lead == 0xED and 0x9F or 0xBF end
  return 4, lead == 0xF0 and 0x90 or 0x80, lead == 0xF4 and 0x8F or 0xBF
end

local function well_formed(s)
  local at, last = 1, #s
  while at <= last do
    local lead = byte(s, at)
    if lead < 0x80 then
      at = at + 1
    else
      local length, low, high = sequence(lead)
      if not length or at + length - 1 > last then return nil end
      local second, third, fourth = byte(s, at + 1, at + length - 1)
      if second < low or second > high then return nil end
      if third and (third < 0x80 or third > 0xBF) then return nil end
      if fourth and (fourth < 0x80 or fourth > 0xBF) then return nil end
      at = at + length
    end
  end
  return true
end

--- Whether a string is well-formed UTF-8 (RFC 3629), in linear time: truthy or nil.
---@param s string
json.is_utf8 = utf8 and utf8.len or well_formed -- luacheck: ignore 113

local is_utf8 = json.is_utf8

-- Whether the first and the last character of a string are whole: sees text cut by bytes and text
-- in another encoding, at a cost that does not grow with the text.
local function sound(s)
  local first = byte(s)
  if not first or first < 0x80 and byte(s, -1) < 0x80 then return true end
  local length = first < 0x80 and 1 or sequence(first)
  local tail = sub(s, -4):match("[%z\1-\127\192-\255][\128-\191]*$")
  return length and tail and is_utf8(sub(s, 1, length)) and is_utf8(tail)
end

-- What is written with 14 digits reads back the same?
local function short(n)
  if n == floor(n) then return n > -1e14 and n < 1e14 end
  if n > -1e6 and n < 1e6 and floor(n * 1000 + 0.5) / 1000 == n then return true end -- 0.7
  return tonumber(("%.14g"):format(n)) == n
end

local plain

-- The walk: whether lua-cjson writes this value just as we would.
local function plain_value(v, depth)
  local kind = type(v)
  if kind == "string" then
    local first = byte(v)
    return not first or first < 0x80 and byte(v, -1) < 0x80 or sound(v)
  end
  if kind == "table" then return plain(v, depth + 1) end
  if kind == "number" then return short(v) end
  return kind == "boolean" or is_null[v]
end

function plain(t, depth)
  if depth > 128 then return false end
  local length = #t
  for i = 1, length do
    if not plain_value(t[i], depth) then return false end
  end
  if length > 0 then -- no holes; and no other keys, when there are no more than these
    for _ in next, t do length = length - 1 end
    return length == 0
  end
  for k, v in next, t do
    if type(k) ~= "string" or not plain_value(v, depth) then return false end
  end
  return next(t) ~= nil or getmetatable(t) ~= "unbusy.array"
end

-- The slow way: an encoder of our own. `w` is { out = pieces, at = keys down to here, depth = n }.

local function fail(w, what)
  local place = {}
  for i = 1, w.depth do
    local key = w.at[i]
    if type(key) == "number" then
      place[i] = ("[%d]"):format(key)
    else -- an odd or long key may be data
      key = #key <= 40 and key:match("^[%w_-]+$") or "?"
      place[i] = (i == 1 and "" or ".") .. key
    end
    if i > 8 then place[i] = "…" break end
  end
  return nil, (#place > 0 and table.concat(place) .. ": " or "") .. what
end

local function put(w, piece)
  w.out[#w.out + 1] = piece
  return true
end

local function number_text(n)
  if integer_type(n) == "integer" then return ("%d"):format(n) end
  if n == floor(n) and n >= -2 ^ 53 and n <= 2 ^ 53 then return ("%.0f"):format(n) end
  for digits = 14, 17 do
    local text = ("%%.%dg"):format(digits):format(n)
    if tonumber(text) == n then return (text:gsub(",", ".")) end -- a locale may write a comma
  end
end

local write

local function write_list(w, t, length)
  put(w, "[")
  w.depth = w.depth + 1
  for i = 1, length do
    if i > 1 then put(w, ",") end
    w.at[w.depth] = i
    local ok, message = write(w, t[i])
    if not ok then return nil, message end
  end
  w.depth = w.depth - 1
  return put(w, "]")
end

local function write_map(w, t)
  local comma = false
  put(w, "{")
  w.depth = w.depth + 1
  for k, v in next, t do
    w.at[w.depth] = k
    put(w, (comma and "," or "") .. coder.encode(k) .. ":")
    local ok, message = write(w, v)
    if not ok then return nil, message end
    comma = true
  end
  w.depth = w.depth - 1
  return put(w, "}")
end

-- Counts the items and names of a table: how many, and the greatest index.
local function census(t)
  local items, last, names = 0, 0, 0
  for k in next, t do
    if type(k) == "string" then
      names = names + 1
    elseif type(k) == "number" and k >= 1 and k == floor(k) then
      items = items + 1
      if k > last then last = k end
    else
      return nil, type(k) == "number" and "a number below 1 or not whole" or "a " .. type(k)
    end
  end
  return items, last, names
end

local function write_table(w, t)
  if w.depth >= json.max_depth then
    return fail(w, "nested deeper than 128 (a table inside itself?)")
  end
  local items, last, names = census(t)
  if not items then return fail(w, "a table with " .. last .. " as a key") end
  if names > 0 then
    if items > 0 then return fail(w, "a table with names and numbers as keys") end
    return write_map(w, t)
  end
  if items ~= last then return fail(w, "a list with holes (names are text in JSON)") end
  if items == 0 and not json.is_array(t) then return put(w, "{}") end
  return write_list(w, t, items)
end

function write(w, value)
  local kind = type(value)
  if kind == "table" then
    return write_table(w, value)
  elseif kind == "string" then
    if not sound(value) then return fail(w, "a string that is not UTF-8") end
    return put(w, coder.encode(value))
  elseif kind == "number" then
    if value - value ~= 0 then return fail(w, "not a finite number") end
    return put(w, number_text(value))
  elseif kind == "boolean" then
    return put(w, tostring(value))
  elseif is_null[value] then
    return put(w, "null")
  elseif is_empty_array[value] then
    return put(w, "[]")
  end
  return fail(w, value == nil and "nil" or "a " .. kind)
end

--- Writes a value as JSON. Never raises for what the value holds.
---@param value any a table with names is an object, with 1..n a list; {} is an object, see `array`
---@return string? text, string? message which names the place: "messages[2].content: a function"
function json.encode(value)
  if type(value) == "table" and plain(value, 1) then
    local ok, text = pcall(coder.encode, value)
    if ok then return text end
  end
  local w = { out = {}, at = {}, depth = 0 }
  local ok, message = write(w, value)
  if not ok then return nil, message end
  return table.concat(w.out)
end

-- {== Mending =============================================================

local REPLACEMENT = "\239\191\189" -- U+FFFD

-- Bytes beyond ASCII, with a mark in place of those, one or more, that belong to no character.
local function mended_run(run)
  local out, at = {}, 1
  while at <= #run do
    local length = sequence(byte(run, at))
    local character = length and sub(run, at, at + length - 1)
    if character and well_formed(character) then
      out[#out + 1] = character
    else
      length = 1
      if out[#out] ~= REPLACEMENT then out[#out + 1] = REPLACEMENT end
    end
    at = at + length
  end
  return table.concat(out)
end

local function mended_text(s)
  if is_utf8(s) then return s end
  return (s:gsub("[\128-\255]+", mended_run))
end

--- A copy of what `decode` has given that `encode` can write: servers say what is no JSON. Bytes
--- that are no UTF-8 become U+FFFD, and numbers beyond all numbers (1e999) null.
---@param value any
---@return any
function json.mended(value)
  local kind = type(value)
  if kind == "string" then return mended_text(value) end
  if kind == "number" then return value - value == 0 and value or json.null end
  if kind ~= "table" then return value end
  local out = json.is_array(value) and json.array() or {}
  for k, v in next, value do
    out[type(k) == "string" and mended_text(k) or k] = json.mended(v)
  end
  return out
end

--- Writes what `decode` has given; what JSON cannot say of it is mended.
---@param value any
---@return string? text nil for what is still none
function json.encode_mended(value)
  return json.encode(value) or (json.encode(json.mended(value)))
end

-- }========================================================================

-- lua-cjson reads [] and {} alike, and {} is what it would write. So each [] is replaced by a value
-- nobody sends before reading, and that value by a marked array after. First the quick way: every
-- "[]", with a number. When the tree does not hold as many, some were inside strings: then exactly.
-- The values differ from process to process, so that nobody can send them on purpose.
local nonce = tonumber(tostring {}:match "%x+$", 16) % 1e9
local quick_mark, exact_mark = ("-8.%09.0fe-301"):format(nonce), ("unbusy: [] %.0f"):format(nonce)
local quick_value = tonumber(quick_mark)

local function replace_all(text)
  local out, from, count = {}, 1, 0
  local at = text:find("[]", 1, true)
  while at do
    out[#out + 1] = text:sub(from, at - 1)
    from, count = at + 2, count + 1
    at = text:find("[]", from, true)
  end
  out[#out + 1] = text:sub(from)
  return table.concat(out, quick_mark), count
end

-- The position behind the string that opens at `at`.
local function behind_string(text, at)
  repeat
    at = text:find('["\\]', at + 1)
    local escape = at and byte(text, at) == 92
    if escape then at = at + 1 end
  until not escape
  return at and at + 1 or #text + 1
end

local function replace_exactly(text)
  local out, from, at = {}, 1, text:find('["%[]')
  while at do
    local next_at = at + 1
    if byte(text, at) == 34 then
      next_at = behind_string(text, at)
    else
      local close = text:match("^%[[ \t\r\n]*%]()", at)
      if close then
        out[#out + 1] = text:sub(from, at - 1) .. '"' .. exact_mark .. '"'
        from, next_at = close, close
      end
    end
    at = text:find('["%[]', next_at)
  end
  return table.concat(out) .. text:sub(from)
end

-- Puts marked arrays where `mark` stands; how many there were.
local function show_arrays(t, mark)
  local count = 0
  for k, v in next, t do
    if type(v) == "table" then
      count = count + show_arrays(v, mark)
    elseif v == mark then
      t[k] = setmetatable({}, array_mt)
      count = count + 1
    end
  end
  return count
end

-- Where the first empty array with blanks in it is, or what looks like one in a string. Mostly no
-- bracket has a blank behind it, and that is quickly seen.
local function blank_array(text)
  local at
  for _, opening in ipairs { "[ ", "[\n", "[\r", "[\t" } do
    local found = text:find(opening, 1, true)
    if found and (not at or found < at) then at = found end
  end
  return at and text:find("%[[ \t\r\n]+%]", at)
end

local function decode_arrays(text, has_blank)
  local swapped, count = replace_all(text)
  local ok, value = pcall(coder.decode, swapped)
  if ok and value == quick_value then return true, json.array() end
  if ok and type(value) == "table" and not has_blank
    and show_arrays(value, quick_value) == count then
    return true, value
  end
  ok, value = pcall(coder.decode, replace_exactly(text))
  if not ok then return pcall(coder.decode, text) end -- for the place in their text
  if value == exact_mark then return true, json.array() end
  if type(value) == "table" then show_arrays(value, exact_mark) end
  return true, value
end

local function failure(message)
  if message == "not enough memory" then error(message, 0) end
  local at = message:match("character (%d+)")
  if message:find("nested", 1, true) then return "JSON nested deeper than 128" end
  return "not JSON" .. (at and " at byte " .. at or "")
end

--- Reads JSON. Never raises for what the text holds.
---@param text string a byte order mark in front is passed over
---@return any value, string? message (nil first means failure: null is `json.null`)
function json.decode(text)
  if type(text) ~= "string" then
    error("json: a string expected, got a " .. type(text), 2)
  end
  if byte(text) == 0xEF then text = text:gsub("^\239\187\191", "") end
  local nul = text:find("\0", 1, true) -- where lua-cjson would stop reading and be content
  if nul then return nil, "not JSON at byte " .. nul end
  local has_blank = blank_array(text)
  local ok, value
  if has_blank or text:find("[]", 1, true) then ok, value = decode_arrays(text, has_blank)
  else ok, value = pcall(coder.decode, text) end
  if not ok then return nil, failure(value) end
  return value
end

return json
