-- Herds over real HTTP, counted by the upstream: one process, the workers of nginx, a killed one.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local gateways = require "spec.support.gateways"
local unbusy = require "unbusy"

local CONFIG = [[
  return {
    targets = { { name = "up", url = "${url}/v1", key = "k" } },
    retry = { attempts = 1 }, limiter = { initial = 1000 }, clocks = { total = 100, start = 100 },
    cache = { bytes = 1000000 },
    gateway = { keys = { { key = "open", name = "open" } } },
  }
]]

local SERVER = [[
  location = /__state {
    access_log off;
    content_by_lua_block {
      local s = gateway.client:status().coalesce
      s.pid = ngx.worker.pid()
      ngx.print(require("cjson").encode(s))
    }
  }
]]

local HELD = { reset = true, capacity = 0, queue = 2000 } -- nobody is answered

local function question(text)
  return { model = "m", messages = { { role = "user", content = text } } }
end

describe("a herd", function()
  local up, g, client

  after_each(function()
    if client then client:close() end
    if g then g:stop() end
    if up then up:stop() end
    up, g, client = nil, nil, nil
  end)

  local function start(workers)
    up = busyd.start { workers = 1, programme = HELD }
    g = gateways.start { workers = workers, config = CONFIG, server = SERVER,
      values = { url = up.url } }
    client = assert(unbusy.new { limiter = false, retry = false, breaker = false, queue = {},
      clocks = { total = 100, start = 100, headers = 100 },
      targets = { { name = "gateway", url = ("http://127.0.0.1:%d/v1"):format(g.port),
        key = "open" } } })
  end

  -- Lets the others move until `f()` gives something.
  local function wait_for(f, what)
    for _ = 1, 2000 do
      local got = f()
      if got then return got end
      unbusy.sleep(0.02)
    end
    error("waited in vain for " .. what)
  end

  -- What each worker says of its flights, by its process.
  local function ask_states(states)
    local s = cjson.decode(g:ask("/__state").body)
    states[s.pid] = s
    return s
  end

  local function sum(states, name)
    local n = 0
    for _, s in pairs(states) do n = n + s[name] end
    return n
  end

  -- So many calls, each in a task: what came of each, by what it says.
  local function crowd(n, out, kind)
    for _ = 1, n do
      unbusy.spawn(function()
        local reply, _, code = client[kind](client, question(kind))
        if reply and kind == "stream" then reply, _, code = reply:reply() end
        local what = reply and reply.text == busyd.expected(kind) and "good" or code or "wrong"
        out[what] = (out[what] or 0) + 1
      end)
    end
  end

  it("of 1,000 in one process is one upstream call", function()
    up = busyd.start { workers = 1, programme = HELD }
    client = assert(unbusy.new { cache = true, retry = false,
      clocks = { total = 100, start = 100, headers = 100 },
      targets = { { name = "a", url = up.url .. "/v1" } } })
    for _, kind in ipairs { "chat", "stream" } do
      local out = {}
      up:programme(HELD)
      unbusy.run(function()
        crowd(1000, out, kind)
        wait_for(function() return client:status().coalesce.members == 1000 end, "all of them")
        wait_for(function() return up:counts().received == 1 end, "the call")
        up:programme { capacity = 10 }
      end)
      assert.same({ good = 1000 }, out)
      assert.equal(1, up:counts().received)
    end
  end)

  it("of 1,000 over four workers of nginx is one upstream call", function()
    start(4)
    for _, kind in ipairs { "chat", "stream" } do
      local out, states = {}, {}
      up:programme(HELD)
      unbusy.run(function()
        crowd(1000, out, kind)
        wait_for(function()
          ask_states(states)
          return sum(states, "members") == 1000
        end, "all of them")
        up:programme { capacity = 10 }
      end)
      assert.same({ good = 1000 }, out)
      assert.equal(1, up:counts().received)
    end
  end)

  it("goes on when the worker that asks is killed", function()
    start(2)
    local out, states = {}, {}
    unbusy.run(function()
      crowd(1, out, "chat")
      wait_for(function() return up:counts().received == 1 end, "the leader")
      local leader = wait_for(function()
        local s = ask_states(states)
        return s.members == 1 and s.pid
      end, "who it is")
      local n, other = 1
      repeat -- until some of them are at the other worker
        n = n + 20
        crowd(20, out, "chat")
        other = wait_for(function()
          local s = ask_states(states)
          return sum(states, "members") == n and s.pid ~= leader and s
        end, "the others")
      until other.members > 0
      os.execute("kill -9 " .. ("%d"):format(leader))
      wait_for(function() return up:counts().received >= 2 end, "who takes over")
      up:programme { capacity = 10 }
      local theirs = other.members
      wait_for(function() return (out.good or 0) >= theirs end, "the answers")
    end)
    assert.is_nil(out.wrong)
    assert.equal(2, up:counts().received)
  end)
end)
