-- Who can write into a Redis server, or has a file imported, can put any bytes under a question.
-- Lengths with a fraction in the head of such a value raised in the call that found it (Lua 5.4);
-- lengths near 2^63 in its pieces went around in a sum, so that the same piece was read for ever,
-- and a head and a tail longer than what they are taken of doubled it with each piece.
local json = require "unbusy.json"
local world = require "spec.support.world"

local good = world.good

local function value_of(body, pieces, lengths)
  return "\1" .. ("%015d"):format(300000)
    .. (lengths or ("%012d%012d"):format(#body, #pieces)) .. "a\n" .. body .. pieces
end

local function with_value(value)
  local w = world.new { script = { a = { good "new" } }, options = { cache = true, retry = false } }
  w.client.cache.get = function() return value, "fresh", 1 end
  return w
end

local CHUNK = json.encode { choices = { { index = 0, delta = { content = "x" } } } }
local HUGE = "9223372036854775807" -- 2^63 - 1

local function record(first, last, event, id, length, bytes)
  return ("0 %s %s %s %s %s\n%s"):format(first, last, event, id, length, bytes or "")
end

-- Reads some pieces: how many came, the longest of them, and the failure's code.
local function read(w)
  local stream, longest = w:stream(), 0
  for n = 1, 50 do
    local piece, _, code = stream:read()
    if not piece then return n - 1, longest, code end
    longest = math.max(longest, #piece.data)
  end
  stream:close()
  return 50, longest
end

describe("kept bytes that somebody made", function()
  it("with lengths that are no whole numbers are none", function()
    for _, lengths in ipairs { "0000000001.50000000000.5", "000000000100-00000000098",
      "-00000000098000000000100", "         1e0           1" } do
      local w = with_value(value_of("{}", "", lengths))
      assert.equal("new", w:chat().text)
      assert.equal("new", w:stream():reply().text)
    end
  end)

  it("with pieces that lead back to themselves are torn", function()
    local whole = good("x").body
    local first = record(0, 0, -1, -1, #CHUNK, CHUNK)
    for back = 40, 80 do -- as long as the record is itself
      local id = ("9223372036854775%03d"):format(807 - back + 2)
      local w = with_value(value_of(whole, first .. record(#CHUNK, 0, HUGE, id, 0)))
      local n, _, code = read(w)
      assert.same({ 1, "cut" }, { n, code })
    end
  end)

  it("with pieces that take more of the one before than it has are torn", function()
    local whole = good("x").body
    for _, huge in ipairs { HUGE, "1000" } do
      local pieces = { record(0, 0, -1, -1, #CHUNK, CHUNK) }
      for i = 2, 30 do pieces[i] = record(huge, huge, -1, -1, 0) end
      local n, longest, code = read(with_value(value_of(whole, table.concat(pieces))))
      assert.same({ 1, #CHUNK, "cut" }, { n, longest, code })
    end
  end)
end)
