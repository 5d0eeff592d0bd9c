-- Four workers of nginx that route as one: shares, rests, pools, conversations.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[
  return {
    targets = {
      { name = "a", url = "${a}/v1", key = "k", ${ofa} },
      { name = "b", url = "${b}/v1", key = "k", ${ofb} },
    },
    clocks = { total = 30 }, ${more}
  }
]]

local SERVER = [[
  location = /__status {
    access_log off;
    content_by_lua_block {
      local s = gateway.client:status()
      ngx.print(require("unbusy.json").encode { worker = ngx.worker.id(), pools = s.pools })
    }
  }
]]

describe("the gateway's workers", function()
  local a, b, g

  setup(function() a, b = busyd.start { workers = 1 }, busyd.start { workers = 1 } end)
  teardown(function()
    a:stop()
    b:stop()
  end)
  before_each(function()
    a:programme { reset = true }
    b:programme { reset = true }
  end)
  after_each(function()
    if g then g:stop() end
    g = nil
  end)

  local function start(of_a, of_b, more)
    g = gateways.start { workers = 4, config = CONFIG, server = SERVER,
      values = { a = a.url, b = b.url, ofa = of_a, ofb = of_b, more = more or "" } }
  end

  -- So many requests at once, each asking its own text; which targets answered them, in turn.
  local function crowd(n, text)
    local body = '{"model":"m","messages":[{"role":"user","content":"%s"}]}'
    local command = g:command("/v1/chat/completions", { body = body:format(text or "q$i"),
      options = "" }):gsub("q%$i", "q'$i'")
    local pipe = io.popen(("(for i in $(seq %d); do (%s) & done; wait)"):format(n, command))
    local counts, all = {}, pipe:read "*a"
    pipe:close()
    for name in all:gmatch "[xX]%-[uU]nbusy%-[tT]arget: (%w+)" do
      counts[name] = (counts[name] or 0) + 1
    end
    return counts
  end

  it("keep the shares of all calls together", function()
    start("weight = 90", "weight = 10", "limiter = { kind = 'fixed', initial = 100 },")
    assert.same({ a = 27, b = 3 }, crowd(30)) -- (as long as there is room at both)
    assert.same({ a = 18, b = 2 }, crowd(20))
    assert.equal(45, a:counts().received)
  end)

  it("all leave a target alone for as long as it has asked one of them", function()
    start("weight = 90", "weight = 10")
    a:programme { script = { { preset = "rate_limited", retry_after = 60 } }, reset = true }
    crowd(1)
    assert.equal(1, a:counts().received)
    os.execute "sleep 0.1"
    assert.same({ b = 20 }, crowd(20))
    assert.equal(1, a:counts().received)
  end)

  it("see one pool spill, and count its answers together", function()
    start("pool = 'private', price = { input = 1, output = 1 }",
      "pool = 'cloud', price = { input = 10, output = 10 }",
      "limiter = { kind = 'fixed', initial = 6 }, "
        .. "pools = { private = { priority = 1, spill = { hold = 60 } }, "
        .. "cloud = { priority = 2 } },")
    a:programme { capacity = 6, latency = 0.7, reset = true }
    b:programme { latency = 0.1, reset = true }
    local got = crowd(30)
    assert.equal(30, got.a + got.b)
    assert.is_true(got.a >= 6 and got.b > 0)
    assert.equal(0, a:counts().refused) -- no more than six at a time, of all four
    local seen, workers = {}, 0
    gateways.eventually(function()
      local s = json.decode(g:ask("/__status").body)
      if not seen[s.worker] then seen[s.worker], workers = s.pools, workers + 1 end
      return workers == 4
    end)
    for _, pools in pairs(seen) do
      assert.is_true(pools.private.spills)
      assert.equal(got.a, pools.private.answers)
      assert.equal(got.b, pools.private.sent_on)
      assert.equal(got.b, pools.cloud.answers)
      assert.is_true(pools.cloud.cost_each > 9 * pools.private.cost_each)
    end
  end)

  it("send a conversation to the same target, whichever of them gets it", function()
    start("", "", "route = { sticky = 'prefix' },")
    for _, text in ipairs { "one", "two", "three" } do
      local got, n = crowd(8, text), 0
      for _ in pairs(got) do n = n + 1 end
      assert.equal(1, n)
    end
  end)

  it("spread calls by load, and leave nothing behind", function()
    start("", "", "route = { balance = 'p2c' },")
    a:programme { latency = 1, reset = true }
    b:programme { latency = 0.05, reset = true }
    for _ = 1, 3 do crowd(12) end
    assert.equal(36, a:counts().received + b:counts().received)
    assert.is_true(b:counts().received > 1.5 * a:counts().received)
  end)
end)
