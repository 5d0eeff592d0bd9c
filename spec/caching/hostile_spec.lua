-- Kept bytes that are not what was kept: of another version, torn, or nobody's.
local json = require "unbusy.json"
local random = require "spec.support.random"
local world = require "spec.support.world"

local good, words = world.good, world.words

-- A client whose cache gives what `level.value` says.
local function with_level(script)
  local w = world.new { script = { a = script }, options = { cache = true, retry = false } }
  local level = { state = "fresh", age = 1 }
  local near = w.client.cache
  local real = { get = near.get, set = near.set }
  function near.get(self, call, key)
    if level.value == nil then return real.get(self, call, key) end
    return level.value, level.state, level.age
  end
  function near.set(self, key, value, about)
    level.kept = value
    return real.set(self, key, value, about)
  end
  return w, level
end

local function request(text)
  return { messages = { { role = "user", content = text or "hi" } } }
end

describe("kept bytes", function()
  it("of another version, or nobody's, are none: the question is asked", function()
    local w, level = with_level { good "new" }
    for _, junk in ipairs { "", "a\n{}", 'a\n{"choices":[]}', "\1", "\0\0\0\0", "{}", "null",
      ("\1"):rep(1000), "\1" .. ("0"):rep(39) .. "a\n", "\2" .. ("0"):rep(39) .. "a\n" } do
      level.value = junk
      for _, state in ipairs { "fresh", "stale" } do
        level.state = state
        assert.same({ "upstream", "new" }, { w:chat().source, w:chat().text })
        assert.equal("new", w:stream():reply().text)
        assert.equal("upstream", w:chat({ max_stale = true }).source)
      end
    end
    w:assert_clean()
  end)

  it("that name a target in no text, or a long one, are none: failures would name it", function()
    local w, level = with_level { good "new" }
    w:chat()
    local kept, name = level.kept, level.kept:match "^[^\n]*":sub(41)
    for _, other in ipairs { "\255", "\27[2J", "a\0", "\195", ("n"):rep(65) } do
      level.value = kept:sub(1, 40) .. other .. kept:sub(41 + #name)
      assert.equal("upstream", w:chat().source)
    end
    for _, other in ipairs { "系统", ("n"):rep(64) } do
      level.value = kept:sub(1, 40) .. other .. kept:sub(41 + #name)
      assert.same({ "cache", other }, { w:chat().source, w:chat().target })
    end
  end)

  it("give no stale answer where nobody answers either", function()
    local w, level = with_level { world.status(503) }
    level.value = "\1" .. ("0"):rep(39) .. "a\n{}"
    assert.equal("busy", select(3, w:chat()))
  end)

  it("whose clock is wrong have an age all the same", function()
    local w, level = with_level { good "old" }
    w:chat()
    level.value = level.kept
    for _, age in ipairs { -5, 0, 0 / 0, 1e300 } do
      level.age = age
      local reply = w:chat()
      assert.equal("cache", reply.source)
      assert.is_true(reply.age >= 0)
    end
  end)

  it("with wrong bytes in them never raise and never hang", function()
    local r = random.new(random.seed(99))
    local w, level = with_level { words({ "one", " two", " three" }, 0.01) }
    w:stream():reply()
    local kept, whole, torn, others = assert(level.kept), 0, 0, 0
    for _ = 1, 3000 do
      local at = r:int(#kept)
      local bytes = r:pick { "", "\0", "0", "9", "\n", " ", "-", "{", '"', "99999999999999999999" }
      level.value = kept:sub(1, at - 1) .. bytes .. kept:sub(at + r:int(3) - 1)
      local stream = w:stream()
      local reply, _, code = stream:reply()
      if stream.source ~= "cache" then
        others = others + 1
      elseif reply then
        whole = whole + 1
        assert.is_string(reply.text or "")
        assert.is_truthy(json.encode(reply.body))
      else
        torn = torn + 1
        assert.equal("cut", code)
      end
    end
    assert.is_true(whole > 0 and torn > 0 and others > 0)
    w:assert_clean()
  end)

  it("of 1 MB are given again, under a question of as much", function()
    local text = ("0123456789abcdef"):rep(65536)
    local w = world.new { script = { a = { good(text) } }, options = { cache = true } }
    assert.equal("upstream", w.client:chat(request(text)).source)
    local again = w.client:chat(request(text))
    assert.equal("cache", again.source)
    assert.is_true(again.text == text)
    assert.equal("upstream", w.client:chat(request(text .. "0")).source)
  end)

  it("that are more than the cache takes are not kept, and nothing is lost by that", function()
    local w = world.new { script = { a = { good "short", good(("x"):rep(10000)), good "third" } },
      options = { cache = { bytes = 5000 }, retry = false } }
    w.client:chat(request())
    assert.equal(10000, #w.client:chat(request("long")).text)
    assert.equal("cache", w.client:chat(request()).source)
    assert.equal("third", w.client:chat(request("long")).text)
  end)

  it("that cannot be kept take no answer away", function()
    local w = with_level { good "hello", words { "a", "b" } }
    w.client.cache.set = function() error("no room", 0) end
    assert.equal("hello", w:chat().text)
    assert.equal("ab", w:stream():reply().text)
    w:assert_clean()
  end)
end)
