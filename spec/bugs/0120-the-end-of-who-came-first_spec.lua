-- A call that is made for several lasts as long as the last of them has time. But whoever joined it
-- while a piece of its stream was waited for, or the header of its answer, was forgotten in that:
-- at the end of who came first the stream was cut off for all, by the token clock, as it said; and
-- an answer whose header had come meanwhile was given up, and asked for once more.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

describe("a call that others join", function()
  guard.watch(before_each, after_each)

  -- Reads it all: its text, or a failure.
  local function read(w, deadline)
    local stream = assert(w:stream { deadline = deadline })
    local piece, message, code, detail
    repeat piece, message, code, detail = stream:read() until not piece
    if code then return nil, message, code, detail end
    return stream:reply().text
  end

  -- One asks that has 2 s, and half a second later one that has a minute.
  local function both(answer, ask, clocks)
    local w = world.new { script = { a = { answer, world.good "of another try" } },
      options = { cache = { ttl = 60, jitter = 0 }, clocks = clocks } }
    local first, second
    w.loop.run(function()
      w.loop.spawn(function() first = { ask(w, 2) } end)
      w.loop.sleep(0.5)
      second = { ask(w, 60) }
    end)
    w:assert_clean()
    assert.equal(1, #w.log)
    assert.same({ "timeout", "total" }, { first[3], first[4].phase })
    return second
  end

  local function gap(seconds)
    return world.streamed { { 0, world.chunk { role = "assistant", content = "a" } },
      { seconds, world.chunk { content = "b" } }, { 0, world.chunk({}, "stop") },
      { 0, world.DONE } }
  end

  it("has its stream go on for those who have more time", function()
    assert.same({ "ab" }, both(gap(3), read))
    assert.same({ "ab" }, both(gap(20), read))
  end)

  it("which is still cut by the token clock", function()
    local second = both(gap(9), read, { token = 4 })
    assert.same({ "cut", "token" }, { second[3], second[4].phase })
    assert.matches("nothing more for 4 s", second[2], 1, true)
  end)

  it("has time for the body where one has joined before the header", function()
    local answer = { status = 200, after = 1, steps = { { 2, world.good "hello".body } } }
    local second = both(answer, function(w, deadline) return w:chat { deadline = deadline } end)
    assert.equal("hello", second[1].text)
  end)
end)
