-- Four workers of nginx that act as one: one breaker, one limit, one cache, one quota.
local busyd = require "spec.support.busyd"
local direct = require "spec.support.direct"
local gateways = require "spec.support.gateways"
local regions = require "spec.support.regions"
local workers = require "unbusy.gateway.workers"

local CONFIG = [[
  return {
    targets = { { name = "up", url = "${url}/v1", key = "k" } },
    retry = false, clocks = { total = 30 }, ${more}
    gateway = { keys = { { key = "open", name = "open" },
      { key = "few", name = "few", calls = 10 } } },
  }
]]

local SERVER = [[
  location = /__state {
    access_log off;
    content_by_lua_block {
      local t = gateway.client:status().targets[1]
      ngx.print(ngx.worker.id(), " ", t.state)
    }
  }
]]

describe("the gateway's workers", function()
  local up, g

  local function start(more, programme)
    up = busyd.start { workers = 1, programme = programme }
    g = gateways.start { workers = 4, config = CONFIG, server = SERVER,
      values = { url = up.url, more = more } }
  end

  after_each(function()
    if g then g:stop() end
    if up then up:stop() end
    up, g = nil, nil
  end)

  local function body(text)
    return ('{"model":"m","messages":[{"role":"user","content":"%s"}]}'):format(text or "x")
  end

  -- So many requests at once; gives how often each status came.
  local function crowd(n, text, key)
    local command = g:command("/v1/chat/completions", { body = body(text),
      headers = { "authorization: Bearer " .. (key or "open") },
      options = "-o /dev/null -w '%{http_code}\\n'" }):gsub("%-i ", "")
    local pipe = io.popen(("(for i in $(seq %d); do (%s) & done; wait)"):format(n, command))
    local counts = {}
    for status in pipe:lines() do counts[status] = (counts[status] or 0) + 1 end
    pipe:close()
    return counts
  end

  -- The state of the breaker as all four workers see it; each answers sooner or later.
  local function states()
    local seen, count = {}, 0
    gateways.eventually(function()
      local id, state = g:ask("/__state").body:match "^(%d) (%a+)$"
      if not seen[id] then seen[id], count = state, count + 1 end
      return count == 4
    end)
    return seen
  end

  it("trip one breaker on as many failures as one, and all see it", function()
    start("breaker = { min_calls = 20, window = 600, open_for = 600 }, queue = { max_wait = 0 },",
      { faults = { { share = 1, answer = { status = 500 } } } })
    crowd(12)
    assert.same({ ["0"] = "closed", ["1"] = "closed", ["2"] = "closed", ["3"] = "closed" },
      states())
    crowd(12)
    assert.same({ ["0"] = "open", ["1"] = "open", ["2"] = "open", ["3"] = "open" }, states())
    local received = up:counts().received
    assert.is_true(received >= 20 and received <= 24)
    assert.equal(20, crowd(20)["503"])
    assert.equal(received, up:counts().received)
  end)

  it("keep one limit together, and leave nobody waiting", function()
    start("limiter = { kind = 'fixed', initial = 5 },", { capacity = 5, latency = 0.05 })
    assert.same({ ["200"] = 60 }, crowd(60))
    assert.equal(60, up:counts().received) -- none was refused: no more than five at a time
  end)

  it("have one cache", function()
    start "cache = { bytes = 1000000 },"
    assert.same({ ["200"] = 1 }, crowd(1, "what"))
    for _ = 1, 12 do crowd(1, "what") end
    assert.equal(1, up:counts().received)
  end)

  it("count one quota", function()
    start ""
    assert.same({ ["200"] = 10, ["429"] = 20 }, crowd(30, "x", "few"))
    assert.same({ ["200"] = 3 }, crowd(3))
  end)

  it("keep their state over a reload, and over a worker's death", function()
    start("breaker = { min_calls = 5, open_for = 600 }, queue = { max_wait = 0 },",
      { faults = { { share = 1, answer = { status = 500 } } } })
    crowd(8)
    assert.equal("open", states()["0"])
    os.execute("kill -HUP " .. g.server.pid)
    direct.pause(0.5)
    for _, state in pairs(states()) do assert.equal("open", state) end
    os.execute(("kill -9 $(pgrep -P %s | head -2)"):format(g.server.pid))
    for _, state in pairs(states()) do assert.equal("open", state) end
  end)

  it("give back what a killed worker held", function()
    start("limiter = { kind = 'fixed', initial = 2 },", { latency = 2 })
    local command = g:command("/v1/chat/completions", { body = body(),
      headers = { "authorization: Bearer open" }, options = "-o /dev/null" })
    os.execute(("for i in 1 2; do (%s) >/dev/null 2>&1 & done"):format(command))
    gateways.eventually(function() return up:counts().received == 2 end)
    os.execute(("kill -9 $(pgrep -P %s)"):format(g.server.pid))
    assert.same({ ["200"] = 2 }, crowd(2))
  end)

  it("leave nothing in memory when they end", function()
    start ""
    crowd(4)
    local name = workers.region({}, g.dir .. "/gateway.lua").name
    assert.is_true(regions.exists(name))
    g:stop()
    assert.is_false(regions.exists(name))
  end)
end)
