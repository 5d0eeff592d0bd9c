-- A parser is entered again in the middle of `feed`: by a finalizer, since events take memory, or
-- (where `feed` is Lua) by a hook. Under ASan a byte that is read too late ends the run.
local files = require "spec.support.files"
local sse = require "unbusy.sse"
local when_collected = require "spec.support.when_collected"

describe("sse entered twice", function()
  -- A parser in the middle of an event, and the chunk with its end and 20 more.
  local function begun(salt)
    local p, rest = sse.new {}, {}
    assert.same({}, p:feed("id: 7\nevent: " .. salt .. "\ndata: held\nda"))
    for i = 1, 20 do rest[i] = ("event: t%d\ndata: %s %d\n\n"):format(i, salt, i) end
    return p, "ta: too\n\n" .. table.concat(rest)
  end

  -- They are whole, as many as came.
  local function whole(got, salt)
    for i, event in ipairs(got) do
      assert.equal(i == 1 and "held\ntoo" or ("%s %d"):format(salt, i - 1), event.data)
      assert.equal(i == 1 and salt or "t" .. (i - 1), event.event)
      assert.equal("7", event.id)
    end
  end

  it("lets another parser be fed in the middle", function()
    for round = 1, 200 do
      local other, p, chunk = sse.new {}, begun("round" .. round)
      for _ = 1, 50 do
        when_collected(function() other:feed(("id: x\nevent: y\ndata: z%d\n\n"):format(round)) end)
      end
      local got = assert(p:feed(chunk))
      assert.equal(21, #got)
      whole(got, "round" .. round)
    end
  end)

  it("gives whole events when it is fed or finished in the middle", function()
    local pause, step = collectgarbage("setpause", 0), collectgarbage("setstepmul", 10000)
    for round = 1, 30 do -- the collector is at work at each allocation, more or less
      local p, chunk = begun("round" .. round)
      when_collected(function() p:feed "" end)
      when_collected(function() p:finish() end)
      local got = p:feed(chunk)
      if got then whole(got, "round" .. round) end
    end
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", step)
  end)

  -- Feeds while a hook feeds another parser all the time, and this one at its n-th call.
  local function hooked(n)
    local other, calls, p, chunk = sse.new {}, 0, begun "hooked"
    debug.sethook(function()
      calls = calls + 1
      if calls == n then p:feed "" end
      other:feed(("id: x\nevent: y\ndata: z%d\n\n"):format(calls))
    end, "", 5)
    local got = p:feed(chunk)
    debug.sethook()
    if got then whole(got, "hooked") end
  end

  it("holds its events together when a hook cuts in", function()
    if jit then jit.flush() jit.off() end -- luacheck: ignore 113
    for n = 1, 200 do hooked(n) end
    if jit then jit.on() end -- luacheck: ignore 113
  end)
end)

-- The events lie in the chunk until they are strings: it must not be collected before, though the
-- caller has let go of it.
describe("sse at work with the collector", function()
  it("keeps the chunk while its events are read", function()
    local lua = os.getenv "UNBUSY_LUA" or rawget(_G, "jit") and "luajit" or "lua5.4"
    local wrong = files.output(lua .. " spec/support/sse_collected.lua 2>&1")
    assert.equal("0\n", wrong)
  end)
end)
