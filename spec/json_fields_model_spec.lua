-- json_fields against a reader of RFC 8259 written down plainly, and against lua-cjson: on texts
-- made by chance, most of them with a few bytes changed.
local json = require "unbusy.json"
local json_fields = require "unbusy.json_fields"
local random = require "spec.support.random"

-- {== The model ===========================================================

-- Each gives the place behind what it has read, or raises "bad".
local value

local function bad() error("bad", 0) end

local function blanks(s, at) return s:match("^[ \t\r\n]*()", at) end

local function unit(s, at)
  return tonumber(s:match("^\\u(%x%x%x%x)", at) or bad(), 16), at + 6
end

local function unicode(s, at)
  local code
  code, at = unit(s, at)
  if code >= 0xDC00 and code <= 0xDFFF then bad() end
  if code >= 0xD800 and code <= 0xDBFF then
    code, at = unit(s, at)
    if code < 0xDC00 or code > 0xDFFF then bad() end
  end
  return at
end

local function string(s, at)
  if s:sub(at, at) ~= '"' then bad() end
  local from = at
  at = at + 1
  while true do
    local c = s:sub(at, at)
    if c == '"' then break end
    if c == "" or c:find "[%z\1-\31]" then bad() end
    if s:find("^\\u", at) then
      at = unicode(s, at)
    elseif c == "\\" then
      if not s:find('^\\["\\/bfnrt]', at) then bad() end
      at = at + 2
    else
      at = at + 1
    end
  end
  if not json.is_utf8(s:sub(from, at)) then bad() end
  return at + 1
end

local function number(s, at)
  local rest = s:match("^%-?0()", at) or s:match("^%-?[1-9]%d*()", at) or bad()
  if s:find("^%.", rest) then rest = s:match("^%.%d+()", rest) or bad() end
  if s:find("^[eE]", rest) then rest = s:match("^[eE][+-]?%d+()", rest) or bad() end
  return rest
end

-- A list of what `item` reads between two brackets.
local function list(s, at, close, depth, item)
  if depth > 128 then bad() end
  at = blanks(s, at + 1)
  if s:sub(at, at) == close then return at + 1 end
  while true do
    at = blanks(s, item(s, blanks(s, at), depth))
    local c = s:sub(at, at)
    at = at + 1
    if c == close then return at end
    if c ~= "," then bad() end
  end
end

local function member(s, at, depth, found)
  local name_at = at
  at = blanks(s, string(s, at))
  local name = json.decode("[" .. s:sub(name_at, at - 1) .. "]")[1]
  if s:sub(at, at) ~= ":" then bad() end
  local first = blanks(s, at + 1)
  at = value(s, first, depth)
  if found then
    local times = found[name] and found[name].times or 0
    found[name] = { times = times + 1, first = first, last = at - 1 }
  end
  return at
end

local words = { t = "true", f = "false", n = "null" }

function value(s, at, depth)
  local c = s:sub(at, at)
  if c == '"' then return string(s, at) end
  if c == "{" then return list(s, at, "}", depth + 1, member) end
  if c == "[" then return list(s, at, "]", depth + 1, value) end
  if words[c] then return s:sub(at, at + #words[c] - 1) == words[c] and at + #words[c] or bad() end
  return number(s, at)
end

-- The members of the object that `s` is, or nil.
local function model(s)
  local found = {}
  local ok = pcall(function()
    local at = blanks(s, 1)
    if s:sub(at, at) ~= "{" then bad() end
    at = list(s, at, "}", 1, function(text, from, depth) return member(text, from, depth,
      found) end)
    if blanks(s, at) <= #s then bad() end
  end)
  return ok and found or nil
end

-- }========================================================================

-- {== Texts ===============================================================

local NAMES = { "model", "stream", "a", "b", "", "系" }
local WRITTEN = { "model", "mod\\u0065l", "stream", "\\u0073tream", "a", "b", "", "系", "\\u7cfb" }
local LETTERS = { "x", "y", " ", "\\n", "\\\"", "\\\\", "\\/", "é", "系", "😀", "\\u4e2d",
  "\\ud83d\\ude00", "{", "}", "[", "]", ",", ":", "abcdefgh" }
local NUMBERS = { "0", "-0", "1", "12", "1.0", "-2.50", "1e5", "1E-2", "9007199254740993" }
local JUNK = { '"', "\\", "{", "}", "[", "]", ",", ":", "0", "1", "e", ".", "-", "+", "u", "t",
  "\0",
  "\31", "\128", "\194", "\255", " ", "\n", "\\u", "\\ud800", "true", "null", '"a":1', "" }

local function blank(r) return r:chance(0.2) and r:pick { " ", "\n", "\t", "  ", "\r\n" } or "" end

local function text_of(r)
  local out = {}
  for i = 1, r:int(12) - 1 do out[i] = r:pick(LETTERS) end
  return '"' .. table.concat(out) .. '"'
end

local any

local function joined(r, open, close, n, item)
  local out = {}
  for i = 1, n do out[i] = blank(r) .. item() .. blank(r) end
  return open .. (n == 0 and blank(r) or table.concat(out, ",")) .. close
end

local function object(r, depth, n)
  return joined(r, "{", "}", n, function()
    return '"' .. r:pick(WRITTEN) .. '"' .. blank(r) .. ":" .. blank(r) .. any(r, depth + 1)
  end)
end

function any(r, depth)
  local kind = r:int(depth > 4 and 3 or 5)
  if kind == 1 then return text_of(r) end
  if kind == 2 then return r:pick(NUMBERS) end
  if kind == 3 then return r:pick { "true", "false", "null" } end
  if kind == 4 then return object(r, depth, r:int(4) - 1) end
  return joined(r, "[", "]", r:int(4) - 1, function() return any(r, depth + 1) end)
end

-- Some bytes of the text are others.
local function damaged(r, text)
  for _ = 1, r:int(3) do
    local at, length = r:int(#text + 1), r:int(3) - 1
    text = text:sub(1, at - 1) .. r:pick(JUNK) .. text:sub(at + length)
  end
  return text
end

-- }========================================================================

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for k, v in pairs(a) do
    if not same(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return true
end

-- The places are those of the model, and what stands there is what lua-cjson reads there.
local function check_places(text, fields, expected)
  local decoded = assert(json.decode(text))
  for _, name in ipairs(NAMES) do
    local f, e = fields[name], expected[name]
    assert(not f == not e, name)
    if f then
      assert(f.times == e.times and f.first == e.first and f.last == e.last, name)
      local there = json.decode("[" .. text:sub(f.first, f.last) .. "]")
      assert(same(there[1], decoded[name]), name)
    end
  end
end

local function twice(fields, edits)
  for name in pairs(edits) do
    if fields[name] and fields[name].times > 1 then return true end
  end
end

-- What splicing gives reads as the table with those members changed.
local function check_splice(r, text, fields)
  local edits, expected = {}, json.decode(text)
  for _ = 1, r:int(4) do
    local name, new = r:pick(NAMES), r:pick { '"new"', "[ ]", "1.5", '{"a":{}}', false }
    edits[name] = new
  end
  for name, new in pairs(edits) do
    if new then expected[name] = json.decode("[" .. new .. "]")[1] else expected[name] = nil end
  end
  local out, _, code = json_fields.splice(text, edits)
  if twice(fields, edits) then
    assert(not out and code == "invalid")
  else
    assert(same(expected, json.decode(out)), out)
    assert(model(out), out)
  end
end

describe("json_fields", function()
  it("agrees with RFC 8259 and lua-cjson, and splices what they read", function()
    local r, good = random.new(random.seed(11)), 0
    random.walk(r, 20000, function()
      local text = object(r, 1, r:int(6) - 1)
      if r:chance(0.6) then text = damaged(r, text) end
      local fields, expected = json_fields.find(text, NAMES), model(text)
      assert(not fields == not expected, text)
      if fields then
        good = good + 1
        check_places(text, fields, expected)
        check_splice(r, text, fields)
      end
    end)
    assert.is_true(good > 5000 and good < 19000)
  end)
end)
