--- What every host of ours must do with real calls: the tests that its spec has in common with the
--- others'.
--
--     calls.describe({ new = function(options) → client, go = function(f), run = function(),
--       sleep = function(seconds), loop = table or nil }, { it = it, setup = setup, … })
--
-- `go` begins a coroutine of the host's, `run` runs the host's loop until it ends by itself, and
-- fails with what a coroutine has raised.
local batch_calls = require "spec.support.batch_calls"
local busyd = require "spec.support.busyd"
local assert = require "luassert"
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local loops = require "unbusy.loops"
local region = require "unbusy.region"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local calls = {}

local function question(text)
  return { model = "m", messages = { { role = "user", content = text } } }
end

calls.question = question

--- Holds every request at the server until `count` are there, then lets all of them in.
function calls.gate(up, count, sleep)
  up:programme { reset = true, capacity = 0, queue = count }
  return function()
    local limit = os.time() + 120
    while up:counts().queued < count do
      assert.is_true(os.time() < limit, "not all of them have come")
      sleep(0.05)
    end
    up:programme {}
  end
end

-- Many calls at once: all of them are at the server before the first is answered.
local function describe_many(h, up, it)
  local MANY = 200

  it("makes 200 calls at once", function()
    local client, answered = h.new(), 0
    local release = calls.gate(up(), MANY, h.sleep)
    for i = 1, MANY do
      h.go(function()
        assert.equal("echo: q" .. i, assert(client:chat(question("q" .. i))).text)
        answered = answered + 1
      end)
    end
    h.go(release)
    h.run()
    assert.equal(MANY, answered)
    local counts = up():counts()
    assert.equal(MANY, counts.queued_max)
    assert.equal(MANY, counts.completed)
  end)

  it("reads 200 streams at once, piece by piece", function()
    local client, done = h.new(), 0
    up():programme { reset = true, token_interval = 0.02, answer = { tokens = 10 } }
    local expected = busyd.expected("q", { tokens = 10 })
    for _ = 1, MANY do
      h.go(function()
        local text, pieces = {}, 0
        for piece in assert(client:stream(question "q")):pieces() do
          text[#text + 1], pieces = piece.text, pieces + 1
        end
        assert.equal(expected, table.concat(text))
        assert.is_true(pieces > 3)
        done = done + 1
      end)
    end
    h.run()
    assert.equal(MANY, done)
    assert.equal(MANY, up():counts().streams.finished)
  end)
end

-- Streams that break off.
local function describe_resumed(h, up, it)
  it("goes on with streams that break off, wherever they were opened", function()
    local o = { resume = "prompt", retry = { base = 0.01, attempts = 50 }, budget = false,
      breaker = false }
    local client, texts, resumed = h.new(o), {}, 0
    o.loop, o.targets = "tasks", { { name = "a", url = up().url } }
    local plain = unbusy.new(o)
    local text = ("ha "):rep(40) .. "!"
    local script = {}
    for i = 1, 41 do script[i] = { preset = "cut_stream", after = 5 + i % 9 } end
    up():programme { reset = true, script = script,
      answer = { text = text, chunks = 20, continues = true } }
    local opened = assert(plain:stream(question "q"))
    plain.loop = client.loop
    for i = 1, 40 do
      h.go(function()
        local reply = assert(assert(client:stream(question "q")):reply())
        texts[i], resumed = reply.text, resumed + reply.resumed
      end)
    end
    h.go(function() texts[41] = assert(opened:reply()).text end)
    h.run()
    for i = 1, 41 do assert.equal(text, texts[i]) end
    assert.equal(resumed + opened.resumed, up():counts().faulted)
    plain:close()
  end)
end

-- Calls that do not come to a good end.
local function describe_ends(h, up, it)
  it("ends a call at its deadline, and one that is cancelled", function()
    local client, codes = h.new(), {}
    local c = unbusy.canceller()
    up():programme { reset = true, capacity = 0, queue = 100 }
    h.go(function()
      codes[1] = select(3, client:chat(question "late", { deadline = 0.1 }))
      c:cancel()
    end)
    h.go(function() codes[2] = select(3, client:chat(question "x", { cancel = c })) end)
    h.go(function() codes[3] = select(3, client:stream(question "x", { cancel = c })) end)
    h.run()
    assert.same({ "timeout", "cancelled", "cancelled" }, codes)
    assert.is_false(wire.busy())
  end)

  it("ends all calls of a client that is closed", function()
    local client, codes = h.new { limiter = { kind = "fixed", initial = 2 } }, {}
    up():programme { reset = true, capacity = 0, queue = 100 }
    for i = 1, 5 do
      h.go(function() codes[i] = select(3, client:chat(question "x")) end)
    end
    h.go(function()
      while up():counts().queued < 2 do h.sleep(0.02) end
      client:close()
    end)
    h.run()
    assert.same({ "closed", "closed", "closed", "closed", "closed" }, codes)
  end)

  it("ends by itself while a stream is under way that nobody reads", function()
    local client, stream = h.new(), nil
    up():programme { reset = true, token_interval = 0.05, answer = { tokens = 1000 } }
    h.go(function()
      stream = assert(client:stream(question "q"))
      assert(stream:read())
    end)
    h.run()
    assert.is_true(wire.busy())
    h.go(function() stream:read() end)
    h.run()
    stream:close()
    assert.is_false(wire.busy())
  end)
end

-- The client's machines, and our own verbs.
local function describe_verbs(h, up, it)
  it("lets calls wait in line, first come first served", function()
    local client, order = h.new { limiter = { kind = "fixed", initial = 1 } }, {}
    up():programme { reset = true, log = true, latency = 0.01 }
    h.go(function()
      for i = 1, 6 do
        h.go(function()
          assert(client:chat(question("q" .. i)))
          order[#order + 1] = i
        end)
        h.sleep(0.001)
      end
    end)
    h.run()
    assert.same({ 1, 2, 3, 4, 5, 6 }, order)
    assert.equal(1, up():counts().in_service_max)
  end)

  it("retries a busy server after a while", function()
    local client, reply = h.new { retry = { base = 0.01 } }, nil
    up():programme { reset = true, script = { { preset = "busy_503" }, { preset = "busy_503" } } }
    h.go(function() reply = assert(client:chat(question "q")) end)
    h.run()
    assert.equal(3, reply.tries)
  end)

  it("warms a cache, several questions at a time", function()
    local client, got = h.new { cache = true }, {}
    local release = calls.gate(up(), 2, h.sleep)
    h.go(function()
      local result = client:warm({ "a", "b", "c" }, { at_once = 2 })
      got = { result.asked, result.fresh, #result.failures,
        client:chat({ messages = { { role = "user", content = "b" } } }).source }
    end)
    h.go(release)
    h.run()
    assert.same({ 3, 0, 0, "cache" }, got)
    assert.equal(2, up():counts().in_service_max)
  end)

  it("reads a stream that was opened in plain Lua, and the other way round", function()
    local client, texts, stream = h.new { loop = false }, {}, nil
    up():programme { reset = true, token_interval = 0.02, answer = { tokens = 10 } }
    local plain = unbusy.new { targets = { { name = "a", url = up().url } }, loop = "tasks" }
    local opened = assert(plain:stream(question "q"))
    assert(opened:read())
    plain.loop = client.loop
    h.go(function()
      texts[1] = assert(opened:reply()).text
      stream = assert(client:stream(question "q"))
      assert(stream:read())
    end)
    h.run()
    client.loop = require "unbusy.loops.tasks"
    texts[2] = assert(stream:reply()).text
    local expected = busyd.expected("q", { tokens = 10 })
    assert.same({ expected, expected }, texts)
  end)
end

-- Runs Lua in another process, which is not waited for; gives what waits for it. The text is in a
-- file, since not all that runs Lua here takes it from the command line.
local function run_beside(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  local pipe = io.popen((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path)
  return function()
    pipe:close()
    os.remove(path)
  end
end

local function describe_others(h, it)
  it("is woken by other processes, with no transfer under way", function()
    local name = ("spec-%d-%d"):format(os.time(), math.random(1e6))
    local r = assert(region.new { name = name, bytes = 2 ^ 20 })
    local got, ev, ended
    local listener = { descriptor = function() return r:wake_fd() end,
      heard = function() if r:drain() and ev then ev:set() end end }
    wire.listen(listener)
    r:waiting(1, core.now())
    h.go(function()
      loops.enter(h.loop, function(loop)
        ev = loop.event()
        ended = run_beside(('require("unbusy.region").new{name="%s",bytes=2^20}:wake()')
          :format(name))
        got = loop.wait({ ev }, loop.now() + 100) == ev
      end)
    end)
    h.run()
    ended()
    wire.ignore(listener)
    r:waiting(0, 0)
    r:close()
    assert.is_true(got)
  end)
end

--- The common tests, within a `describe` of the host's spec.
---@param h table see above
---@param busted table its functions
---@return function upstream gives the server while tests run
function calls.describe(h, busted)
  guard.watch(busted.before_each, busted.after_each)
  local up
  local function upstream() return up end
  busted.setup(function() up = busyd.start { workers = 1 } end)
  busted.teardown(function() up:stop() end)

  local new = h.new
  function h.new(options)
    local o = { targets = { { name = "a", url = up.url } }, limiter = false }
    for name, value in pairs(options or {}) do o[name] = value end
    return new(o)
  end

  describe_many(h, upstream, busted.it)
  describe_resumed(h, upstream, busted.it)
  describe_ends(h, upstream, busted.it)
  describe_verbs(h, upstream, busted.it)
  describe_others(h, busted.it)
  batch_calls.describe(h, upstream, busted.it)
  return upstream
end

return calls
