local core = require "unbusy.core"

local function bytes(hex)
  return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

local KEY = bytes "000102030405060708090a0b0c0d0e0f"

-- What the authors' reference gives for the key above and the bytes 0, 1, 2, … n - 1.
local known = {
  [0] = "a3817f04ba25a8e66df67214c7550293",
  [1] = "da87c1d86b99af44347659119b22fc45",
  [7] = "a1f1ebbed8dbc153c0b84aa61ff08239",
  [8] = "3b62a9ba6258f5610f83e264f31497b4",
  [9] = "264499060ad9baabc47f8b02bb6d71ed",
  [15] = "5493e99933b0a8117e08ec0f97cfc3d9",
  [16] = "6ee2a4ca67b054bbfd3315bf85230577",
  [31] = "2939b0183223fafc1723de4f52c43d35",
  [51] = "5fe2c1a172fe93c4b15cd37caef9f538",
  [64] = "1eaf077dc0d4cd3f8cad4d383658a74b",
  [255] = "1c9bb67528165f8e468248e3799b0eab",
  [256] = "67a00304d3834c4612eaee7b5f579acb",
}

local function counted(n)
  local out = {}
  for i = 1, n do out[i] = string.char(i - 1) end
  return table.concat(out)
end

describe("the keyed hash", function()
  it("is SipHash-2-4 with 128 bits", function()
    for n, hex in pairs(known) do assert.equal(bytes(hex), core.sip(counted(n), KEY), n) end
  end)

  it("is another one under each key", function()
    assert.is_true(core.sip("a", KEY) ~= core.sip("a", KEY:reverse()))
  end)

  it("takes a key of 16 bytes only", function()
    for _, key in ipairs { "", KEY .. "x", KEY:sub(2) } do
      assert.has_error(function() core.sip("a", key) end,
        "bad argument #2 to 'sip' (a key of 16 bytes expected)")
    end
  end)
end)
