local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local tasks = require "unbusy.loops.tasks"
local wire = require "unbusy.loops.wire"

describe("the wire", function()
  guard.watch(before_each, after_each)
  local up

  setup(function() up = busyd.start { tls = true } end)
  teardown(function() up:stop() end)
  before_each(function() up:programme { reset = true } end)

  -- Reads an exchange to its end, in a task.
  local function read_all(loop, x)
    local out = { pieces = {} }
    while true do
      local kind, a, b, c = x:take()
      if not kind then
        x.event:clear()
        loop.wait { x.event }
      elseif kind == "head" then
        out.status = a
      elseif kind == "data" then
        out.pieces[#out.pieces + 1] = a
      else
        out.code, out.message, out.info = a, b, c
        out.body = table.concat(out.pieces)
        return out
      end
    end
  end

  local function fetch(request)
    return tasks.enter(function(loop) return read_all(loop, assert(loop.open(request))) end)
  end

  it("carries exchanges of many tasks at once", function()
    local sum = 0
    up:programme { latency = { kind = "uniform", min = 0, max = 0.05 }, reset = true }
    tasks.run(function()
      for i = 1, 200 do
        tasks.spawn(function()
          local got = fetch(engines.chat(up, "n" .. i .. "."))
          assert(got.body:find("echo: n" .. i .. ".", 1, true))
          sum = sum + 1
        end)
      end
    end)
    assert.equal(200, sum)
    assert.equal(0, wire.active())
    assert.equal(200, up:counts().completed)
  end)

  it("is one engine, made when first needed and closed when idle", function()
    assert.equal(0, core.stats().engines)
    assert.equal(200, fetch(engines.chat(up)).status)
    assert.equal(200, fetch(engines.chat(up)).status)
    assert.equal(1, core.stats().engines)
    assert.equal(1, up:counts().connections)
    tasks.enter(function(loop)
      local x = loop.open(engines.chat(up))
      wire.close_idle() -- it is not
      assert.equal(1, core.stats().engines)
      assert.equal(1, wire.active())
      x:close()
    end)
    wire.close_idle()
    wire.close_idle()
    assert.equal(0, core.stats().engines)
  end)

  it("serves a coroutine of somebody else's, and the tasks around it lose nothing", function()
    local outer
    tasks.run(function()
      tasks.spawn(function() outer = fetch(engines.chat(up, "outer")) end)
      tasks.enter(function(loop) loop.sleep(0) end)
      local inner = coroutine.wrap(function() return fetch(engines.chat(up, "inner")) end)()
      assert.matches("echo: inner", inner.body, 1, true)
      assert.is_nil(outer)
    end)
    assert.matches("echo: outer", outer.body, 1, true)
  end)

  it("what has been closed gives nothing more", function()
    tasks.enter(function(loop)
      for _, make in ipairs { engines.chat, engines.secure } do
        local x = assert(loop.open(make(up)))
        x:close()
        x:close()
        local kind, code, _, info = x:take()
        assert.same({ "end", "closed", "connect" }, { kind, code, info.phase })
        assert.equal("end", (x:take()))
      end
      local x = assert(loop.open(engines.chat(up)))
      assert.equal(200, read_all(loop, x).status)
      assert.equal("closed", (select(2, x:take())))
      x:close()
      x:abort()
    end)
    assert.equal(0, wire.active())
  end)

  it("an abort wakes whoever waits", function()
    up:programme { latency = 30, reset = true }
    local got = tasks.run(function()
      return tasks.enter(function(loop)
        local x = assert(loop.open(engines.chat(up)))
        loop.spawn(function()
          loop.sleep(0.02)
          x:abort()
        end)
        return read_all(loop, x)
      end)
    end)
    assert.equal("closed", got.code)
  end)

  it("a wrong request raises and leaves nothing", function()
    tasks.enter(function(loop)
      assert.has_error(function() loop.open {} end)
      local x, message, code = loop.open { url = "http://a b/", method = "GET", headers = {} }
      if x then code, message = read_all(loop, x).code, "" end
      assert.is_string(message)
      assert.equal("invalid", code)
    end)
    assert.equal(0, wire.active())
  end)

  it("waits for nothing when nothing is under way", function()
    assert.is_false(wire.idle(nil))
    assert.is_true(wire.idle(0))
    assert.equal(0, core.stats().engines) -- none is made only to look
    assert.is_true(wire.idle(0.001))
    assert.is_false(wire.idle(nil))
  end)

  it("does not sleep on news that came between two steps", function()
    -- Taking from a paused exchange lets libcurl work, which may end another one right there.
    up:programme { script = { { preset = "huge_event", bytes = 2 ^ 22 } } }
    tasks.enter(function(loop)
      local big = assert(loop.open(engines.chat(up, "x", { window = 1000 })))
      loop.sleep(0.1)
      local small = assert(loop.open { url = "http://127.0.0.1:1/", method = "GET", headers = {} })
      local rounds = 0
      loop.spawn(function() read_all(loop, big) end)
      repeat
        rounds = rounds + 1
        local kind = small:take()
        if not kind then
          small.event:clear()
          loop.wait { small.event }
        end
      until kind == "end"
      assert.is_true(rounds < 50)
    end)
    tasks.run(function() end)
  end)

  it("burns no processor while it waits for a slow answer", function()
    up:programme { latency = 0.5, reset = true }
    local cpu = os.clock()
    for _, make in ipairs { engines.chat, engines.secure } do
      assert.equal(200, fetch(make(up)).status)
    end
    cpu = os.clock() - cpu
    assert.is_true(cpu < (os.getenv "UNBUSY_SANITIZED" and 1 or 0.2), cpu)
  end)

  it("says so when an engine cannot be made", function()
    tasks.enter(function(loop)
      core.fail_alloc(1)
      local x, message, code = loop.open(engines.chat(up))
      core.fail_alloc(0)
      assert.is_nil(x)
      assert.is_string(message)
      assert.equal("nomem", code)
      assert.equal(200, fetch(engines.chat(up)).status)
    end)
  end)

  it("in a forked child begins anew, and leaves the parent's exchanges alone", function()
    if not package.loaded.jit then return end -- only LuaJIT can fork by itself
    local out = engines.child([[
      local ffi = require "ffi"
      ffi.cdef "int fork (void); int waitpid (int, int *, int); void _exit (int);"
      local core = require "unbusy.core"
      local engines = require "spec.support.engines"
      local tasks = require "unbusy.loops.tasks"
      local url = arg[1]
      local function read(loop, x)
        while true do
          local kind, a, b = x:take()
          if kind == "head" then io.write(a, " ") end
          if kind == "end" then return tostring(a) end
          if not kind then x.event:clear() loop.wait { x.event } end
        end
      end
      local function request() return { url = url, method = "GET", headers = {} } end
      tasks.enter(function(loop)
        print("before", read(loop, loop.open(request())))
        local x = loop.open(request())
        io.flush()
        local pid = ffi.C.fork()
        if pid == 0 then
          print("child's copy", read(loop, x))
          x:close()
          print("child's own", read(loop, loop.open(request())))
          io.flush()
          ffi.C._exit(0)
        end
        ffi.C.waitpid(pid, nil, 0)
        print("parent's", read(loop, x))
        print("parent's next", read(loop, loop.open(request())))
      end)
      print(core.stats().transfers)
    ]], nil, up.url .. "/v1/models")
    assert.equal("200 before\tnil\nchild's copy\tclosed\n200 child's own\tnil\n"
      .. "200 parent's\tnil\n200 parent's next\tnil\n0\nstatus 0\n", out)
  end)
end)
