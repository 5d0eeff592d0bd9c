-- Those who leave in the middle: clients that are closed or collected, coroutines that nobody
-- resumes, errors thrown in the caller's own functions, and a process that forks.
local busyd = require "spec.support.busyd"
local direct = require "spec.support.direct"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

describe("leaving", function()
  guard.watch(before_each, after_each)
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function() up:programme { reset = true } end)

  local function new(more)
    local o = { targets = { { name = "a", url = up.url, key = "key-1", proxy = false } },
      retry = false }
    for k, v in pairs(more or {}) do o[k] = v end
    return unbusy.new(o)
  end

  local function collect()
    for _ = 1, 4 do collectgarbage() end
  end

  -- Nothing of this client's is open, and it still answers.
  local function is_well(client)
    local s = client:status()
    assert.same({ 0, 0, 0 }, { s.active, s.waiting, s.budget.permits })
    for _, l in pairs(s.targets[1].limits) do assert.equal(0, l.in_flight) end
    assert.equal(0, s.targets[1].breaker.outstanding)
    up:programme { reset = true }
    assert.equal("echo: hi", assert(client:chat(QUESTION)).text)
  end

  -- Waits until the server has seen `n` go away.
  local function await_aborted(n)
    for _ = 1, 200 do
      if up:counts().aborted_by_client == n then return end
      direct.pause(0.02)
    end
    assert.equal(n, up:counts().aborted_by_client)
  end

  it("a client may be closed twice, and is of no use then", function()
    local client = new()
    assert(client:chat(QUESTION))
    client:close()
    client:close()
    for _, method in ipairs { "chat", "stream" } do
      local reply, message, code, detail = client[method](client, QUESTION)
      assert.is_nil(reply)
      assert.same({ "the client is closed", "closed", 0 }, { message, code, detail.tries })
    end
    local _, _, code = client:post("/x", "")
    assert.equal("closed", code)
    assert.equal(0, client:status().active)
  end)

  it("a client that is closed under its calls ends each of them once", function()
    up:programme { reset = true, latency = 10 }
    local client, codes = new { limiter = { kind = "fixed", initial = 2 } }, {}
    unbusy.run(function()
      for i = 1, 4 do -- two are sent, two wait for a place
        unbusy.spawn(function() codes[i] = select(3, client:chat(QUESTION)) end)
      end
      while up:counts().in_service < 2 do unbusy.sleep(0.01) end
      client:close()
      client:close()
    end)
    assert.same({ "closed", "closed", "closed", "closed" }, codes)
    await_aborted(2)
  end)

  it("a client that is dropped with calls under way is kept by them until they end", function()
    up:programme { reset = true, latency = 0.2 }
    local weak, texts = setmetatable({}, { __mode = "v" }), {}
    unbusy.run(function()
      weak[1] = new()
      for i = 1, 3 do
        unbusy.spawn(function(client) texts[i] = client:chat(QUESTION).text end, weak[1])
      end
      unbusy.sleep(0.05)
      collect()
    end)
    assert.same({ "echo: hi", "echo: hi", "echo: hi" }, texts)
    collect()
    assert.is_nil(weak[1])
  end)

  it("a client and its streams that are dropped half-read are collected, and the server sees it",
  function()
    up:programme { reset = true, token_interval = 0.05, answer = { tokens = 1000 } }
    local weak = setmetatable({}, { __mode = "v" })
    do
      local client = new()
      weak[1] = client
      for i = 2, 4 do
        weak[i] = assert(client:stream(QUESTION))
        weak[i]:read()
      end
    end
    collect()
    collect()
    assert.same({}, weak)
    assert.equal(0, wire.active())
    new { targets = { { name = "b", url = up.url .. "/v1" } } }:post("/none", "") -- one turn
    await_aborted(3)
  end)

  it("a foreign coroutine that is dropped in a stream takes it along", function()
    up:programme { reset = true, token_interval = 0.02, answer = { tokens = 500 } }
    local client = new()
    do
      local step = coroutine.wrap(function()
        for piece in assert(client:stream(QUESTION)):pieces() do coroutine.yield(piece) end
      end)
      assert.is_table(step())
      assert.is_table(step())
      step = nil -- luacheck: ignore 311
    end
    collect()
    is_well(client)
  end)

  it("a task that is never run again holds nothing after its run", function()
    up:programme { reset = true, latency = 10 }
    local client = new()
    local ok, message = pcall(unbusy.run, function()
      for _ = 1, 3 do unbusy.spawn(client.chat, client, QUESTION) end
      while up:counts().in_service < 3 do unbusy.sleep(0.01) end
      error("mine", 0)
    end)
    assert.same({ false, "mine" }, { ok, message })
    assert.equal(0, scheduler.live())
    await_aborted(3)
    is_well(client)
  end)

  it("a task that yields by itself in a stream's consumer ends, and the stream with it", function()
    up:programme { reset = true, token_interval = 0.02, answer = { tokens = 500 } }
    local client = new()
    local ok, message = pcall(unbusy.run, function()
      for _ in assert(client:stream(QUESTION)):pieces() do coroutine.yield() end
    end)
    assert.is_false(ok)
    assert.matches("yielded by itself", message)
    collect()
    is_well(client)
  end)

  it("an error in a stream's consumer comes out as it is, and the stream is let go", function()
    up:programme { reset = true, token_interval = 0.02, answer = { tokens = 500 } }
    local client, mine = new(), { "mine" }
    for _, run in ipairs { function(f) return f() end, unbusy.run } do
      local ok, err = pcall(run, function()
        for _ in assert(client:stream(QUESTION)):pieces() do error(mine) end
      end)
      assert.is_false(ok)
      assert.equal(mine, err)
    end
    collect()
    is_well(client)
  end)

  it("errors in on_event reach nobody, whatever they are", function()
    local faults = { "text", {}, false, print, setmetatable({}, { __tostring = error }) }
    local n = 0
    local client = new { retry = { attempts = 3, base = 0.001 }, fallback = "later",
      on_event = function()
        n = n + 1
        if n % 6 == 0 then error() end
        error(faults[n % 6])
      end }
    up:programme { reset = true, script = { { preset = "busy_503" }, { preset = "reset" } } }
    assert.equal("echo: hi", assert(client:chat(QUESTION)).text)
    up:programme { reset = true, script = { { preset = "cut_stream" } } }
    local _, _, code = assert(client:stream(QUESTION)):reply()
    assert.equal("cut", code)
    assert.is_true(n >= 8, n)
    assert.equal(n, client:status().event_faults)
    is_well(client)
  end)

  it("an on_event that calls the client again, or closes it, does no harm", function()
    local client, inner
    client = new { on_event = function(e)
      if e.type == "try" and not inner then
        inner = true
        inner = client:chat(QUESTION)
      end
    end }
    assert.equal("echo: hi", assert(client:chat(QUESTION)).text)
    assert.is_truthy(inner == true or inner.text == "echo: hi")
    local other
    other = new { on_event = function(e) if e.type == "try" then other:close() end end }
    local reply, _, code = other:chat(QUESTION)
    assert.is_truthy(reply and reply.text == "echo: hi" or code == "closed")
    assert.equal(0, other:status().active)
  end)

  it("an error in a task comes to whoever joins it, and the call beside it goes on", function()
    up:programme { reset = true, latency = 0.1 }
    local client = new()
    unbusy.run(function()
      local call = unbusy.spawn(client.chat, client, QUESTION)
      local task = unbusy.spawn(function()
        local stream = assert(client:stream(QUESTION))
        error(stream:read())
      end)
      local ok, err = pcall(task.join, task)
      assert.is_false(ok)
      assert.is_string(err.data)
      assert.equal("echo: hi", call:join().text)
    end)
    collect()
    is_well(client)
  end)

  it("a child that is forked in the middle of calls can call, and so can its parent", function()
    up:programme { reset = true, latency = 0.3, token_interval = 0.1, answer = { tokens = 7 } }
    local out = engines.child([[
      local process = require "spec.support.fork"
      local unbusy = require "unbusy"
      io.stdout:setvbuf "no"
      local client = unbusy.new { retry = false,
        targets = { { name = "a", url = arg[1], key = "k", proxy = false } } }
      local function ask(text)
        local reply, _, code = client:chat { messages = { { role = "user", content = text } } }
        return reply and reply.text or code
      end
      local stream = client:stream { messages = { { role = "user", content = "before" } } }
      unbusy.run(function()
        local task = unbusy.spawn(ask, "in flight")
        unbusy.sleep(0.1)
        local pid = process.fork()
        if pid == 0 then
          print("child, in flight: " .. tostring(task:join()))
          print("child, stream: " .. tostring(select(3, stream:reply())))
          print("child: " .. ask "anew")
          process.leave()
        end
        process.wait(pid)
        print("parent, in flight: " .. task:join())
        print("parent, stream: " .. stream:reply().text)
        print("parent: " .. ask "anew")
      end)
      print(client:status().active)
    ]], "LD_PRELOAD=", up.url)
    local words = " w1 w2 w3 w4 w5 w6 w7\n"
    assert.equal("child, in flight: closed\nchild, stream: closed\nchild: echo: anew" .. words
      .. "parent, in flight: echo: in flight" .. words .. "parent, stream: echo: before" .. words
      .. "parent: echo: anew" .. words .. "0\nstatus 0\n", out)
  end)
end)
