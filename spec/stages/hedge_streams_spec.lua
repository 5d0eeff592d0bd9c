-- A second try beside a slow one, where answers are streams; and after which time.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

local good = world.good

local function new(script, hedge, options)
  local o = { retry = false, hedge = hedge or { after = 1, most = 1 } }
  for k, v in pairs(options or {}) do o[k] = v end
  return world.new { script = script, options = o,
    targets = { a = { priority = 1 }, b = { priority = 2 } } }
end

local function stream_after(seconds, words, gap)
  local answer = world.words(words or { "one", "two" }, gap or 0.1)
  answer.after = seconds
  return answer
end

local function drain(stream)
  local text = {}
  while true do
    local piece, message, code = stream:read()
    if not piece then return table.concat(text), message, code end
    text[#text + 1] = piece.text
  end
end

local function whats(w)
  local out = {}
  for i, e in ipairs(w:seen "hedge") do out[i] = e.what end
  return table.concat(out, " ")
end

describe("a hedged stream", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("is the second one's, where that begins first", function()
    local w = new { a = { stream_after(60) }, b = { stream_after(0.5, { "x", "y", "z" }) } }
    local stream = assert(w:stream())
    assert.near(1.6, w:now(), 1e-9)
    assert.is_true(w.log[1].exchange.closed)
    assert.equal("b", stream.target)
    assert.equal(2, stream.tries)
    assert.same({ won = true, target = "a", code = "cancelled", seconds = 1 }, stream.hedged)
    assert.equal("xyz", (drain(stream)))
    w:assert_clean()
  end)

  it("is the first one's, where that begins after all", function()
    local w = new { a = { stream_after(2, { "x", "y", "z" }) }, b = { stream_after(60) } }
    local stream = assert(w:stream())
    assert.equal("a", stream.target)
    assert.is_true(w.log[2].exchange.closed)
    assert.equal("xyz", (drain(stream)))
    assert.equal("begun lost", whats(w))
    w:assert_clean()
  end)

  it("does not begin with a role", function()
    local first = stream_after(0.5, { "x" })
    first.steps[2][1] = 20
    local w = new { a = { first }, b = { stream_after(0.5, { "y" }) } }
    local stream = assert(w:stream())
    assert.equal("y", (drain(stream)))
    w:assert_clean()
  end)

  it("is cut where its own target cuts it, for the other one has gone", function()
    local cut = world.streamed { { 0, world.chunk { content = "x" } }, { 1, "" } }
    cut.after = 0.5
    local w = new { a = { stream_after(60) }, b = { cut } }
    local stream = assert(w:stream())
    local text, _, code = drain(stream)
    assert.same({ "x", "cut" }, { text, code })
    w:assert_clean()
  end)

  it("is given back whole when it is closed, or collected", function()
    local w = new { a = { stream_after(60) }, b = { stream_after(0.5, { "x", "y", "z" }, 9) } }
    local stream = assert(w:stream())
    stream:close()
    assert.is_true(w.log[2].exchange.closed)
    w:assert_clean()
    stream = assert(w:stream())
    assert.is_truthy(stream:read())
    stream = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    w:assert_clean()
  end)

  it("is decided at its beginning, also where the caller wants it whole", function()
    local w = new({ a = { stream_after(3, { "x", "y", "z" }, 5) },
      b = { stream_after(1, { "1", "2" }, 5) } }, nil, { upstream_stream = true })
    local reply = w:chat()
    assert.equal("12", reply.text)
    assert.equal(2, reply.tries)
    assert.is_true(reply.hedged.won)
    w:assert_clean()
    w = new({ a = { stream_after(2, { "x", "y", "z" }, 5) },
      b = { stream_after(1, { "1", "2" }, 9) } }, nil, { upstream_stream = true })
    reply = w:chat() -- `a` says something after 7 s, `b` after 1 + 10 s
    assert.equal("xyz", reply.text)
    assert.is_true(w.log[2].exchange.closed)
    w:assert_clean()
  end)

  it("may be a whole answer", function()
    local w = new { a = { stream_after(60) }, b = { good("whole", 0.5) } }
    assert.equal("whole", (drain(assert(w:stream()))))
    w:assert_clean()
  end)

  it("goes on with the retry where both have failed", function()
    local w = new({ a = { world.status(503, nil, "", 2), stream_after(0.1, { "again" }) },
      b = { world.status(503, nil, "", 2) } }, nil, { retry = { attempts = 3, base = 0.1 } })
    local stream = assert(w:stream())
    assert.equal(3, stream.tries)
    assert.equal("again", (drain(stream)))
    w:assert_clean()
  end)
end)

describe("the time of a hedge", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  local function seconds_of(w, index)
    return w:seen("hedge")[index].seconds
  end

  it("is that within which 95 % begin, once enough have been seen", function()
    local w = new({ a = function(_, n) return good("a", n % 20 == 0 and 9 or n % 10 / 10 + 0.1) end,
      b = { good("b", 0.1) } }, { most = 1, samples = 40 })
    for _ = 1, 40 do w:chat() end
    assert.equal(0, w.client:status().hedge.begun)
    for _ = 1, 20 do w:chat() end
    local begun = w.client:status().hedge.begun
    assert.is_true(begun >= 1 and begun <= 3, begun) -- perhaps those of 1 s, too
    assert.near(1, seconds_of(w, 1), 1 / 100)
    local start = w.client:status().hedge.starts[1]
    assert.same({ "a", "chat" }, { start.target, start.way })
    w:assert_clean()
  end)

  it("follows what becomes slower or quicker", function()
    local latency = 0.5
    local w = new({ a = function() return good("a", latency) end, b = { good("b", 0.1) } },
      { most = 0.05, samples = 20 })
    local function after()
      return w.client:status().hedge.starts[1].seconds
    end
    for _ = 1, 100 do w:chat() end
    assert.near(0.5, after(), 0.01)
    latency = 3
    for _ = 1, 2200 do w:chat() end
    assert.near(3, after(), 0.05)
    latency = 0.2
    for _ = 1, 2200 do w:chat() end
    assert.near(0.2, after(), 0.01)
    w:assert_clean()
  end)

  it("does not sink because those that are called off are not seen to the end", function()
    -- Else the slowest of 100 would be cut off again and again.
    local w = new({ a = function(_, n) return good("a", 0.5 + n * 37 % 100 / 100) end,
      b = { good("b", 0.001) } }, { most = 1, samples = 100 })
    for _ = 1, 3000 do w:chat() end
    local start = w.client:status().hedge.starts[1]
    assert.equal("a", start.target)
    assert.near(1.45, start.seconds, 0.03)
    assert.near(150, w.client:status().hedge.begun, 50)
    w:assert_clean()
  end)

  it("is that of the target, the model and the way", function()
    local w = new({ a = function(request)
      local streams = request.body:find('"stream":true', 1, true)
      if streams then return stream_after(0.3) end
      return good("a", request.body:find('"model":"big"', 1, true) and 8 or 2)
    end, b = { good("b", 0.1) } }, { most = 0.0001, samples = 10 })
    for _ = 1, 10 do
      w:chat()
      w.client:chat { model = "big", messages = world.question.messages }
      drain(assert(w:stream()))
    end
    local seen = {}
    for i, s in ipairs(w.client:status().hedge.starts) do
      seen[i] = ("%s %s %s %.1f %d"):format(s.target, s.way, s.model or "-", s.seconds, s.answers)
    end
    assert.same({ "a chat - 2.0 10", "a chat big 8.0 10", "a stream - 0.4 10" }, seen)
    w:assert_clean()
  end)

  it("is another share where that is asked for, or a number of seconds", function()
    local w = new({ a = function(_, n) return good("a", n % 2 == 0 and 5 or 1) end,
      b = { good("b", 0.1) } }, { after = "p50", most = 1, samples = 10 })
    for _ = 1, 30 do w:chat() end
    assert.near(1, seconds_of(w, 1), 0.02)
    w = new({ a = { good("a", 5) }, b = { good("b", 0.1) } }, { after = 0, most = 1 })
    w:chat()
    assert.equal(0, seconds_of(w, 1))
    assert.near(0.1, w:now(), 1e-9)
    w:assert_clean()
  end)
end)
