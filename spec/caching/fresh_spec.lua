-- How long an answer is given, to whom, and what happens behind it.
local canceller = require "unbusy.canceller"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status, words = world.good, world.status, world.words

local function cached(script, cache, more, targets)
  cache = cache or {}
  if cache.jitter == nil then cache.jitter = 0 end
  local options = { cache = cache, retry = false, breaker = false }
  for k, v in pairs(more or {}) do options[k] = v end
  return world.new { script = { a = script }, options = options, targets = targets }
end

local function sleep(w, seconds)
  w.loop.run(function() w.loop.sleep(seconds) end)
end

local function ask(w, text, given)
  return w.client:chat({ model = "m", messages = { { role = "user", content = text } } }, given)
end

describe("an answer's own time", function()
  -- For how many seconds each of so many answers was fresh.
  local function times(options, count, given)
    local w = cached({ good() }, options, { seed = 11 })
    local ttls = {}
    local set = w.client.cache.set
    w.client.cache.set = function(self, key, value, about)
      ttls[#ttls + 1] = about.ttl
      return set(self, key, value, about)
    end
    for i = 1, count do ask(w, "q" .. i, given) end
    return ttls
  end

  it("is shorter by chance, and never longer", function()
    local ttls = times({ ttl = 100, jitter = 0.2 }, 200)
    local least, most = math.huge, 0
    for _, ttl in ipairs(ttls) do least, most = math.min(least, ttl), math.max(most, ttl) end
    assert.is_true(least >= 80 and least < 84 and most <= 100 and most > 96)
    assert.same(ttls, times({ ttl = 100, jitter = 0.2 }, 200)) -- of one seed
  end)

  it("is what was said, where somebody has said it for this one", function()
    for _, ttl in ipairs(times({ ttl = 100, jitter = 0 }, 5)) do assert.equal(100, ttl) end
    for _, ttl in ipairs(times({ jitter = 1 }, 5, { cache = 7 })) do assert.equal(7, ttl) end
    local policy = { cache = function() return { ttl = 9 } end }
    for _, ttl in ipairs(times({ jitter = 1 }, 5, { policy = policy })) do assert.equal(9, ttl) end
  end)

  it("is 10 % shorter at most by default", function()
    local options = unbusy.new { targets = { { name = "a", url = "http://a" } }, cache = true }
    assert.equal(0.1, options.caching.jitter)
  end)
end)

describe("an answer that is no longer fresh", function()
  local OPTIONS = { ttl = 10, stale = 1000, revalidate = 60 }

  local function stale_world(script, more, cache)
    local o = {}
    for k, v in pairs(OPTIONS) do o[k] = v end
    for k, v in pairs(cache or {}) do o[k] = v end
    local w = cached(script, o, more)
    assert(w:chat())
    sleep(w, 20)
    return w
  end

  it("is given at once, while one call asks anew", function()
    local w = stale_world { good "old", good("new", 2) }
    local seen = {}
    w.loop.run(function()
      for i = 1, 5 do
        local reply = w:chat()
        seen[i] = reply.source .. " " .. reply.text
        assert.is_nil(reply.failure)
        assert.equal(0, reply.tries)
        assert.near(20 + (i - 1) * 0.1, reply.age, 0.2)
        w.loop.sleep(0.1)
      end
      w.loop.sleep(3)
    end)
    assert.same({ "stale old", "stale old", "stale old", "stale old", "stale old" }, seen)
    assert.equal(2, #w.log)
    local reply = w:chat()
    assert.same({ "cache", "new" }, { reply.source, reply.text })
    assert.is_nil(w:seen("cache")[1].code)
    w:assert_clean()
  end)

  it("is asked for behind everybody else, as a call of its own", function()
    local w = stale_world { good "old", good("new", 1) }
    local headers = { "openai-organization: o", "x-request-id: 7" }
    assert.equal("upstream", w:chat({ headers = headers, priority = "interactive" }).source)
    sleep(w, 20)
    w.loop.run(function()
      assert.equal("stale", w:chat({ headers = headers, priority = "interactive" }).source)
      w.loop.sleep(0.5)
      local c = assert(next(w.client.calls))
      assert.same({ "batch", 300 }, { c.options.priority, c.deadline - c.started })
      assert.is_nil(next(w.client.calls, c))
    end)
    assert.matches("openai%-organization: o", table.concat(w.log[3].request.headers, "\n"))
    w:assert_clean()
  end)

  it("stays for the next ones where that fails, and the question rests for a while", function()
    local w = stale_world { good "old", status(503), status(503), good "new" }
    local function chat() return w:chat().source end
    w.loop.run(function()
      assert.equal("stale", chat())
      w.loop.sleep(1)
      assert.equal(2, #w.log)
      for _ = 1, 10 do assert.equal("stale", chat()) end
      w.loop.sleep(1)
      assert.equal(2, #w.log)
      w.loop.sleep(5)
      assert.equal("stale", chat())
      w.loop.sleep(1)
      assert.equal(3, #w.log)
      w.loop.sleep(5)
      assert.equal("stale", chat())
      w.loop.sleep(1)
    end)
    assert.equal("new", w:chat().text)
    w:assert_clean()
  end)

  it("is not replaced by a weak, partial or foreign one", function()
    local short = { status = 200, body = '{"choices":[{"index":0,"finish_reason":"length",'
      .. '"message":{"role":"assistant","content":"ne"}}]}' }
    local w = stale_world { good "old", short }
    w.loop.run(function() w:chat() w.loop.sleep(1) end)
    assert.equal(2, #w.log)
    assert.same({ "stale", "old" }, { w:chat().source, w:chat().text })
    w = stale_world({ good "old", status(503) }, { fallback = { "sorry" } })
    w.loop.run(function() w:chat() w.loop.sleep(1) end)
    assert.same({ "stale", "old" }, { w:chat().source, w:chat().text })
  end)

  it("is not given at once beyond that time, nor to who wants none", function()
    local w = stale_world { good "old", good "new" }
    assert.equal("upstream", w:chat({ stale = false }).source)
    w = stale_world { good "old", good "new" }
    assert.equal("upstream", w:chat({ stale = 15 }).source)
    w = stale_world { good "old", good "new" }
    assert.equal("upstream", w:chat({ cache = "refresh" }).source)
    w = stale_world { good "old", good "new" }
    sleep(w, 49)
    assert.equal("stale", w:chat().source)
    w = stale_world { good "old", good "new" }
    sleep(w, 51)
    assert.equal("upstream", w:chat().source)
    w = stale_world({ good "old", good "new" }, nil, { revalidate = 0 })
    assert.equal("upstream", w:chat().source)
  end)

  it("is streamed too", function()
    local w = cached(function(request, n)
      local text = n == 1 and "old" or "new"
      if not request.body:find('"stream":true', 1, true) then return good(text) end
      return words { text:sub(1, 2), text:sub(3) }
    end, OPTIONS)
    w:stream():reply()
    sleep(w, 20)
    w.loop.run(function()
      local stream = w:stream()
      assert.same({ "stale", "old" }, { stream.source, stream:reply().text })
      w.loop.sleep(2)
      stream = w:stream()
      local n = 0
      for _ in stream:pieces() do n = n + 1 end
      assert.same({ "cache", "new", 4 }, { stream.source, stream:reply().text, n })
    end)
    w:assert_clean()
  end)

  it("is asked for whatever its caller does meanwhile", function()
    local w = stale_world { good "old", good("new", 2) }
    local request = { messages = { { role = "user", content = "hi" } } }
    w.loop.run(function()
      local cancel = canceller.new()
      assert.equal("stale", w.client:chat(request, { cancel = cancel, deadline = 0.5 }).source)
      request.messages[1].content = "something else"
      cancel:cancel()
      w.loop.sleep(3)
    end)
    assert.same({ "cache", "new" }, { w:chat().source, w:chat().text })
    assert.equal("upstream", w.client:chat(request).source)
    w:assert_clean()
  end)

  it("is not asked for any more once the client is closed", function()
    local w = stale_world { good "old", good("new", 2) }
    w.loop.run(function()
      assert.equal("stale", w:chat().source)
      w.loop.sleep(1)
      w.client:close()
      w.loop.sleep(0.1)
      assert.equal(0, w.client:status().active)
    end)
    assert.is_true(w.log[2].exchange.closed)
  end)

  it("of many questions is asked for no more than 16 times at once", function()
    local w = cached({ good("x", 0.1) }, OPTIONS)
    for i = 1, 40 do ask(w, "q" .. i) end
    sleep(w, 20)
    w.most_open = 0
    w.loop.run(function()
      for i = 1, 40 do assert.equal("stale", ask(w, "q" .. i).source) end
      w.loop.sleep(1)
    end)
    assert.equal(16, w.most_open)
    assert.equal(56, #w.log)
    w:assert_clean()
  end)

  it("is asked for by a host that runs for one call only", function()
    local w = stale_world { good "old", good "new" }
    assert.equal("stale", w:chat().source) -- outside of any loop
    sleep(w, 1)
    assert.equal("new", w:chat().text)
  end)

  it("cannot be given at once for longer than it is there", function()
    local ok, message = pcall(function()
      unbusy.new { targets = { { name = "a", url = "http://a" } },
        cache = { stale = 10, revalidate = 11 } }
    end)
    assert.is_false(ok)
    assert.matches("fresh_spec.lua:%d+: unbusy: cache.revalidate: at most `stale` %(10%)", message)
  end)
end)

describe("when nobody answers", function()
  local LONG = { ttl = 10, stale = 1000 }

  local function old_after(answer, more, given)
    local w = cached({ good "old", answer }, LONG, more)
    w:chat()
    sleep(w, 20)
    local reply, _, code = w:chat(given)
    return reply and reply.source .. " " .. reply.failure.code or code
  end

  it("the last good answer is there, whatever went wrong", function()
    for name, answer in pairs { busy = status(503), limited = status(429), upstream = status(500),
      quota = status(402), auth = status(401), network = { fail = "network", message = "reset" },
      timeout = { status = 200, hang = 1000, body = "" } } do
      assert.equal("stale " .. name, old_after(answer))
    end
    assert.equal("stale upstream", old_after(status(502)))
    assert.equal("stale upstream", old_after(status(504)))
    assert.equal("stale timeout", old_after(good("new", 50), nil, { deadline = 5 }))
    assert.equal("invalid", old_after(status(400)))
    assert.equal("invalid", old_after(status(422)))
  end)

  it("so it is while a breaker is open or no place is free", function()
    local w = cached({ good "old", status(503) }, LONG, { breaker = { min_calls = 2, open_for = 600,
      on_open = "fail" } })
    w:chat()
    sleep(w, 20)
    local codes = {}
    for i = 1, 4 do codes[i] = w:chat().failure.code end
    assert.equal("open", codes[4])
    w = cached({ good "old", good("x", 100) }, LONG, { queue = { max_wait = 1 },
      limiter = { kind = "fixed", initial = 1 } })
    ask(w, "x")
    sleep(w, 20)
    w.loop.run(function()
      w.loop.spawn(function() ask(w, "other") end)
      w.loop.sleep(0.1)
      local reply = ask(w, "x")
      assert.same({ "stale", "full" }, { reply.source, reply.failure.code })
    end)
  end)

  it("a caller that has left, or closed the client, gets none", function()
    local w = cached({ good "old", good("x", 10) }, LONG)
    w:chat()
    sleep(w, 20)
    local cancel, code = canceller.new(), nil
    w.loop.run(function()
      w.loop.spawn(function() code = select(3, w:chat { cancel = cancel }) end)
      w.loop.sleep(1)
      cancel:cancel()
    end)
    assert.equal("cancelled", code)
  end)
end)

describe("a call may say", function()
  local function at_20(given, script)
    local w = cached(script or { good "old", good "new" }, { ttl = 10, stale = 1000 })
    w:chat()
    sleep(w, 20)
    return w:chat(given), w
  end

  it("max_age: nothing older", function()
    local w = cached { good "old", good "new" }
    w:chat()
    sleep(w, 20)
    assert.equal("cache", w:chat({ max_age = 20.1 }).source)
    assert.equal("upstream", w:chat({ max_age = 19 }).source)
    assert.same({ "cache", "new" }, { w:chat({ max_age = 5 }).source, w:chat().text })
    w = cached { good "one", good "two" }
    w:chat()
    sleep(w, 0.1)
    assert.equal("two", w:chat({ max_age = 0 }).text)
  end)

  it("max_stale: one that is no longer fresh will do", function()
    local reply, w = at_20 { max_stale = true }
    assert.same({ "stale", "old" }, { reply.source, reply.text })
    sleep(w, 2)
    assert.equal(1, #w.log) -- nobody asks anew without `revalidate`
    assert.equal("stale", at_20({ max_stale = 10.5 }).source)
    assert.equal("stale", at_20({ max_stale = 10.5, stale = false }).source)
    assert.equal("upstream", at_20({ max_stale = 9 }).source)
    assert.equal("upstream", at_20({ max_stale = true, max_age = 15 }).source)
    assert.equal("upstream", at_20({ max_stale = 0 }).source)
  end)

  it("only_cached: nobody is asked", function()
    local w = cached { good "old", good "new" }
    local function code(given) return select(3, w:chat(given)) end
    assert.equal("invalid", code { only_cached = true })
    assert.is_true(select(4, w:chat { only_cached = true }).only_cached)
    w:chat()
    assert.equal("cache", w:chat({ only_cached = true }).source)
    assert.equal("invalid", code { only_cached = true, cache = false })
    assert.equal("invalid", code { only_cached = true, cache = "refresh" })
    assert.equal("invalid", select(3, w.client:post("/x", {}, { only_cached = true })))
    sleep(w, 400)
    assert.equal("invalid", code { only_cached = true })
    assert.equal("stale", w:chat({ only_cached = true, max_stale = true }).source)
    assert.equal(1, #w.log)
    w:assert_clean()
    local without = world.new { script = { a = { good() } } }
    local ok, message = pcall(without.chat, without, { only_cached = true })
    assert.is_false(ok)
    assert.matches("only_cached: the client has no cache", message)
  end)

  it("tags, under which its answer can be found", function()
    local w = cached({ good() }, nil, { policy = { cache = function()
      return { ttl = 5, tags = { "faq" } }
    end } })
    local seen
    local set = w.client.cache.set
    w.client.cache.set = function(self, key, value, about)
      seen = about.tags
      return set(self, key, value, about)
    end
    ask(w, "a", { cache_tags = { "one", "two" } })
    assert.same({ "target:a", "model:m", "one", "two", "faq" }, seen)
    ask(w, "b", { cache = true })
    assert.same({ "target:a", "model:m" }, seen)
    w.client:chat { messages = { { role = "user", content = "c" } } }
    assert.same({ "target:a", "model:m", "faq" }, seen) -- as the answer says
    w.client:chat { model = ("x"):rep(100), messages = { { role = "user", content = "d" } } }
    assert.same({ "target:a", ("model:" .. ("x"):rep(100)):sub(1, 64), "model:m", "faq" }, seen)
    for _, wrong in ipairs { { "" }, { ("x"):rep(65) }, { "a\n" }, { 5 }, { "a", x = 1 },
      { "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11" } } do
      local ok, message = pcall(ask, w, "e", { cache_tags = wrong })
      assert.is_false(ok)
      assert.matches("chat: cache_tags", message)
    end
  end)
end)

describe("what cannot be", function()
  it("is refused where a call says it", function()
    local w = cached { good() }
    for told, given in pairs { ["max_age: a number at least 0"] = { max_age = -1 },
      ["max_age: number expected"] = { max_age = "1" },
      ["max_stale: a number at least 0"] = { max_stale = -1 },
      ["max_stale: boolean or number expected"] = { max_stale = "x" },
      ["only_cached: boolean expected"] = { only_cached = 1 },
      ["tenant: string expected"] = { tenant = 5 },
      ["cache_tags: list expected"] = { cache_tags = "x" },
      ["did you mean 'max_stale'"] = { max_stael = 1 } } do
      local ok, message = pcall(function() w:chat(given) end)
      assert.is_false(ok)
      assert.is_truthy(message:find(told, 1, true), message)
    end
    assert.equal(0, #w.log)
  end)

  it("is refused where a client says it", function()
    for told, option in pairs { ["cache.jitter: a number at most 1"] = { jitter = 1.5 },
      ["cache.jitter: a number at least 0"] = { jitter = -0.1 },
      ["cache.revalidate: a number at least 0"] = { revalidate = -1 },
      ["cache.replay: a number above 0"] = { replay = 0 },
      ["cache.replay: a number at most 1000"] = { replay = math.huge },
      ["cache.replay: boolean or number expected"] = { replay = "paced" } } do
      local ok, message = pcall(cached, { good() }, option)
      assert.is_false(ok)
      assert.is_truthy(message:find(told, 1, true), message)
    end
  end)
end)

describe("answers are purged", function()
  it("by what the call and the policy call them, by target and by model", function()
    local w = world.new { script = { a = { good() }, b = { good() } },
      options = { cache = { jitter = 0 }, retry = false } }
    local function fill()
      ask(w, "1", { target = "a", cache_tags = { "news" } })
      ask(w, "2", { target = "b", cache_tags = { "news", "sport" } })
      w.client:chat({ model = "big", messages = { { role = "user", content = "3" } } })
    end
    for tag, expected in pairs { news = 2, sport = 1, ["target:b"] = 1, ["target:a"] = 2,
      ["model:m"] = 3, ["model:big"] = 1, other = 0, ["target:"] = 0 } do
      fill()
      local entries = w.client:status().cache.entries
      assert.equal(expected, w.client.cache:purge(tag), tag)
      assert.equal(entries - expected, w.client:status().cache.entries)
    end
    fill()
    w.client.cache:purge "sport"
    assert.equal("upstream", ask(w, "2", { target = "b" }).source)
    assert.equal("cache", ask(w, "1", { target = "a" }).source)
  end)
end)

describe("a policy may let more be kept:", function()
  local function answer(choices)
    return { status = 200, body = require("unbusy.json").encode { choices = choices } }
  end

  local function choice(i, message, finish)
    return { index = i, finish_reason = finish or "stop", message = message }
  end

  local function is_kept(said, reply, more)
    local w = cached({ reply }, nil, { policy = { cache = function() return said end } })
    for _ = 1, 2 do
      local request = { messages = { { role = "user", content = "x" } } }
      for k, v in pairs(more or {}) do request[k] = v end
      assert(w.client:chat(request))
    end
    return #w.log == 1
  end

  local tool = { content = "", tool_calls = { { id = "1", type = "function",
    ["function"] = { name = "f", arguments = "{}" } } } }

  it("several choices, all of them whole", function()
    local a, b = { content = "a" }, { content = "b" }
    assert.is_true(is_kept(true, answer { choice(0, a), choice(1, b) }, { n = 2 }))
    assert.is_false(is_kept(nil, answer { choice(0, a), choice(1, b) }, { n = 2 }))
    assert.is_false(is_kept(true, answer { choice(0, a) }, { n = 2 }))
    assert.is_false(is_kept(true, answer { choice(0, a), choice(1, b, "length") }, { n = 2 }))
    assert.is_false(is_kept(true, answer { choice(0, a), choice(1, { content = "" }) }, { n = 2 }))
    assert.is_false(is_kept(true, answer { choice(0, a), choice(1, b) }))
  end)

  it("calls of tools, where it says so", function()
    assert.is_true(is_kept({ tools = true }, answer { choice(0, tool, "tool_calls") }))
    assert.is_true(is_kept({ tools = true, ttl = 5 }, answer { choice(0, { content = "a" }) }))
    assert.is_false(is_kept({ tools = true }, answer { choice(0, tool, "length") }))
    assert.is_false(is_kept({ tools = false }, answer { choice(0, tool, "tool_calls") }))
    assert.is_false(is_kept(true, answer { choice(0, tool, "tool_calls") }))
    assert.is_false(is_kept({ tags = { "a" } }, answer { choice(0, tool, "tool_calls") }))
  end)

  it("but nothing that was cut or filtered", function()
    for _, said in ipairs { true, 60, { tools = true } } do
      assert.is_false(is_kept(said, answer { choice(0, { content = "a" }, "length") }))
      assert.is_false(is_kept(said, answer { choice(0, { content = "a" }, "content_filter") }))
      assert.is_false(is_kept(said, answer { choice(0, { content = "a", refusal = "no" }) }))
    end
  end)
end)

describe("a clock that jumps", function()
  -- A client whose loop's clock can be set.
  local function at(time)
    local w = cached({ good "old", good "new" }, { ttl = 10, stale = 100, revalidate = 5 })
    local clock = { now = time }
    local near = require("unbusy.cache").new { ttl = 10, stale = 100,
      clock = function() return clock.now end }
    w.client.cache.near = near
    return w, clock
  end

  it("back makes no answer older than it is, nor fresh for ever", function()
    local w, clock = at(1000)
    w:chat()
    clock.now = 10
    local reply = w:chat()
    assert.same({ "cache", 0 }, { reply.source, reply.age })
    clock.now = 1011
    assert.equal("stale", w:chat().source)
  end)

  it("on makes it gone, and no more", function()
    local w, clock = at(1000)
    w:chat()
    clock.now = 1e9
    assert.same({ "upstream", "new" }, { w:chat().source, w:chat().text })
  end)
end)
