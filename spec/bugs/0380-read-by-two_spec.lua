-- Two tasks that read one stream: all pieces went to the one, and at the end the other was told
-- that the transfer was over ("closed"); with that the answer was gone, for the first one, too. It
-- is wrong use, and is told so where it happens.
local guard = require "spec.support.leak_guard"
local world = require "spec.support.world"

local function new()
  local events = {}
  for i = 1, 5 do events[i] = { 1, world.chunk { content = i .. " " } } end
  events[6], events[7] = { 1, world.chunk({}, "stop") }, { 0, world.DONE }
  return world.new { script = { a = { world.streamed(events) } }, targets = { a = {} } }
end

describe("a stream that two tasks read", function()
  guard.watch(before_each, after_each)

  local ways = {
    read = function(stream) stream:read() end,
    pieces = function(stream) for _ in stream:pieces() do end end, -- luacheck: ignore 542
    reply = function(stream) stream:reply() end,
  }

  for name, way in pairs(ways) do
    it("raises for the second one, with " .. name .. ", and the first one has all of it", function()
      local w, reply, message = new(), nil, nil
      w.loop.run(function()
        local stream = assert(w.client:stream(world.question))
        local first = w.loop.spawn(function() reply = stream:reply() end)
        w.loop.sleep(1.5)
        message = select(2, pcall(way, stream))
        first:join()
      end)
      assert.equal("1 2 3 4 5 ", reply and reply.text)
      assert.matches("0380[^:]*:%d+: this stream is being read by another task$", message)
      w:assert_clean()
    end)
  end

  it("may be read by one after the other", function()
    local w, texts = new(), {}
    w.loop.run(function()
      local stream = assert(w.client:stream(world.question))
      w.loop.spawn(function() texts[1] = stream:read().text end):join()
      w.loop.spawn(function() texts[2] = stream:reply().text end):join()
    end)
    assert.same({ "1 ", "1 2 3 4 5 " }, texts)
    w:assert_clean()
  end)
end)
