-- Those who leave while a stream is being gone on with: nothing of it is left, wherever it stood
-- (in its pause, in the waiting line, before the first byte, in the rest).
local busyd = require "spec.support.busyd"
local cqueues = require "cqueues"
local guard = require "spec.support.leak_guard"
local scheduler = require "unbusy.loops.scheduler"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }
local CUT = { preset = "cut_stream", after = 3 }

-- Where the continuation stands: the programme behind the cut, and options of the client.
local places = {
  ["in its pause"] = { retry = { base = 100, jitter = 0 } },
  ["in the waiting line"] = { limiter = { kind = "fixed", initial = 1 }, other = true },
  ["before the first byte"] = { next = { preset = "stall_headers", seconds = 30 } },
  ["in its first bytes"] = { next = { preset = "role_then_stall", seconds = 30 } },
  ["in the rest"] = { next = { preset = "stall_stream", seconds = 30 } },
}

describe("leaving while a stream is gone on with,", function()
  guard.watch(before_each, after_each)
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local function new(place)
    local seen = {}
    local client = unbusy.new { resume = "prefix", limiter = place.limiter,
      targets = { { name = "a", url = up.url, key = "k", prefix = "flag", proxy = false } },
      retry = place.retry or { base = 0.01 }, on_event = function(e) seen[e.type] = true end }
    up:programme { reset = true, script = { CUT, place.next },
      answer = { text = ("word "):rep(50), chunks = 9 } }
    return client, seen
  end

  -- Is the continuation where it is to be?
  local function is_there(place, seen)
    if place.retry then return seen.retry end
    if place.other then return seen.queued end
    return up:counts().received == 2
  end

  local function is_well(client)
    local rounds = 0
    -- Compiled code holds functions, and what is theirs.
    if jit then jit.flush() end -- luacheck: ignore 113
    repeat -- what was dropped is collected, by and by
      collectgarbage()
      rounds = rounds + 1
    until client:status().active == 0 or rounds == 50
    local s = client:status()
    assert.same({ 0, 0, 0, 0 }, { s.active, s.waiting, s.budget.permits, s.budget.active })
    for _, l in pairs(s.targets[1].limits) do assert.equal(0, l.in_flight) end
    assert.equal(0, s.targets[1].breaker.outstanding)
    assert.is_false(wire.busy())
    up:programme { reset = true }
    assert.equal("echo: hi", assert(client:chat(QUESTION)).text)
    client:close()
  end

  -- Somebody takes the only place as soon as it is free.
  local function take_place(client, place, begin)
    if not place.other then return end
    begin(function()
      up:programme { script = { CUT, { preset = "stall_headers", seconds = 3 } } }
      client:chat(QUESTION)
    end)
  end

  for name, place in pairs(places) do
    it("a controller that is dropped, " .. name, function()
      local client, seen = new(place)
      do
        local cq, opened = cqueues.new(), false
        cq:wrap(function()
          local stream = assert(client:stream(QUESTION))
          opened = true
          while place.other and client:status().waiting == 0 do cqueues.sleep(0.01) end
          stream:reply()
        end)
        repeat assert(cq:step(0.01)) until opened
        take_place(client, place, function(f) cq:wrap(f) end)
        for _ = 1, 500 do
          assert(cq:step(0.01))
          if is_there(place, seen) then break end
        end
        assert.is_truthy(is_there(place, seen))
        for _ = 1, 5 do assert(cq:step(0.01)) end
      end
      is_well(client)
    end)

    it("a task that is cancelled, " .. name, function()
      local client, seen = new(place)
      unbusy.run(function()
        local stream = assert(client:stream(QUESTION))
        local other
        take_place(client, place, function(f) other = unbusy.spawn(f) end)
        while place.other and client:status().waiting == 0 do unbusy.sleep(0.01) end
        local reader = unbusy.spawn(function() stream:reply() end)
        while not is_there(place, seen) do unbusy.sleep(0.01) end
        unbusy.sleep(0.05)
        scheduler.cancel(reader)
        assert.is_false((pcall(reader.join, reader)))
        if other then scheduler.cancel(other) end
      end)
      is_well(client)
    end)

    it("a stream that is closed, " .. name, function()
      local client, seen = new(place)
      unbusy.run(function()
        local stream = assert(client:stream(QUESTION))
        local other, code
        take_place(client, place, function(f) other = unbusy.spawn(f) end)
        while place.other and client:status().waiting == 0 do unbusy.sleep(0.01) end
        local reader = unbusy.spawn(function() code = select(3, stream:reply()) end)
        while not is_there(place, seen) do unbusy.sleep(0.01) end
        unbusy.sleep(0.05)
        stream:close()
        stream:close()
        reader:join()
        assert.is_truthy(code == "cancelled" or code == "closed", code)
        if other then scheduler.cancel(other) end
      end)
      is_well(client)
    end)
  end

  it("a reader that throws in the rest", function()
    local client = new {}
    local pieces = 0
    local ok, message = pcall(unbusy.run, function()
      local stream = assert(client:stream(QUESTION))
      for _ in stream:pieces() do
        pieces = pieces + 1
        if stream.answer.resumed == 1 then error("mine", 0) end
      end
    end)
    assert.same({ false, "mine" }, { ok, message })
    is_well(client)
  end)

  it("a watcher of the wait that throws", function()
    local client = new {}
    local stream = assert(client:stream(QUESTION))
    function stream.on_resume(begins) if begins then error("mine", 0) end end
    local ok, message = pcall(stream.reply, stream)
    assert.same({ false, "mine" }, { ok, message })
    is_well(client)
  end)
end)
