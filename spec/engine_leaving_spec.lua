-- The engine and callers that leave: transfers cancelled, engines closed, wherever they are.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"

local chat, secure, fetch = engines.chat, engines.secure, engines.fetch

describe("the engine", function()
  local up, raw, e

  after_each(function()
    e:close()
    e = nil
  end)
  guard.watch(before_each, after_each) -- looks before what follows, and after what stands above

  setup(function()
    up = busyd.start { tls = true }
    raw = raw_server.start(up.dir)
  end)
  teardown(function()
    up:stop()
    raw:stop()
  end)
  before_each(function()
    up:programme { reset = true }
    e = assert(core.engine())
  end)

  describe("forgets what is cancelled", function()
    -- A transfer that has come so far.
    local phases = {
      ["before anything"] = function() return e:submit(chat(up)) end,
      ["before anything, over TLS"] = function() return e:submit(secure(up)) end,
      ["in the handshake"] = function()
        raw:freeze()
        local id = e:submit(chat(up, "x", { url = raw.tls_url }))
        engines.work(e, 5)
        return id
      end,
      ["looking up a name"] = function()
        return e:submit(chat(up, "x", { url = "http://no-such-host.invalid/" }))
      end,
      ["waiting for headers"] = function()
        up:programme { latency = 5, reset = true }
        local id = e:submit(chat(up))
        engines.work(e, 5)
        return id
      end,
      ["waiting on HTTP/2"] = function()
        up:programme { latency = 5, reset = true }
        local id = e:submit(secure(up))
        engines.work(e, 10)
        return id
      end,
      ["with its head there"] = function()
        up:programme { script = { { preset = "role_then_stall", seconds = 5 } }, reset = true }
        local id = e:submit(engines.stream(up))
        engines.drive(e, function() return e:next() end)
        return id
      end,
      ["in its body"] = function()
        up:programme { script = { { preset = "role_then_stall", seconds = 5 } }, reset = true }
        local id = e:submit(engines.stream(up))
        engines.await_head(e, id)
        engines.work(e, 2)
        return id
      end,
      ["paused"] = function()
        up:programme { script = { { preset = "huge_event", bytes = 2 ^ 23 } }, reset = true }
        local id = e:submit(chat(up))
        engines.work(e, 20)
        return id
      end,
      ["paused on HTTP/2"] = function()
        up:programme { script = { { preset = "huge_event", bytes = 2 ^ 23 } }, reset = true }
        local id = e:submit(secure(up))
        engines.work(e, 20)
        return id
      end,
      ["sending its body"] = function()
        raw:freeze()
        local id = e:submit(engines.raw(raw, ("x"):rep(2e7)))
        engines.work(e, 5)
        return id
      end,
      ["ended but not taken"] = function()
        local id = e:submit(chat(up))
        engines.work(e, 20)
        return id
      end,
    }
    for name, begin in pairs(phases) do
      it(name, function()
        local id = assert(begin())
        assert.equal(1, e:active())
        e:cancel(id)
        assert.equal(0, e:active())
        assert.is_nil(e:next())
        assert.equal("cancelled", (select(2, e:take(id))))
        e:cancel(id)
        raw:thaw()
        up:programme { reset = true }
        assert.equal(200, fetch(e, chat(up)).status)
        assert.equal(200, fetch(e, secure(up)).status)
      end)

      it(name .. ", when it is closed", function()
        assert(begin())
        assert(begin())
        e:close()
        raw:thaw()
        assert.equal(0, core.stats().transfers)
      end)
    end

    -- Waits until the server knows of so many that left.
    local function await_aborted(n)
      local counts
      engines.drive(e, function()
        e:wait(0.01)
        counts = up:counts()
        return counts.aborted_by_client == n
      end)
      return counts
    end

    local function begin_slow(n, make)
      local ids = {}
      up:programme { latency = 30, reset = true }
      for i = 1, n do ids[i] = assert(e:submit(make(up))) end
      engines.drive(e, function()
        e:wait(0.01)
        return up:counts().in_service == n
      end)
      return ids
    end

    it("and the server sees it", function()
      for _, make in ipairs { chat, secure } do
        local ids = begin_slow(2, make)
        e:cancel(ids[1])
        e:cancel(ids[2])
        assert.equal(0, await_aborted(2).in_service)
      end
    end)

    it("and others on its connection go on", function()
      local ids = begin_slow(3, secure)
      assert.equal(1, up:counts().connections)
      e:cancel(ids[2])
      up:programme {}
      assert.equal(200, fetch(e, secure(up)).status) -- with it goes word of the one that left
      local counts = await_aborted(1)
      assert.equal(1, counts.connections)
      assert.equal(2, counts.in_service)
      e:cancel(ids[1])
      e:cancel(ids[3])
      await_aborted(3)
    end)

    it("in any order, with hundreds around it", function()
      up:programme { latency = { kind = "uniform", min = 0, max = 0.1 }, reset = true }
      local ids, kept, seed = {}, {}, 5
      for i = 1, 300 do
        ids[i] = assert(e:submit((i % 3 == 0 and secure or chat)(up, "n" .. i .. ".")))
        if i % 20 == 0 then engines.work(e, 1) end
      end
      for i = 1, 300 do
        seed = (seed * 16807) % 2147483647
        if seed % 2 == 0 then e:cancel(ids[i]) else kept[#kept + 1] = i end
      end
      local list = {}
      for k, i in ipairs(kept) do list[k] = ids[i] end
      for id in e.next, e do assert.is_number(id) end
      local open, got = #list, {}
      for k = 1, #list do got[k] = { pieces = {} } end
      engines.drive(e, function()
        for k, id in ipairs(list) do
          if not got[k].info and engines.take(e, id, got[k]) then open = open - 1 end
        end
        return open == 0
      end)
      for k, i in ipairs(kept) do assert.matches("echo: n" .. i .. "%.", got[k].body) end
    end)
  end)

  describe("closed", function()
    it("may be closed again, and is of no other use", function()
      local id = assert(e:submit(chat(up)))
      assert.is_true(e:owned())
      e:close()
      e:close()
      assert.is_false(e:owned())
      local uses = {
        submit = { chat(up) }, step = {}, wait = { 0 }, next = {}, take = { id }, cancel = { id },
          fd = {}, active = {},
      }
      for name, args in pairs(uses) do
        local ok, message = pcall(e[name], e, args[1])
        assert.is_false(ok)
        assert.matches("the engine is closed", message)
      end
    end)

    it("by the collector, with all that is under way", function()
      collectgarbage()
      collectgarbage()
      local before = core.stats().engines -- others have theirs
      local other = assert(core.engine())
      assert(other:submit(chat(up)))
      assert(other:submit(secure(up)))
      other:step()
      assert.equal(before + 1, core.stats().engines)
      other = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.equal(before, core.stats().engines)
      assert.equal(0, core.stats().transfers)
    end)

    it("wrong objects are no engines", function()
      for _, wrong in ipairs { {}, 5, "x",
        io.stdout } do assert.has_error(function() e.close(wrong) end) end
      assert.is_false(getmetatable(e))
    end)
  end)
end)
