--- Any bytes as JSON: read or refused with a place, never raised for. What is read can be written
--- and reads back the same.
local contract = require "spec.fuzz.contract"
local json = require "unbusy.json"

local target = {}

target.words = { "[]", "[ ]", "{}", "{", "}", "[", "]", ",", ":", '"', "\\", '"a"', "null",
  "true", "false", "0", "-1", "1e999", "-1e400", "1e300", "0.1", "9007199254740993",
  "123456789012345678901", "-8.76543211234e-301", '"unbusy: an empty array"', "\\u0000",
  "\\ud83d", "\\ude00", "\239\187\191", "\255", "\195", "\0", "NaN", "Infinity", "0x1p4",
  "[[[[[[[[", "]]]]]]]]", " ", "\n", "系统繁忙" }

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b or a ~= a and b ~= b end
  if json.is_array(a) ~= json.is_array(b) then return false end
  for k, v in next, a do
    if not same(v, b[k]) then return false end
  end
  for k in next, b do
    if a[k] == nil then return false end
  end
  return true
end

function target.check(input)
  local value, message = json.decode(input)
  if value == nil then
    contract.line(message)
    assert(message:find "^not JSON" or message == "JSON nested deeper than 128", message)
    return (message:gsub("%d+", "0"))
  end
  local text, why = json.encode(value)
  if not text then -- cut text, or a number that is none in JSON
    contract.line(why)
    return (why:gsub("%w+%b[]", "x"):match "[^:]*$")
  end
  local again = json.decode(text)
  assert(same(value, again), "reads back as something else: " .. text)
  return contract.kind(value)
end

return target
