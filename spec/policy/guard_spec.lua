-- core.guarded: what runs a script's functions within limits.
local core = require "unbusy.core"

local MB = 1024 * 1024

local COLLECTOR = os.getenv "UNBUSY_COLLECTOR" -- is always at work then
local MOST = COLLECTOR and 2 * MB or 32 * MB

-- A function of that text, which LuaJIT does not compile.
local function interpreted(text, ...)
  local f = assert(load(text, "@guest.lua"))
  if jit then jit.off(f, true) end -- luacheck: ignore 113
  return f, ...
end

local function run(text, ...)
  return core.guarded(1e6, 32 * MB, interpreted(text), ...)
end

describe("a guarded function", function()
  it("is given what comes behind it, and two of its results come back", function()
    assert.same({ true, 3, "b" }, { run("local a, b = ... return a + b, 'b', 'c'", 1, 2) })
    assert.same({ true, n = 3 }, { n = select("#", run "return"), (run "return") })
  end)

  it("raises nothing: the error comes back as it was thrown", function()
    local thrown = {}
    assert.same({ false, "guest.lua:1: oh" }, { run "error 'oh'" })
    local ok, value = core.guarded(1e6, MB, error, thrown)
    assert.is_false(ok)
    assert.is_true(rawequal(thrown, value))
    assert.same({ false, nil }, { (run "error()"), (select(2, run "error()")) })
  end)

  it("is stopped where it runs for ever, in whatever loop", function()
    for _, text in ipairs { "while true do end", "for i = 1, math.huge do end",
      "repeat until false", "::a:: goto a", "local function f() return f() end return f()",
      "local s = ('x'):rep(1000) while true do s:gsub('.', function() end) end",
      "while true do local t = {} for k in pairs(t) do end end" } do
      local ok, message, why = run(text)
      assert.is_false(ok, text)
      assert.equal("long", why, text)
      assert.matches("guest.lua:1: it ran too long$", message)
    end
  end)

  it("is stopped where its instructions are few and each of them is slow", function()
    for _, text in ipairs { "local s = ('x'):rep(1e6) while #s > 0 do s = s:sub(2) end",
      "local s = ('x'):rep(1e7) while true do s:find('y', 1, true) end" } do
      assert.same({ false, "long" }, { (run(text)), (select(3, run(text))) }, text)
    end
  end)

  it("is stopped though it catches errors", function()
    local ok, value, why = run [[
      local n = 0
      while true do pcall(function() while true do end end) n = n + 1 end]]
    assert.same({ false, "long" }, { ok, why })
    assert.matches("it ran too long$", value)
    ok, value, why = core.guarded(1e5, MB, pcall, interpreted "while true do end")
    assert.same({ false, nil, "long" }, { ok, value, why })
  end)

  it("is stopped in a coroutine of its own, which is free again afterwards", function()
    if COLLECTOR then return end -- which has a hook in each coroutine
    local co
    local ok, _, why = core.guarded(1e5, MB, interpreted [[
      local give = ...
      local co = coroutine.create(function() while true do end end)
      give(co)
      coroutine.resume(co)
      while true do end]], function(made) co = made end)
    assert.same({ false, "long" }, { ok, why })
    assert.equal("dead", coroutine.status(co))
    local free = coroutine.wrap(function()
      while true do coroutine.yield(core.guarded(1e5, MB, interpreted "return 1")) end
    end)
    assert.is_true(free())
    local kept = {}
    core.guarded(1e6, MB, interpreted [[
      local kept = ...
      kept.co = coroutine.create(function()
        local n = 0
        for i = 1, 3e6 do n = n + 1 end
        return n
      end)]], kept)
    assert.same({ true, 3e6 }, { coroutine.resume(kept.co) })
  end)

  it("gets no more memory than it may, by whatever means", function()
    for _, text in ipairs { "local t = {} while true do t[#t + 1] = {} end",
      "local s = 'x' while true do s = s .. s end", "return ('x'):rep(5e8)",
      "local s, t = ('x'):rep(1e6), {} for i = 1, 64 do t[i] = s end return table.concat(t, s)",
      "return (('x'):rep(1e4):gsub('.', ('y'):rep(1e5)))" } do
      collectgarbage()
      local before = collectgarbage "count"
      local ok, message, why = core.guarded(1e8, MOST, interpreted(text))
      local after = collectgarbage "count"
      assert.is_false(ok, text)
      assert.equal("memory", why, text)
      assert.matches("not enough memory$", message, text)
      assert.is_true(after - before <= 33 * 1024, ("%s: %.0f KiB"):format(text, after - before))
    end
  end)

  it("may make more garbage than it may hold", function()
    local ok, length = core.guarded(1e7, 8 * MB, interpreted [[
      local s = ("x"):rep(1e5)
      for i = 1, 200 do s = s:sub(2) .. (i % 10) end
      return #s]])
    assert.same({ true, 1e5 }, { ok, length })
  end)

  it("leaves the memory that others have as it was", function()
    for _ = 1, 3 do run "local t = {} while true do t[#t + 1] = {} end" end
    collectgarbage()
    collectgarbage()
    local before, kept = collectgarbage "count", {}
    for i = 1, 50 do kept[i] = ("x"):rep(MB) .. i end -- more than a guest may have
    assert.equal(50, #kept)
    assert.is_true(collectgarbage "count" - before > 50 * 1000)
  end)

  it("cannot recurse for ever", function()
    for _, text in ipairs { "local function f() return 1 + f() end return f()",
      "local function f(s) return (s:gsub('.', f)) end return f 'x'",
      "local function f() table.sort({ 1, 2 }, f) end f()" } do
      local ok, message = run(text)
      assert.is_false(ok, text)
      assert.equal("string", type(message))
      assert.is_true(message:find "overflow" ~= nil or message:find "it ran too long" ~= nil
        or message:find "not enough memory" ~= nil, message)
    end
    assert.same({ true, 7 }, { run "return 7" })
  end)

  it("cannot yield, in whatever runs it", function()
    local text = "coroutine.yield(1) return 2"
    local function assert_refused(ok, message)
      assert.is_false(ok)
      assert.matches("attempt to yield", message)
    end
    assert_refused(run(text))
    assert_refused(coroutine.wrap(function() return run(text) end)())
  end)

  it("puts back the hook that was there", function()
    local count = 0
    local function hook() count = count + 1 end
    debug.sethook(hook, "c", 7)
    run "return 1"
    local after_good = { debug.gethook() }
    run "while true do end"
    local after_long = { debug.gethook() }
    run "local s = 'x' while true do s = s .. s end"
    local after_memory = { debug.gethook() }
    debug.sethook()
    for _, now in ipairs { after_good, after_long, after_memory } do
      assert.same({ hook, "c", 7 }, now)
    end
    assert.is_true(count > 0)
    run "return 1"
    assert.is_nil((debug.gethook()))
  end)

  it("may run another one, each within its own limits", function()
    local ok, inner, why = core.guarded(1e6, 32 * MB, function()
      local _, _, reason = run "while true do end"
      return "outer", reason
    end)
    assert.same({ true, "outer", "long" }, { ok, inner, why })
    local _
    ok, _, why = core.guarded(1e6, MB, function()
      core.guarded(1e6, 32 * MB, interpreted "return ('x'):rep(3e6)")
      return interpreted "return ('x'):rep(3e6)"()
    end)
    assert.same({ false, "memory" }, { ok, why })
  end)

  -- Where garbage fills its room, Lua 5.4 collects and goes on: that is no limit that ended it.
  it("ends by its own error, though it touched the limit before", function()
    local f = interpreted "for i = 1, 40 do local s = ('x'):rep(4e4 + i) end error('oh', 0)"
    collectgarbage "collect"
    collectgarbage "stop"
    local ok, message, why = core.guarded(1e7, MB, f)
    collectgarbage "restart"
    assert.same({ false, "oh" }, { ok, message, why })
  end)

  it("must be called rightly", function()
    assert.has_error(function() core.guarded() end)
    assert.has_error(function() core.guarded(1, 2) end)
    local ok, message = core.guarded(1e6, MB, nil)
    assert.is_false(ok)
    assert.matches("call a nil value", message)
  end)
end)

describe("core.stamp", function()
  local path
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function write(text, mode)
    local f = assert(io.open(path, mode or "wb"))
    f:write(text)
    f:close()
  end

  it("is the same for a file that nobody touches, and another one when somebody does", function()
    write "one"
    local first, written = core.stamp(path)
    assert.equal(first, (core.stamp(path)))
    assert.is_true(math.abs(written - os.time()) < 5)
    write("s", "ab")
    local longer = core.stamp(path)
    assert.not_equal(first, longer)
    os.execute(("touch -d '2001-02-03 04:05:06.789 UTC' %s"):format(path))
    local old, seconds = core.stamp(path)
    assert.not_equal(longer, old)
    assert.is_true(math.abs(seconds - 981173106.789) < 1e-3, seconds)
    os.execute(("cp -p %s %s.new && mv %s.new %s"):format(path, path, path, path))
    assert.not_equal(old, (core.stamp(path)))
  end)

  it("is none for what is not there, a directory, a pipe or a device", function()
    local fifo = path .. ".fifo"
    assert(os.execute("mkfifo " .. fifo))
    for what, message in pairs { ["/does/not/exist"] = "No such file", ["/tmp"] = "Is a directory",
      ["/dev/zero"] = "not supported", [fifo] = "not supported" } do
      local stamp, why = core.stamp(what)
      assert.is_nil(stamp)
      assert.matches("^" .. what:gsub("%p", "%%%0") .. ": .*" .. message, why)
    end
    os.remove(fifo)
  end)
end)
