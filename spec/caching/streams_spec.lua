-- Streams are kept as they came, and given so again.
local json = require "unbusy.json"
local random = require "spec.support.random"
local resumed = require "spec.support.resumed"
local recording = require "unbusy.caching.recording"
local stored = require "unbusy.caching.stored"
local world = require "spec.support.world"

local chunk, streamed, DONE = world.chunk, world.streamed, world.DONE

local USAGE = 'data: {"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,'
  .. '"total_tokens":5}}\n\n'

local function cached(script, cache, more)
  local options = { cache = cache or true, retry = false }
  for k, v in pairs(more or {}) do options[k] = v end
  return world.new { script = { a = script }, options = options }
end

local function words(list, gap)
  local steps = { { 0, chunk { role = "assistant", content = "" } } }
  for _, word in ipairs(list) do steps[#steps + 1] = { gap or 0.1, chunk { content = word } } end
  steps[#steps + 1] = { 0, chunk({}, "stop") }
  steps[#steps + 1] = { 0, USAGE }
  steps[#steps + 1] = { 0, DONE }
  return streamed(steps)
end

-- All pieces of a stream, with the time of each.
local function pieces_of(w, stream)
  local out = {}
  w.loop.run(function()
    while true do
      local at = w:now()
      local piece, message, code = stream:read()
      if code then error(code .. ": " .. message, 0) end
      if not piece then break end
      out[#out + 1] = { piece = piece, waited = w:now() - at }
    end
  end)
  return out
end

local function bytes_of(list)
  local out = {}
  for i, item in ipairs(list) do
    local p = item.piece
    out[i] = ("%s|%s|%s"):format(tostring(p.event), tostring(p.id), p.data)
  end
  return out
end

local function sleep(w, seconds)
  w.loop.run(function() w.loop.sleep(seconds) end)
end

describe("a stream out of the cache", function()
  it("has the pieces that came, byte for byte, at once", function()
    local w = cached { words { "hel", "lo", " 天", "气" } }
    local first = w:stream()
    local came = pieces_of(w, first)
    sleep(w, 5)
    local again = w:stream()
    assert.equal("cache", again.source)
    local before = w:now()
    local given = pieces_of(w, again)
    assert.equal(before, w:now())
    assert.same(bytes_of(came), bytes_of(given))
    for i, item in ipairs(came) do assert.same(item.piece, given[i].piece) end
    assert.same(first:reply().body, again:reply().body)
    assert.same(first:reply().usage, again:reply().usage)
    assert.equal("hello 天气", again:reply().text)
    assert.same({ 0, "a", 0 }, { again:reply().cost, again.target, again.tries })
    assert.near(5.4, again.age + 0.4, 0.5)
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("comes again as fast as it came, where that is wanted", function()
    local w = cached({ words({ "a", "b", "c" }, 2) }, { replay = 1 })
    pieces_of(w, w:stream())
    local began = w:now()
    local given = pieces_of(w, w:stream())
    assert.near(4, w:now() - began, 0.01) -- what comes before the first word comes with it
    local waits = {}
    for i, item in ipairs(given) do waits[i] = math.floor(item.waited + 0.5) end
    assert.same({ 0, 0, 2, 2, 0, 0 }, waits)
    w = cached({ words({ "a", "b", "c" }, 2) }, { replay = 4 })
    pieces_of(w, w:stream())
    began = w:now()
    pieces_of(w, w:stream())
    assert.near(1, w:now() - began, 0.01)
    w:assert_clean()
  end)

  it("is not kept from a caller whose time is nearly over", function()
    local w = cached({ words({ "a", "b", "c" }, 20) }, { replay = 1 })
    pieces_of(w, w:stream())
    local began = w:now()
    local stream = w:stream { deadline = 30 }
    pieces_of(w, stream)
    assert.equal("abc", stream:reply().text)
    assert.near(30, w:now() - began, 0.01)
    stream = w:stream { clocks = { token = 5 } } -- longer pauses would be a cut
    pieces_of(w, stream)
    assert.equal("abc", stream:reply().text)
  end)

  it("ends when it is closed, cancelled or the client is", function()
    local unbusy = require "unbusy"
    for _, how in ipairs { "close", "cancel", "client", "task" } do
      local w = cached({ words({ "a", "b", "c" }, 20) }, { replay = 1 })
      pieces_of(w, w:stream())
      local cancel, code = unbusy.canceller(), nil
      local began = w:now()
      w.loop.run(function()
        local stream = w:stream { cancel = cancel }
        local task = w.loop.spawn(function()
          repeat
            local piece
            piece, _, code = stream:read()
          until not piece
        end)
        w.loop.sleep(5)
        if how == "close" then stream:close()
        elseif how == "cancel" then cancel:cancel()
        elseif how == "client" then w.client:close()
        else w.loop.cancel(task) end
        w.loop.sleep(1)
      end)
      assert.near(6, w:now() - began, 0.01)
      assert.equal(({ close = "closed", cancel = "cancelled", client = "closed" })[how], code)
      assert.equal(0, w.client:status().active)
    end
  end)

  it("is a whole answer for who wants that, and the reverse", function()
    local w = cached { words { "hel", "lo" }, world.status(500) }
    pieces_of(w, w:stream())
    local whole = w:chat()
    assert.same({ "cache", "hello", "stop", 5 },
      { whole.source, whole.text, whole.finish_reason, whole.usage.total_tokens })
    assert.same(whole.body, json.decode(whole.raw))
    w = cached { world.good "hello", world.status(500) }
    w:chat()
    local given = pieces_of(w, w:stream())
    assert.equal(1, #given)
    assert.equal("hello", given[1].piece.text)
  end)

  it("has names and ids of its events", function()
    local step = function(text) return { 0, text } end
    local w = cached { streamed { step("event: message\nid: 7\n" .. chunk { content = "a" }),
      step("id\n" .. chunk { content = "b" }), step(chunk({ content = "c" }, "stop")),
      step(DONE) } }
    local came = pieces_of(w, w:stream())
    assert.same(bytes_of(came), bytes_of(pieces_of(w, w:stream())))
  end)

  it("says of the usage what the caller asked for", function()
    local w = cached { words { "hello" } }
    local function read(o)
      local request = { messages = world.question.messages, stream_options = o }
      local stream = w.client:stream(request)
      local n = #pieces_of(w, stream)
      return n, stream:reply().usage.total_tokens
    end
    local all = read(nil)
    assert.equal(4, all)
    assert.equal(4, (read(nil)))
    assert.equal(4, (read { include_usage = true }))
    assert.same({ 3, 5 }, { read { include_usage = false } })
    assert.equal(3, (read { include_obfuscation = false }))
    assert.equal(1, #w.log)
  end)

  it("has the pieces of several tries, where it was gone on with", function()
    local w = resumed.build { servers = { a = { cuts = { resumed.DONE } } },
      options = { cache = true } }
    local request = resumed.question()
    local first = assert(w.client:stream(request))
    local came = pieces_of(w, first)
    for i = #came, 1, -1 do -- one of them was swallowed by the seam
      if not came[i].piece.data then table.remove(came, i) end
    end
    assert.same({ "upstream", 1 }, { first.source, first.resumed })
    local again = assert(w.client:stream(request))
    assert.same(bytes_of(came), bytes_of(pieces_of(w, again)))
    assert.same({ "cache", resumed.TEXT, 0 },
      { again.source, again:reply().text, again.resumed })
    assert.equal(2, #w.log)
  end)

  it("has the pieces of one that several have read, whoever of them has left", function()
    local w = cached { words({ "a", "b", "c" }, 1) }
    local first, second
    w.loop.run(function()
      local stream
      w.loop.spawn(function()
        stream = w:stream()
        stream:read()
      end)
      w.loop.sleep(1.5)
      w.loop.spawn(function()
        second = w:stream()
        first = bytes_of(pieces_of(w, second))
      end)
      w.loop.sleep(0.2)
      stream:close()
      w.loop.sleep(10)
    end)
    assert.equal("coalesced", second.source)
    local third = w:stream()
    assert.equal("cache", third.source)
    assert.same(first, bytes_of(pieces_of(w, third)))
    assert.equal(1, #w.log)
    w:assert_clean()
  end)

  it("is one piece where pieces are not kept", function()
    local w = cached({ words { "hel", "lo" } }, { replay = false })
    pieces_of(w, w:stream())
    local given = pieces_of(w, w:stream())
    assert.equal(1, #given)
    assert.equal("hello", given[1].piece.text)
  end)
end)

describe("a stream is kept", function()
  local function is_kept(answer, read, cache)
    local w = cached({ answer, world.status(503) }, cache)
    read(w, w:stream())
    w.client.fallback = nil
    return w:stream() ~= nil
  end

  local function all(_, stream) return stream:reply() end

  local function cut(steps)
    local answer = words { "hel", "lo" }
    for _ = 1, steps do table.remove(answer.steps) end
    return answer
  end

  it("only when it has come to its good end", function()
    assert.is_true(is_kept(words { "hel", "lo" }, all))
    assert.is_true(is_kept(cut(1), all)) -- without [DONE], but whole
    assert.is_false(is_kept(cut(3), all))
    assert.is_false(is_kept(cut(4), all))
    local broken = words { "hel", "lo" }
    broken.fail, broken.message = "network", "reset"
    table.remove(broken.steps)
    assert.is_false(is_kept(broken, all))
  end)

  it("not when it was left in the middle, however that came about", function()
    assert.is_false(is_kept(words { "hel", "lo" }, function(_, s) s:read() s:close() end))
    assert.is_false(is_kept(words { "hel", "lo" }, function(_, s) s:read() s:read() s:close() end))
    assert.is_false(is_kept(words { "hel", "lo" }, function(_, s)
      pcall(function() for _ in s:pieces() do error "thrown" end end)
      s:close()
    end))
    assert.is_false(is_kept(words({ "hel", "lo" }, 1), function(w, s)
      w.loop.run(function()
        local task = w.loop.spawn(function() s:reply() end)
        w.loop.sleep(0.5)
        w.loop.cancel(task)
      end)
    end))
    assert.is_false(is_kept(words { "hel", "lo" }, function(_, s) -- all was there; nobody has seen
      repeat local piece = s:read() until piece.finish            -- that it was the end
      s:close()
    end))
  end)

  it("not when it asks for a tool, is filtered, or has an error in it", function()
    local function ending(delta, finish)
      return streamed { { 0, chunk { content = "x" } }, { 0, chunk(delta, finish) }, { 0, DONE } }
    end
    assert.is_true(is_kept(ending({ content = "y" }, "stop"), all))
    for _, finish in ipairs { "length", "content_filter", "tool_calls" } do
      assert.is_false(is_kept(ending({}, finish), all), finish)
    end
    assert.is_false(is_kept(ending({ tool_calls = { { index = 0, id = "1",
      ["function"] = { name = "f", arguments = "{}" } } } }, "stop"), all))
    assert.is_false(is_kept(ending({ refusal = "no" }, "stop"), all))
    assert.is_false(is_kept(streamed { { 0, chunk { content = "x" } },
      { 0, 'data: {"error":{"message":"busy"}}\n\n' }, { 0, chunk({}, "stop") },
      { 0, DONE } }, all))
  end)

  it("whole, where its pieces are more than the cache has room for", function()
    local list = {}
    for i = 1, 200 do list[i] = ("%d %s "):format(i, ("x"):rep(20)) end
    local w = cached({ words(list), world.status(503) }, { bytes = 8000 })
    local text = w:stream():reply().text
    local again = w:stream()
    assert.equal("cache", again.source)
    assert.equal(1, #pieces_of(w, again))
    assert.equal(text, again:reply().text)
  end)

  it("and takes no good answer's place when it is cut", function()
    local w = cached({ words { "good" }, cut(4), cut(3) }, { ttl = 1, jitter = 0 })
    assert.equal("good", w:stream():reply().text)
    sleep(w, 2)
    assert.equal("cut", select(3, w:stream():reply()))
    w.script.a[3] = world.status(503)
    local last = w:stream()
    assert.same({ "stale", "good" }, { last.source, last:reply().text })
  end)
end)

describe("a recording", function()
  local function call_at(w)
    return { loop = w.loop, kind = "chat", request = {}, deadline = 1e9 }
  end

  local function again(w, bytes, answer, pace)
    local out, source = {}, recording.pieces(call_at(w), bytes, 1, answer, pace)
    while true do
      local ready = source:is_ready()
      local piece, message, code = source:read(1e9)
      if not piece then return out, message, code end
      assert.is_true(ready)
      out[#out + 1] = piece
    end
  end

  local function event(r)
    local text = {}
    local bits = { "a", "b", "\\n", "天", "é", " ", ":", "x\\u0000" }
    for i = 1, r:int(20) - 1 do text[i] = r:pick(bits) end
    local data = r:pick { '{"choices":[{"index":0,"delta":{"content":"%s"}}]}',
      '{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}],"id":"7"}',
      '{"x":"%s","choices":[]}', '{"choices":[{"index":1,"delta":{"reasoning":"%s"}}]}' }
    return { data = data:format(table.concat(text)), event = r:pick { nil, nil, "", "e\nx" },
      id = r:pick { nil, nil, "", "12" } }
  end

  it("gives any row of events back as it was", function()
    local r = random.new(random.seed(4711))
    local w = cached { world.good() }
    for _ = 1, 300 do
      local recorder, events = recording.new(call_at(w), 1e9), {}
      for i = 1, r:int(30) do
        events[i] = event(r)
        recorder:add(events[i])
      end
      local given = again(w, recorder:bytes(), {}, true)
      assert.equal(#events, #given)
      for i, e in ipairs(events) do
        assert.same({ e.data, e.event or false, e.id or false },
          { given[i].data, given[i].event or false, given[i].id or false })
      end
    end
  end)

  it("takes little room for what repeats", function()
    local w = cached { world.good() }
    local recorder, size = recording.new(call_at(w), 1e9), 0
    for i = 1, 500 do
      local data = chunk({ content = "word" .. i }):sub(7, -3)
      recorder:add { data = data }
      size = size + #data
    end
    assert.is_true(#recorder:bytes() < size / 3)
  end)

  it("that is torn is never taken for a whole one", function()
    local w = cached { world.good() }
    local recorder = recording.new(call_at(w), 1e9)
    for i = 1, 5 do recorder:add { data = chunk({ content = "w" .. i }):sub(7, -3) } end
    local bytes = recorder:bytes()
    local count = #again(w, bytes, {}, true)
    assert.equal(5, count)
    local whole = 0
    for last = 1, #bytes - 1 do
      local given, _, code = again(w, bytes:sub(1, last), {}, true)
      if code == nil then whole = whole + 1 else assert.equal("cut", code) end
      assert.is_true(#given < 5)
    end
    assert.equal(4, whole) -- where one event ends, whose length the head of the value has
    for _, junk in ipairs { "\0", "1 2 3\n", "0 9 9 -1 -1 0\n", "0 0 0 5 5 5\nabc" } do
      assert.equal("cut", select(3, again(w, junk, {}, true)))
    end
  end)

  it("without bytes to give again is none", function()
    local w = cached { world.good() }
    local recorder = recording.new(call_at(w), 1e9)
    assert.is_nil(recorder:bytes())
    recorder:add { data = "{}" }
    recorder:add { text = "x" }
    recorder:add { data = "{}" }
    assert.is_nil(recorder:bytes())
  end)
end)

describe("the bytes of an answer", function()
  local call = { kind = "chat", request = {}, keeps = false }
  local body = { choices = { { index = 0, finish_reason = "stop",
    message = { role = "assistant", content = "x" } } } }

  local function pack(pieces)
    return stored.pack(call, { source = "upstream", target = "a", body = body,
      raw = json.encode(body), is_weak = function() end }, 12.5, pieces)
  end

  it("say what was put in", function()
    local target, text, at = stored.unpack(pack "P")
    assert.same({ "a", json.encode(body) }, { target, text })
    assert.equal("P", pack "P":sub(at))
    assert.equal(#pack() + 1, select(3, stored.unpack(pack())))
    assert.is_nil(stored.ttl "a\n{}")
    assert.equal(12.5, stored.ttl(pack()))
  end)

  it("are told from other bytes", function()
    local value = pack()
    for last = 0, #value - 1 do assert.is_nil((stored.unpack(value:sub(1, last)))) end
    local with_pieces = pack "0 0 0 -1 -1 2\n{}"
    for last = 0, #with_pieces - 1 do
      assert.is_nil((stored.unpack(with_pieces:sub(1, last))))
    end
    assert.is_nil((stored.unpack(with_pieces .. "x")))
    for _, junk in ipairs { "", "a\n{}", "\1", "\1a\n", "\1" .. ("x"):rep(60) .. "\n{}", "{}",
      "\1" .. ("0"):rep(39), "\1" .. ("0"):rep(38) .. "9a\n{}", "\0" .. value:sub(2),
      "\3" .. value:sub(2) } do
      assert.is_nil((stored.unpack(junk)))
    end
  end)
end)
