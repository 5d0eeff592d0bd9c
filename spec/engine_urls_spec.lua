-- The engine keeps the last URLs taken apart: each request must reach its own.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"

local chat, fetch = engines.chat, engines.fetch

local KEPT = 16 -- as UB_URLS

describe("the engine", function()
  local up, e

  after_each(function()
    e:close()
    e = nil
  end)
  guard.watch(before_each, after_each)

  setup(function() up = busyd.start() end)
  teardown(function() up:stop() end)
  before_each(function()
    up:programme { reset = true, log = true }
    e = assert(core.engine())
  end)

  local function url(n)
    return ("%s/v1/chat/completions?n=%d"):format(up.url, n)
  end

  it("asks each URL, again and again", function()
    local wanted = {}
    for _ = 1, 3 do
      for n = 1, KEPT + 3 do
        assert.equal(200, fetch(e, chat(up, "x", { url = url(n) })).status)
        wanted[#wanted + 1] = url(n):sub(#up.url + 1)
      end
    end
    local seen = {}
    for i, request in ipairs(up:log()) do seen[i] = request.path end
    assert.same(wanted, seen)
  end)

  it("asks more URLs at once than it keeps", function()
    up:programme { reset = true, log = true, latency = 0.2 }
    local ids = {}
    for n = 1, 2 * KEPT do ids[n] = assert(e:submit(chat(up, tostring(n), { url = url(n) }))) end
    for n, got in ipairs(engines.finish_all(e, ids)) do
      assert.equal(200, got.status)
      assert.is_truthy(got.body:find(tostring(n), 1, true))
    end
    assert.equal(2 * KEPT, up:counts().received)
  end)

  it("asks another URL after one that is none, is long, or was cancelled", function()
    for _, wrong in ipairs { "http://", "http://[::1", "http://a b/", "gopher://x/" } do
      for _ = 1, 2 do
        local id = e:submit(chat(up, "x", { url = wrong }))
        if id then assert.equal("invalid", engines.finish_all(e, { id })[1].code, wrong) end
        assert.equal(200, fetch(e, chat(up, "x", { url = url(1) })).status)
      end
    end
    local long = url(1) .. ("x"):rep(2000)
    assert.equal(200, fetch(e, chat(up, "x", { url = long })).status)
    up:programme { reset = true, latency = 5 }
    e:cancel(assert(e:submit(chat(up, "x", { url = url(2) }))))
    up:programme { reset = true }
    for n = 1, KEPT + 1 do
      assert.equal(200, fetch(e, chat(up, "x", { url = url(n) })).status)
    end
  end)
end)
