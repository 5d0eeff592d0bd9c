-- Inside nginx: questions asked ahead of time in a handler, and by the cache itself, beside calls.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local direct = require "spec.support.direct"
local engines = require "spec.support.engines"
local json = require "unbusy.json"
local sites = require "spec.support.site"

describe("inside nginx, asking ahead of time", function()
  local up, site, e
  setup(function()
    up = busyd.start {}
    site = sites.start { targets = { { name = "a", url = up.url .. "/v1" } },
      limiter = { kind = "fixed", initial = 6 },
      cache = { ttl = 300, top = { show = true },
        warm = { questions = { "x1", "x2", "x3" }, model = "m", every = 1000 } },
      locations = [[
        location /warm { content_by_lua_block {
          local list = {}
          for i = 1, 8 do list[i] = question((ngx.var.arg_p or "w") .. i) end
          ngx.print(json.encode(client:warm(list, { at_once = 4 })))
        } }
        location /top { content_by_lua_block {
          ngx.print(json.encode(client:top(20, { show = true })))
        } }
      ]] }
    e = core.engine()
  end)
  teardown(function()
    e:close()
    site:stop()
    up:stop()
  end)
  before_each(function()
    up:programme {}
    up:reset()
  end)

  local function assert_nothing_left()
    local status = sites.await("nothing is held", function()
      local s = site:status()
      return s.active == 0 and s.core.transfers == 0 and not s.warm.running and s
    end)
    for _, limit in pairs(status.targets[1].limits) do assert.equal(0, limit.in_flight) end
    assert.equal("", site:faults())
  end

  it("is begun by the first call, and goes on when that has ended", function()
    assert.equal("echo: first", (site:get "/chat?q=first"))
    sites.await("the list is asked", function() return up:counts().completed >= 4 end)
    sites.await("its answers are kept", function() return not site:status().warm.running end)
    for i = 1, 3 do assert.equal("echo: x" .. i, (site:get("/chat?q=x" .. i))) end
    assert.equal(4, up:counts().received)
    assert_nothing_left()
  end)

  it("asks a list in a handler, several at a time", function()
    local result = json.decode((site:get "/warm?p=w"))
    assert.same({ 8, 0, 0 }, { result.asked, result.fresh, #result.failures })
    assert.equal(8, json.decode((site:get "/warm?p=w")).fresh)
    assert_nothing_left()
  end)

  it("ends with a client that leaves", function()
    up:programme { latency = 300 }
    local id = assert(e:submit { url = site.url .. "/warm?p=gone", method = "GET", headers = {} })
    engines.drive(e, function()
      local there = up:counts().in_service >= 3 -- half of six places
      if not there then direct.pause(0.02) end
      return there
    end)
    e:cancel(id)
    engines.work(e, 2)
    assert_nothing_left()
    assert.equal(3, up:counts().received)
  end)

  it("counts the questions of callers, and none of its own", function()
    for _ = 1, 3 do site:get "/chat?q=hot" end
    local top = json.decode((site:get "/top"))
    assert.same({ "hot", 3 }, { top[1].question, math.floor(top[1].count + 0.5) })
    for _, one in ipairs(top) do
      if one.question then assert.is_nil(one.question:find "^w%d") end
    end
  end)
end)
