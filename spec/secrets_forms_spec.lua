-- The forms in which a secret is found, against random secrets and surroundings.
local core = require "unbusy.core"
local leaks = require "spec.support.leaks"
local random = require "spec.support.random"
local secrets = require "unbusy.secrets"

local seed = random.seed(1)

-- Base64 by the book: all bits in a row, six at a time.
local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local function base64(s)
  local bits = s:gsub(".", function(c)
    local n, out = c:byte(), ""
    for power = 7, 0, -1 do out = out .. math.floor(n / 2 ^ power) % 2 end
    return (out:gsub("%.0", ""))
  end)
  bits = bits .. ("0"):rep(-#bits % 6)
  local text = bits:gsub("%d%d%d%d%d%d", function(six)
    local digit = tonumber(six, 2) + 1
    return DIGITS:sub(digit, digit)
  end)
  return text .. ("="):rep(-#text % 4)
end

local function random_text(least, most)
  local out = {}
  for i = 1, math.random(least, most) do out[i] = string.char(math.random(33, 126)) end
  return table.concat(out)
end

describe("the forms of a secret", function()
  it("by the book, for the book's examples", function()
    assert.same({ "Zg==", "Zm8=", "Zm9v", "Zm9vYmFy" },
      { base64 "f", base64 "fo", base64 "foo", base64 "foobar" })
  end)

  it("are found wherever they stand", function()
    math.randomseed(seed)
    for _ = 1, 2000 do
      local secret = random_text(12, 40)
      local hide = secrets.new({ secret, random_text(4, 8) }).hide
      local before, behind = random_text(0, 7), random_text(0, 7)
      local text = hide(before .. secret .. behind)
      assert(not leaks.part(text, secret), "seed " .. seed)
      -- of base64, what lies whole within the secret; a group that is shared may stay
      text = hide("x " .. base64(before .. secret .. behind))
      local inner = base64(before .. secret .. behind):sub(
        math.ceil(#before * 4 / 3) + 2, math.floor((#before + #secret) * 4 / 3) - 4)
      assert(not text:find(inner, 1, true), "seed " .. seed)
      assert(not leaks.part(text, inner), "seed " .. seed)
    end
  end)

  it("leave alone what holds none of them", function()
    math.randomseed(seed)
    for _ = 1, 2000 do
      local secret, text = random_text(8, 40), random_text(0, 100)
      if not leaks.part(text, secret) then
        assert.equal(text, secrets.new({ secret }).hide(text), "seed " .. seed)
      end
    end
    assert.equal("abc", secrets.new({}).hide "abc")
    assert.equal("abc", secrets.new({ "" }).hide "abc")
  end)

  it("change headers only where one of them stands", function()
    local headers = { a = "one", b = "two secret-1 three", c = "secret" }
    secrets.new({ "secret-1" }).hide_headers(headers)
    assert.same({ a = "one", b = "two *** three", c = "***" }, headers)
    headers = { c = "secret" }
    secrets.new({ "secret-1" }).hide_headers(headers)
    assert.same({ c = "secret" }, headers)
  end)

  it("are looked for in C, in texts of any kind", function()
    local known = core.secrets { "secret", "", "a\0b" }
    assert.is_true(known:found { "x", y = "my secrets" })
    assert.is_true(known:found { "\0a\0b" })
    for _, texts in ipairs { {}, { "secre" }, { "" }, { "ab" }, { 5, true, print, {} } } do
      assert.is_false(known:found(texts))
    end
    assert.is_false(core.secrets({}):found { "x" })
    for _, wrong in ipairs { { 5 }, { "x", false } } do
      assert.is_false((pcall(core.secrets, wrong)))
    end
    assert.is_false((pcall(known.found, known, "secret")))
    assert.is_false((pcall(known.found, {}, {})))
  end)

  it("are those of keys, of headers and their long words, and of a proxy's URL", function()
    local function of(t)
      local list = secrets.of_target(t)
      table.sort(list)
      return list
    end
    assert.same({ "12345678", "Bearer 12345678", "k1", "k2" },
      of { keys = { "k1", "k2" }, headers = { A = "Bearer 12345678", B = "on" } })
    for _, url in ipairs { "http://u:p@ss@h:1", "u:p@ss@h", "socks5h://u:p@ss@h" } do
      assert.same({ "p@ss", "u:p@ss" }, of { keys = {}, headers = {}, proxy = url })
    end
    assert.same({}, of { keys = {}, headers = {}, proxy = "" })
    assert.same({}, of { keys = {}, headers = {}, proxy = "http://h:1" })
  end)
end)
