-- Which questions are asked most: counting them, client:top, and what is kept of them.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local region = require "unbusy.region"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good = world.good

local function counting(options, script)
  options = options or {}
  options.cache = options.cache or { top = true }
  return world.new { script = { a = script or { good "hello" } }, options = options }
end

local function request(text, more)
  local out = { model = "m", messages = { { role = "user", content = text } } }
  for name, value in pairs(more or {}) do out[name] = value end
  return out
end

local function ask(w, text, times, more, given)
  for _ = 1, times or 1 do assert(w.client:chat(request(text, more), given)) end
end

local function words(list)
  local out = {}
  for i, e in ipairs(list) do
    out[i] = ("%s %.3g"):format(e.question or e.hash, e.count)
  end
  return table.concat(out, ", ")
end

describe("hot questions", function()
  guard.watch(before_each, after_each)

  it("are counted, whether the cache answers or a target", function()
    local w = counting { cache = { top = { show = true } } }
    ask(w, "one", 3)
    ask(w, "two", 2)
    ask(w, "three", 5)
    local top = w.client:top(20, { show = true })
    assert.equal("three 5, one 3, two 2", words(top))
    assert.same({ "chat", "m" }, { top[1].kind, top[1].model })
    assert.equal("three", top[1].request.messages[1].content)
    assert.equal("three 5, one 3", words(w.client:top(2, { show = true })))
  end)

  it("count half after a half-life", function()
    local w = counting { cache = { top = { show = true, half_life = 100 } } }
    w.loop.run(function()
      ask(w, "old", 8)
      w.loop.sleep(200)
      ask(w, "new", 3)
      local top = w.client:top(20, { show = true })
      assert.equal("new", top[1].question)
      assert.is_true(math.abs(top[2].count - 2) < 0.1)
      w.loop.sleep(2000)
      assert.same({}, w.client:top()) -- nobody has asked for long
    end)
  end)

  it("have a hash, and nothing else to be read, unless it is allowed", function()
    local w = counting()
    ask(w, "a secret", 3)
    local top = w.client:top()
    assert.equal(1, #top)
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x$", top[1].hash)
    assert.is_nil(json.encode(top):find "secret")
    assert.is_nil(json.encode(w.client:status()):find "secret")
    local ok, message = pcall(function() w.client:top(5, { show = true }) end)
    assert.is_false(ok)
    assert.matches("hot_spec%.lua:%d+: top: the questions may not be shown", message)
  end)

  it("are not kept before they came twice", function()
    local w = counting { cache = { top = { show = true } } }
    ask(w, "once")
    local top = w.client:top(20, { show = true })
    assert.same({ 1, 0 }, { top[1].count, top[1].error })
    assert.is_nil(top[1].question)
    assert.is_nil(top[1].model)
    ask(w, "once")
    assert.equal("once", w.client:top(20, { show = true })[1].question)
  end)

  it("are kept without who asked, and how", function()
    local path = os.tmpname()
    local w = counting { cache = { top = { show = true }, bytes = 100000, entries = 10 },
      region = { path = path } }
    ask(w, "hi", 3, { user = "u-4711", safety_identifier = "s-4711", stream_options = {} })
    local kept = w.client:top(1, { show = true })[1].request
    assert.same(request "hi", kept)
    local file = assert(io.open(path, "rb"))
    assert.is_nil(file:read("*a"):find "4711")
    file:close()
    w.client:close()
    os.remove(path)
  end)

  it("are not kept where answers are kept apart by who asks", function()
    local w = counting { cache = { per = "user", top = { show = true } } }
    ask(w, "q", 3, { user = "u1" })
    ask(w, "q", 2, { user = "u2" })
    ask(w, "q", 2) -- who does not say who it is takes no part
    local top = w.client:top(20, { show = true })
    assert.same({ 3, 2 }, { top[1].count, top[2].count })
    assert.is_nil(top[1].question)
    assert.same({ asked = 0, fresh = 0, failures = {} }, w.client:warm(20))
  end)

  it("are not kept of a call for one tenant: asked for nobody, they are others", function()
    local w = counting { cache = { top = { show = true } } }
    ask(w, "q", 3, nil, { tenant = "t1" })
    ask(w, "r", 2)
    local top = w.client:top(20, { show = true })
    assert.same({ 3, 2 }, { top[1].count, top[2].count })
    assert.same({ nil, "r" }, { top[1].question, top[2].question })
    assert.same({ asked = 0, fresh = 1, failures = {} }, w.client:warm(20))
  end)

  it("are what the policy takes for one question", function()
    local w = counting { cache = { top = { show = true } }, policy = {
      normalise = function(r)
        r.messages[1].content = r.messages[1].content:lower():gsub("%W", "")
        return r
      end } }
    ask(w, "How late is it?", 2)
    ask(w, "how late is it", 2)
    local top = w.client:top(20, { show = true })
    assert.equal("How late is it? 4", words(top))
  end)

  it("are of every kind that is cached", function()
    local w = counting({ cache = { top = { show = true } } }, function(r)
      if not r.url:find "embeddings" then return good "hello" end
      return { status = 200, body = '{"object":"list","data":[{"embedding":[1]}],"model":"m"}' }
    end)
    for _ = 1, 2 do
      assert(w.client:embed { model = "m", input = "words" })
      assert(w.client:complete { model = "m", prompt = "once upon" } or true)
    end
    local kinds = {}
    for _, e in ipairs(w.client:top(20, { show = true })) do kinds[e.kind] = e.question end
    assert.same({ embed = "words", complete = "once upon" }, kinds)
  end)

  it("that take no part in the cache are not counted", function()
    local w = counting()
    ask(w, "x", 2, { temperature = 2 })
    ask(w, "x", 2, nil, { cache = false })
    assert.same({}, w.client:top())
  end)

  it("that are too long are counted, and not kept", function()
    local w = counting { cache = { top = { show = true, question_bytes = 256 } } }
    ask(w, ("long "):rep(100), 3)
    local top = w.client:top(20, { show = true })
    assert.equal(3, top[1].count)
    assert.is_nil(top[1].question)
  end)

  it("cost nothing where nobody wants them", function()
    local w = world.new { script = { a = { good "x" } }, options = { cache = true } }
    ask(w, "x", 2)
    assert.is_nil(w.client.hot)
    assert.is_nil(w.client:status().top)
    local ok, message = pcall(function() w.client:top() end)
    assert.is_false(ok)
    assert.matches("hot_spec%.lua:%d+: top: nothing is counted: the option cache%.top is off",
      message)
  end)

  it("are asked for in numbers above 0", function()
    local w = counting()
    for _, wrong in ipairs { 0, -1, 0.5, "x", {}, 0 / 0, math.huge, false } do
      local ok, message = pcall(function() w.client:top(wrong) end)
      assert.is_false(ok)
      assert.matches("hot_spec%.lua:%d+: top: a whole number above 0", message)
    end
    assert.has_error(function() w.client:top(5, { shwo = true }) end)
    w.client:close()
    assert.same({ nil, "the client is closed", "closed" }, { w.client:top() })
  end)

  it("are counted by all processes of a region, apart from clients of other servers", function()
    local r = assert(region.new { bytes = 16 * 1024 * 1024 })
    local o = { region = r, cache = { bytes = 100000, entries = 10, top = { show = true } } }
    local one, two = counting(o), counting(o)
    local other = world.new { script = { b = { good "x" } }, options = o }
    ask(one, "q", 2)
    ask(two, "q", 3)
    ask(other, "q", 7)
    assert.equal("q 5", words(one.client:top(20, { show = true })))
    assert.equal("q 5", words(two.client:top(20, { show = true })))
    assert.equal("q 7", words(other.client:top(20, { show = true })))
    for _, w in ipairs { one, two, other } do w.client:close() end
    r:close()
  end)

  it("show how many there are in the status", function()
    local w = counting { cache = { top = { counters = 10 } } }
    for i = 1, 30 do ask(w, "q" .. i) end
    local s = w.client:status().top
    assert.same({ 10, 10, false, 3600 }, { s.counters, s.used, s.shows, s.half_life })
    assert.is_true(math.abs(s.asked - 30) < 0.5)
  end)

  it("have their options", function()
    for _, wrong in ipairs { { counters = 5 }, { half_life = 0 }, { question_bytes = 10 },
      { sow = true }, { show = "yes" } } do
      local ok, message = pcall(unbusy.new, { targets = { { name = "a", url = "http://a.test" } },
        cache = { top = wrong } })
      assert.is_false(ok)
      assert.matches("cache%.top", message)
    end
  end)
end)
