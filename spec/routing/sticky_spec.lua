-- Calls that belong together go to the same target.
local json = require "unbusy.json"
local world = require "spec.support.world"

local good = world.good

local NAMES = { "a", "b", "c", "d" }

local function new(options, targets, script)
  if not script then
    script = {}
    for _, name in ipairs(NAMES) do script[name] = { good("", 0.001) } end
  end
  return world.new { script = script, options = options, targets = targets }
end

local function ask(w, request, options)
  return assert(w.client:chat(request, options)).target
end

local function said(text, more)
  local messages = { { role = "system", content = "You help." }, { role = "user", content = text } }
  for _, m in ipairs(more or {}) do messages[#messages + 1] = m end
  return { messages = messages }
end

local function target(w, name)
  for _, t in ipairs(w.client.targets) do
    if t.name == name then return t end
  end
end

describe("sticky routing by prefix", function()
  local options = { route = { sticky = "prefix" }, limiter = false }

  it("keeps a conversation where it began", function()
    local w = new(options)
    local used = {}
    for i = 1, 40 do
      local first = ask(w, said("question " .. i))
      used[first] = (used[first] or 0) + 1
      local more = {}
      for turn = 1, 3 do
        more[#more + 1] = { role = "assistant", content = "answer " .. turn }
        more[#more + 1] = { role = "user", content = "and " .. turn }
        assert.equal(first, ask(w, said("question " .. i, more)))
      end
    end
    for _, name in ipairs(NAMES) do assert.is_true((used[name] or 0) >= 3) end
  end)

  it("takes note of the model, the tools, the roles and parts of content", function()
    local w = new(options)
    local function spread(make)
      local seen, n = {}, 0
      for i = 1, 30 do
        local name = ask(w, make(i))
        assert.equal(name, ask(w, make(i)))
        if not seen[name] then seen[name], n = true, n + 1 end
      end
      return n
    end
    local user = { role = "user", content = "hi" }
    assert.is_true(spread(function(i) return { model = "m" .. i, messages = { user } } end) > 2)
    assert.is_true(spread(function(i)
      return { messages = { user }, tools = { { type = "function", name = "f" .. i } } }
    end) > 2)
    assert.is_true(spread(function(i)
      return { messages = { { role = "user", content = { { type = "text", text = "t" .. i } } } } }
    end) > 2)
    assert.is_true(spread(function(i)
      return { messages = { { role = "system", content = "a" }, { role = "system",
        content = "b" .. i }, user } }
    end) > 2)
    assert.equal(1, spread(function(i)
      return { messages = { user, { role = "assistant", content = "x" .. i } } }
    end))
  end)

  it("serves completions and responses, and leaves the rest to the balance", function()
    local w = new(options)
    local function homes(of)
      local seen, n = {}, 0
      for i = 1, 30 do
        local name = of(i)
        assert.equal(name, of(i))
        if not seen[name] then seen[name], n = true, n + 1 end
      end
      return n
    end
    w.script.a, w.script.b, w.script.c, w.script.d = nil, nil, nil, nil
    local function any(request)
      local body = json.decode(request.body)
      if body.prompt then
        return { status = 200, body = json.encode { object = "text_completion", choices = { {
          index = 0, text = "x", finish_reason = "stop" } } } }
      elseif body.messages then
        return good("", 0.001)
      end
      return { status = 200, body = '{"object":"response","status":"completed","output":[{"type":'
        .. '"message","role":"assistant","content":[{"type":"output_text","text":"x"}]}]}' }
    end
    for _, name in ipairs(NAMES) do w.script[name] = any end
    assert.is_true(homes(function(i)
      return assert(w.client:complete { prompt = "p" .. i }).target
    end) > 2)
    assert.is_true(homes(function(i)
      return assert(w.client:responses { input = "p" .. i }).target
    end) > 2)
    assert.is_true(homes(function(i)
      return assert(w.client:responses { input = { { role = "user", content = "p" .. i } } }).target
    end) > 2)
    assert.equal(1, homes(function(i)
      return assert(w.client:post("/other", { n = i })).target
    end))
  end)

  it("what is no message is left to the balance, and to whoever encodes it", function()
    local w = new(options)
    assert.equal("a", ask(w, { messages = { "text" } }))
    assert.equal("a", ask(w, { messages = { { role = "user", content = json.null } } })
      and "a")
    local reply, _, code = w.client:chat { messages = { { role = "user", content = print } } }
    assert.is_nil(reply)
    assert.equal("invalid", code)
  end)

  it("moves no conversation but those of a target that is out, and takes these back", function()
    local w = new(options)
    local N, home, moved = 400, {}, 0
    for i = 1, N do home[i] = ask(w, said("q" .. i)) end
    target(w, "b").breaker:force("open", 100)
    target(w, "b"):admit(nil, w:now()) -- which finds that
    for i = 1, N do
      local now = ask(w, said("q" .. i))
      if now ~= home[i] then
        assert.equal("b", home[i])
        moved = moved + 1
      else
        assert.not_equal("b", home[i])
      end
    end
    assert.near(N / 4, moved, 5 * math.sqrt(N * 3 / 16))
    target(w, "b").breaker:force "closed"
    ask(w, said "q")
    w.loop.run(function() w.loop.sleep(6) end) -- in steps
    for i = 1, N do assert.equal(home[i], ask(w, said("q" .. i))) end
  end)

  it("sends no other conversation to a target that may be probed", function()
    local w = new { route = { sticky = "prefix", balance = "p2c" }, limiter = false }
    local home = {}
    for i = 1, 40 do home[i] = ask(w, said("q" .. i)) end
    target(w, "b").breaker:force("open", 1)
    target(w, "b"):admit(nil, w:now()) -- which finds that
    w.loop.run(function() w.loop.sleep(1.1) end)
    for i = 1, 40 do
      if home[i] ~= "b" then assert.equal(home[i], ask(w, said("q" .. i))) end
    end
    assert.equal("half_open", target(w, "b").breaker:state())
  end)

  it("follows the weights", function()
    local w = new(options, { a = { weight = 5 }, d = { weight = 0 } })
    local N = 700
    for i = 1, N do ask(w, said("q" .. i)) end
    assert.near(5 / 7, w.sent.a / N, 0.09)
    assert.is_nil(w.sent.d)
  end)

  it("yields where its target is full, or begins too late", function()
    local w = new { route = { sticky = "prefix", start = 1 }, limiter = { kind = "fixed",
      initial = 2 } }
    local home = ask(w, said "q")
    local others = {}
    w.loop.run(function()
      local tasks = {}
      for i = 1, 4 do
        tasks[i] = w.loop.spawn(function() others[ask(w, said "q")] = true end)
      end
      for i = 1, 4 do assert(tasks[i]:join() == nil) end
    end)
    target(w, home).breaker:force("open", 60)
    target(w, home):admit(nil, w:now()) -- which finds that
    assert.same({ [home] = true, [ask(w, said "q")] = true }, others)
    -- too late: it keeps what it can take
    w = new { route = { sticky = "prefix", start = 1 }, limiter = false }
    home = ask(w, said "q")
    w.script[home] = { good("", 3) }
    w.loop.run(function()
      local tasks = {}
      for i = 1, 10 do tasks[i] = w.loop.spawn(function() ask(w, said "q") end) end
      for i = 1, 10 do tasks[i]:join() end
      assert.is_number(w.client:status().targets[home:byte() - 96].room)
      local elsewhere = 0
      for i = 1, 10 do
        tasks[i] = w.loop.spawn(function()
          if ask(w, said "q") ~= home then elsewhere = elsewhere + 1 end
        end)
      end
      for i = 1, 10 do tasks[i]:join() end
      assert.is_true(elsewhere >= 4 and elsewhere < 10, elsewhere)
    end)
    w:assert_clean()
  end)

  it("a retry goes to the same second target each time", function()
    local w = new(options)
    local home = ask(w, said "q")
    w.script[home] = { world.status(500) }
    local second = ask(w, said "q")
    assert.not_equal(home, second)
    for _ = 1, 5 do assert.equal(second, ask(w, said "q")) end
  end)

  it("makes the provider's cache hit where turns would not", function()
    -- Servers that know a prompt's beginning when they have seen it before: as many tokens of it
    -- are cached.
    local function knowing()
      local known = {}
      return function(request)
        local messages = json.decode(request.body).messages
        local key = messages[1].content .. "\0" .. messages[2].content
        local cached = known[key] and 90 or 0
        known[key] = true
        local body = json.decode(good("").body)
        body.usage = { prompt_tokens = 100, completion_tokens = 5,
          prompt_cache_hit_tokens = cached }
        return { status = 200, body = json.encode(body), after = 0.001 }
      end
    end
    local function hits(sticky)
      local script = {}
      for _, name in ipairs(NAMES) do script[name] = knowing() end
      local price = { input = 1, cached = 0.02, output = 4 }
      local w = new({ route = { sticky = sticky, balance = "weighted" }, limiter = false },
        { a = { price = price }, b = { price = price }, c = { price = price },
          d = { price = price } }, script)
      local cached, cost = 0, 0
      for i = 1, 100 do
        local more = {}
        for turn = 1, 5 do
          local reply = assert(w.client:chat(said("q" .. i, more)))
          cached, cost = cached + reply.usage.cached_tokens, cost + reply.cost
          more[#more + 1] = { role = "assistant", content = "a" .. turn }
          more[#more + 1] = { role = "user", content = "u" .. turn }
        end
      end
      return cached / (500 * 100), cost
    end
    local with, cost = hits "prefix"
    local without, more = hits(false)
    assert.near(0.72, with, 1e-9) -- 90 % of all but the first of five
    assert.is_true(without < 0.4, without)
    assert.is_true(cost < 0.6 * more)
  end)
end)

describe("sticky routing by user", function()
  it("keeps a user at one target, whatever is asked", function()
    local w = new { route = { sticky = "user" }, limiter = false }
    local used = {}
    for i = 1, 40 do
      local request = said "x"
      request.user = "user " .. i
      local first = ask(w, request)
      used[first] = true
      for turn = 1, 3 do
        local other = said("y" .. turn)
        other[turn == 3 and "safety_identifier" or "user"] = "user " .. i
        assert.equal(first, ask(w, other))
      end
    end
    for _, name in ipairs(NAMES) do assert.is_true(used[name]) end
  end)

  it("leaves calls without one to the balance", function()
    local w = new { route = { sticky = "user" }, limiter = false }
    for _, user in ipairs { false, "", 5 } do
      local request = said "x"
      request.user = user or nil
      assert.equal("a", ask(w, request))
    end
  end)
end)
