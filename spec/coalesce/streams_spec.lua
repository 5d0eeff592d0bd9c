-- Streams that are shared: pieces so far for who comes late, each at its own pace.
local coalesced = require "spec.support.coalesced"
local guard = require "spec.support.leak_guard"
local tape = require "unbusy.caching.tape"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local ask, told, idle = coalesced.ask, coalesced.told, coalesced.assert_idle
local chunk, words = world.chunk, world.words

-- A stream that begins after 0.1 s and has a word each second.
local function counting(n)
  local list = {}
  for i = 1, n do list[i] = i .. " " end
  return words(list, 1)
end

local function stream(more)
  local item = { kind = "stream" }
  for name, value in pairs(more or {}) do item[name] = value end
  return item
end

-- Reads piece by piece and notes when each text came.
local function noting(times, pause)
  return function(s, w)
    local piece, message, code, detail = s:read()
    while piece do
      if piece.text then times[#times + 1] = w:now() end
      if pause then w.loop.sleep(pause) end
      piece, message, code, detail = s:read()
    end
    if code then return nil, message, code, detail end
    return s:reply()
  end
end

describe("streams of the same", function()
  guard.watch(before_each, after_each)

  it("are one upstream call, whole for each of them", function()
    local w = coalesced.world({ counting(5) }, nil, { a = { price = { input = 1, output = 1 } } })
    local list = {}
    for i = 1, 200 do list[i] = stream() end
    local out = ask(w, list)
    assert.equal("coalesced: 199, upstream: 1", told(out))
    assert.equal(1, #w.log)
    local seen = {}
    for _, o in ipairs(out) do
      assert.equal("1 2 3 4 5 ", o.reply.text)
      assert.same({ "stop", "a", 1 }, { o.reply.finish_reason, o.reply.target, o.reply.tries })
      assert.equal("1 2 3 4 5 ", o.reply.body.choices[1].message.content)
      assert.is_nil(seen[o.reply.body])
      seen[o.reply.body] = true
    end
    assert.equal(0, out[2].reply.cost)
    assert.equal(1, w.client:status().cache.stored)
    idle(w)
  end)

  it("give who comes late the pieces so far at once, and then the live ones", function()
    local w, times = coalesced.world { counting(5) }, {}
    local out = ask(w, { stream(), stream { after = 3.5, read = noting(times) } })
    assert.equal("1 2 3 4 5 ", out[2].reply.text)
    assert.near(3.5, times[1], 1e-9)
    assert.near(3.5, times[3], 1e-9)
    assert.near(4.1, times[4], 1e-9)
    assert.near(5.1, times[5], 1e-9)
    assert.equal("coalesced", out[2].reply.source)
    assert.equal(1, #w.log)
    idle(w)
  end)

  it("do not hold each other up", function()
    local w, quick, slow = coalesced.world { counting(5) }, {}, {}
    local out = ask(w, { stream { read = noting(slow, 10) }, stream { read = noting(quick) } })
    assert.near(5.1, out[2].at, 1e-9)
    assert.is_true(out[1].at > 50)
    assert.same({ "1 2 3 4 5 ", "1 2 3 4 5 " }, { out[1].reply.text, out[2].reply.text })
    idle(w)
  end)

  it("do not hold up who wants the whole", function()
    local w, slow = coalesced.world { counting(5) }, {}
    local out = ask(w, { stream { read = noting(slow, 10) }, { after = 0.5 }, {}, { after = 3 } })
    assert.equal("coalesced: 3, upstream: 1", told(out))
    for i = 2, 4 do
      assert.near(5.1, out[i].at, 1e-9)
      assert.equal("1 2 3 4 5 ", out[i].reply.text)
      assert.equal(0, out[i].reply.cost)
    end
    assert.equal(1, #w.log)
    idle(w)
  end)

  it("read nothing that nobody waits for", function()
    local w = coalesced.world { counting(50) }
    local read
    w.loop.run(function()
      w.loop.spawn(function()
        local s = w.client:stream(coalesced.request())
        s:read()
        w.loop.sleep(20)
        read = w.client.flights.open[w.loop]
        local _, list = next(read)
        assert.is_true(list[1].tape.last <= 3)
        s:close()
      end)
      w.loop.sleep(1)
    end)
    assert.is_true(w.log[1].exchange.closed)
    idle(w)
  end)

  it("are not joined to a plain call under way, but the other way round", function()
    local w = coalesced.world { { status = 200, after = 2, body = world.good("whole").body } }
    local out = ask(w, { {}, stream { after = 0.1 }, { after = 0.2 } })
    assert.same({ "upstream", "upstream", "coalesced" },
      { out[1].reply.source, out[2].reply.source, out[3].reply.source })
    assert.equal(2, #w.log)
    idle(w)
  end)

  it("are kept apart where their pieces would differ", function()
    local w = coalesced.world { counting(2) }
    local usage = { stream_options = { include_usage = true } }
    local out = ask(w, { stream(), stream { more = usage }, stream { more = usage },
      stream { more = { stream_options = { include_usage = false } } }, { more = usage } })
    assert.equal("coalesced: 2, upstream: 3", told(out))
    assert.equal(3, #w.log)
    idle(w)
  end)

  it("have pieces of their own", function()
    local w = coalesced.world { counting(3) }
    local function spoiling(s)
      for piece in s:pieces() do
        if piece.text then piece.text, piece.data = "spoilt", nil end
      end
      return s:reply()
    end
    local out = ask(w, { stream { read = spoiling }, stream(), stream { after = 2.5 } })
    for i = 1, 3 do assert.equal("1 2 3 ", out[i].reply.text) end
  end)

  it("show what it cost to who began it", function()
    local usage = { 0, 'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,'
      .. '"total_tokens":15}}\n\n' }
    local w = coalesced.world({ world.streamed { { 0, chunk { content = "a" } },
      { 1, chunk({}, "stop") }, usage, { 0, world.DONE } } }, nil,
      { a = { price = { input = 1e6, output = 1e6 } } })
    local out = ask(w, { stream(), stream(), {} })
    assert.same({ 15, 0, 0 }, { out[1].reply.cost, out[2].reply.cost, out[3].reply.cost })
    assert.same({ 15, 15, 15 }, { out[1].reply.usage.total_tokens,
      out[2].reply.usage.total_tokens, out[3].reply.usage.total_tokens })
    w = coalesced.world({ world.streamed { { 0, chunk { content = "a" } },
      { 1, chunk({}, "stop") }, usage, { 0, world.DONE } } }, nil,
      { a = { price = { input = 1e6, output = 1e6 } } })
    out = ask(w, { stream { read = function(s) s:close() end }, {}, {} })
    assert.same({ 15, 0 }, { out[2].reply.cost, out[3].reply.cost }) -- who paid has gone
    idle(w)
  end)

  it("give an answer that came whole as one piece to each", function()
    local w = coalesced.world { world.good("whole", 1) }
    local out = ask(w, { stream(), stream(), {} })
    assert.equal("coalesced: 2, upstream: 1", told(out))
    assert.same({ "whole", "whole" }, { out[2].reply.text, out[3].reply.text })
    assert.equal(1, #w.log)
    idle(w)
  end)

  it("are in the cache afterwards, with their pieces", function()
    local w = coalesced.world { counting(3) }
    ask(w, { stream(), stream() })
    local s = w.client:stream(coalesced.request())
    assert.equal("cache", s.source)
    local n = 0
    for piece in s:pieces() do n = n + (piece.text and piece.text ~= "" and 1 or 0) end
    assert.equal(3, n)
  end)
end)

describe("a shared stream that breaks off", function()
  guard.watch(before_each, after_each)

  local function broken()
    return world.streamed({ { 0, chunk { content = "a" } }, { 1, chunk { content = "b" } } },
      { fail = "network", message = "connection reset" })
  end

  it("fails for each reader after the pieces that came", function()
    local w = coalesced.world { broken() }
    local texts = {}
    local function reading(i)
      return function(s)
        texts[i] = ""
        while true do
          local piece, message, code, detail = s:read()
          if not piece then return nil, message, code, detail end
          texts[i] = texts[i] .. (piece.text or "")
        end
      end
    end
    local out = ask(w, { stream { read = reading(1) }, stream { read = reading(2), after = 0.5 } })
    assert.same({ "ab", "ab" }, texts)
    assert.equal("cut: 2", told(out))
    assert.equal("a: body: connection reset", out[1].message)
    assert.equal(out[1].message, out[2].message)
    assert.same({ "a", 1 }, { out[2].detail.target, out[2].detail.tries })
    assert.equal(1, #w.log)
    assert.equal(0, w.client:status().cache.stored)
    assert.equal(1, w.client:status().targets[1].breaker.failures)
    idle(w)
  end)

  it("is asked again, once, for those who wanted it whole", function()
    local w = coalesced.world({ broken(), world.good("second", 1) },
      { retry = { attempts = 3, base = 0.1 } })
    local out = ask(w, { stream(), {}, {}, {} })
    assert.equal("coalesced: 2, cut: 1, upstream: 1", told(out))
    assert.same({ "second", 2 }, { out[3].reply.text, out[3].reply.tries })
    assert.equal(2, #w.log)
    idle(w)
  end)

  it("fails for those too where there are no second tries", function()
    local w = coalesced.world { broken() }
    local out = ask(w, { stream(), {}, {} })
    assert.equal("cut: 3", told(out))
    assert.equal("a: body: connection reset", out[3].message)
    assert.equal(1, #w.log)
    idle(w)
  end)

  it("is gone on with, once, for all", function()
    local w = coalesced.world({ world.streamed({ { 0, chunk { content = "one two" } } },
      { fail = "network", message = "reset" }), words({ " three", " four" }, 1) },
      { retry = { attempts = 3, base = 0.1 }, resume = "prefix" }, { a = { prefix = "flag" } })
    local heard = {}
    local out = ask(w, { stream(), stream { read = function(s)
      assert.is_true(s:is_resumable())
      function s.on_resume(begins) heard[#heard + 1] = begins end
      return s:reply()
    end }, {} })
    assert.equal("coalesced: 2, upstream: 1", told(out))
    for i = 1, 3 do assert.equal("one two three four", out[i].reply.text) end
    assert.same({ 1, 1 }, { out[1].reply.resumed, out[2].reply.resumed })
    assert.same({ true, false }, heard)
    assert.equal(2, #w.log)
    idle(w)
  end)

  it("is silent for too long for all at once", function()
    local w = coalesced.world({ world.streamed { { 0, chunk { content = "a" } },
      { 100, world.DONE } } }, { clocks = { token = 5 } })
    local out = ask(w, { stream(), stream { after = 2 } })
    assert.equal("cut: 2", told(out))
    assert.near(5.1, out[2].at, 1e-9)
    assert.equal("a: token: nothing more for 5 s", out[2].message)
    idle(w)
  end)
end)

describe("a reader of a shared stream", function()
  guard.watch(before_each, after_each)

  it("may throw, close, or be cancelled: the others read on", function()
    local w, c = coalesced.world { counting(6) }, unbusy.canceller()
    local raised
    w.loop.spawn(function()
      w.loop.sleep(2.5)
      c:cancel()
    end)
    local out = ask(w, {
      stream { read = function(s)
        raised = select(2, pcall(function()
          for piece in s:pieces() do
            if piece.text == "2 " then error("thrown", 0) end
          end
        end))
        s:close()
      end },
      stream { given = { cancel = c } },
      stream { read = function(s)
        s:read()
        s:close()
        return nil, "closed by itself", "closed"
      end },
      stream() })
    assert.equal("thrown", raised)
    assert.equal("cancelled", out[2].code)
    assert.near(2.5, out[2].at, 1e-9)
    assert.equal("1 2 3 4 5 6 ", out[4].reply.text)
    assert.near(6.1, out[4].at, 1e-9)
    assert.equal(1, #w.log)
    assert.equal(1, w.client:status().cache.stored)
    idle(w)
  end)

  it("ends at its own deadline, in the midst of a pull", function()
    local w = coalesced.world { counting(5) }
    local out = ask(w, { stream { given = { deadline = 2.5 } }, stream(), {} })
    assert.equal("timeout", out[1].code)
    assert.near(2.5, out[1].at, 1e-9)
    assert.equal("a: total: the deadline came before the end", out[1].message)
    assert.near(5.1, out[2].at, 1e-9)
    assert.same({ "1 2 3 4 5 ", "1 2 3 4 5 " }, { out[2].reply.text, out[3].reply.text })
    idle(w)
  end)

  it("ends the stream when it is the last to go", function()
    local w = coalesced.world { counting(50) }
    ask(w, { stream { given = { deadline = 2.5 } }, stream { given = { deadline = 1 } },
      stream { read = function(s) s:close() end } })
    assert.is_true(w.log[1].exchange.closed)
    assert.equal(0, w.client:status().cache.stored)
    assert.equal(0, w.client:status().targets[1].breaker.failures)
    idle(w)
  end)

  it("may be forgotten: it is collected, and the others read on", function()
    local w = coalesced.world { counting(6) }
    local reply
    w.loop.run(function()
      w.loop.spawn(function()
        local s = w.client:stream(coalesced.request())
        s:read()
        s = nil -- luacheck: ignore 311
        w.loop.sleep(0)
      end)
      w.loop.spawn(function()
        w.loop.sleep(0.5)
        reply = w.client:stream(coalesced.request()):reply()
      end)
      w.loop.sleep(3)
      if jit then jit.flush() end -- luacheck: ignore 113
      collectgarbage()
      collectgarbage()
      w.loop.sleep(0)
      local _, list = next(w.client.flights.open[w.loop])
      assert.equal(1, list[1].count)
    end)
    assert.equal("1 2 3 4 5 6 ", reply.text)
    idle(w)
  end)

  it("whose task is cancelled while it pulls has taken nothing away", function()
    local w = coalesced.world { counting(5) }
    local reply
    w.loop.run(function()
      local task = w.loop.spawn(function() w.client:stream(coalesced.request()):reply() end)
      w.loop.spawn(function() reply = w.client:stream(coalesced.request()):reply() end)
      w.loop.sleep(2.5)
      w.loop.cancel(task)
    end)
    assert.equal("1 2 3 4 5 ", reply.text)
    idle(w)
  end)

  it("ends when the client is closed, as all others", function()
    local w = coalesced.world { counting(5) }
    w.loop.spawn(function()
      w.loop.sleep(2.5)
      w.client:close()
    end)
    local out = ask(w, { stream(), stream(), {} })
    assert.equal("closed: 3", told(out))
    assert.is_true(w.log[1].exchange.closed)
  end)

  it("that is too far behind is cut off, and says so", function()
    local most = tape.MOST
    tape.MOST = 20000
    local list = {}
    for i = 1, 100 do list[i] = ("%3d"):format(i):rep(100) end
    local w, slow = coalesced.world { words(list, 0.1) }, {}
    local out = ask(w, { stream { read = noting(slow, 50) }, stream(), {},
      stream { after = 9 }, { after = 9 } })
    tape.MOST = most
    assert.equal("cut", out[1].code)
    assert.matches("^a: body: read so slowly that others are", out[1].message)
    assert.equal(table.concat(list), out[2].reply.text)
    assert.equal(table.concat(list), out[3].reply.text)
    assert.same({ "upstream", "coalesced" }, { out[4].reply.source, out[5].reply.source })
    assert.equal(2, #w.log) -- the beginning was no longer there for who came late
    idle(w)
  end)

  it("alone holds a long stream up as ever, and loses nothing", function()
    local most = tape.MOST
    tape.MOST = 20000
    local list = {}
    for i = 1, 100 do list[i] = ("%3d"):format(i):rep(100) end
    local w, slow = coalesced.world { words(list, 0.01) }, {}
    local out = ask(w, { stream { read = noting(slow, 1) }, { text = "other" } })
    tape.MOST = most
    assert.equal(table.concat(list), out[1].reply.text)
    idle(w)
  end)
end)

describe("readers that come and go", function()
  guard.watch(before_each, after_each)

  it("at random times leave nothing, and each has all or a clear failure", function()
    local random = require("spec.support.random").new(11)
    local w = coalesced.world(function(_, n)
      if n % 4 == 0 then
        return world.streamed({ { 0, chunk { content = "1 " } }, { 1, chunk { content = "2 " } } },
          { fail = "network", message = "reset" })
      end
      return counting(5)
    end, { cache = { ttl = 1, stale = 0, jitter = 0 }, retry = { attempts = 2, base = 0.1 } })
    local list = {}
    for i = 1, 500 do
      local item = { after = random:float() * 100, text = "q" .. random:int(3),
        given = { deadline = 1 + random:float() * 12 } }
      if random:chance(0.6) then
        item.kind = "stream"
        local pause, stops = random:chance(0.3) and random:float() * 3, random:chance(0.2)
        function item.read(s)
          for _ = 1, 2 do
            if pause then w.loop.sleep(pause) end
            local piece, message, code = s:read()
            if not piece then return nil, message, code or "ended" end
          end
          if stops then
            s:close()
            return nil, "stopped", "closed"
          end
          return s:reply()
        end
      end
      list[i] = item
    end
    local whole = 0
    for i, o in ipairs(ask(w, list)) do
      assert.is_truthy(o.reply or o.code)
      if o.reply then
        assert.equal("1 2 3 4 5 ", o.reply.text)
        whole = whole + 1
      end
      local slack = list[i].kind and 6.1 or 0.11
      assert.is_true(o.at <= list[i].after + list[i].given.deadline + slack)
    end
    assert.is_true(whole > 200, whole)
    assert.is_true(#w.log < 200, #w.log)
    idle(w)
  end)
end)
