local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local sites = require "spec.support.site"

describe("inside nginx, a worker", function()
  local up, e

  setup(function()
    up = busyd.start {}
    e = core.engine()
  end)
  teardown(function()
    e:close()
    up:stop()
  end)
  before_each(function() up:programme { reset = true } end)

  local function start(more)
    local given = { targets = { { name = "a", url = up.url .. "/v1" } },
      limiter = { initial = 1000, max = 1000 } }
    for name, value in pairs(more or {}) do given[name] = value end
    return sites.start(given)
  end

  local function exists(pid)
    local file = io.open(("/proc/%d/stat"):format(pid))
    if not file then return false end
    local state = file:read("*a"):match "%) (%u)"
    file:close()
    return true, state
  end

  local function await_end(pid)
    sites.await("the worker's end", function() return not exists(pid) end)
  end

  local function await_new_worker(site, old)
    return sites.await("a new worker", function()
      local pid = site:workers()[1]
      return pid ~= old and site:get "/hi" == "hi" and pid
    end)
  end

  local function no_files()
    local pipe = io.popen "ls -d /tmp/unbusy.* 2>/dev/null"
    assert.equal("", pipe:read "*a")
    pipe:close()
  end

  local function submit(site, n, path)
    local ids = {}
    for i = 1, n do
      ids[i] = assert(e:submit { url = site.url .. path .. "?q=n" .. i .. ".", method = "GET",
        headers = {} })
    end
    return ids
  end

  local function finish(ids)
    local wrong = {}
    for i, got in ipairs(engines.finish_all(e, ids)) do
      local said = got.code or got.body
      if said ~= ("echo: n%d."):format((i - 1) % 50 + 1) then wrong[#wrong + 1] = said end
    end
    return wrong
  end

  it("that is to quit answers what it has begun, and goes at once when it has nothing to do",
    function()
      local site = start()
      up:programme { latency = 1, reset = true }
      local pid = site:workers()[1]
      local ids = submit(site, 50, "/chat")
      for _, id in ipairs(submit(site, 50, "/stream")) do ids[#ids + 1] = id end
      engines.drive(e, function() return up:counts().received == 100 end)
      site:signal "QUIT"
      assert.same({}, finish(ids))
      await_end(pid)
      no_files()
      site:stop()
      site = start()
      pid = site:workers()[1]
      assert.equal("echo: hi", (site:get "/chat"))
      site:signal "QUIT"
      await_end(pid)
      assert.equal("", site:faults())
      site:stop()
    end)

  it("retries while it is about to quit", function()
    local site = start { retry = { base = 1 } }
    up:programme { script = { { preset = "busy_503" }, { preset = "busy_503" } }, reset = true }
    local pid = site:workers()[1]
    local ids = submit(site, 1, "/chat")
    engines.drive(e, function() return up:counts().refused + up:counts().faulted > 0 end)
    site:signal "QUIT"
    assert.same({}, finish(ids))
    await_end(pid)
    site:stop()
  end)

  it("that is stopped at once leaves nothing", function()
    local site = start()
    up:programme { latency = 300, reset = true }
    local pid = site:workers()[1]
    local ids = submit(site, 20, "/chat")
    engines.drive(e, function() return up:counts().in_service == 20 end)
    site:signal "TERM"
    await_end(pid)
    finish(ids)
    sites.await("the upstream is left", function() return up:counts().in_service == 0 end)
    no_files()
    assert.equal("", site:faults())
    site:stop()
  end)

  it("that is given a time to quit ends its calls when it is over", function()
    local site = start { main = "worker_shutdown_timeout 1s;" }
    up:programme { latency = 300, reset = true }
    local pid = site:workers()[1]
    local ids = submit(site, 20, "/chat")
    engines.drive(e, function() return up:counts().in_service == 20 end)
    site:signal "QUIT"
    await_end(pid)
    finish(ids)
    sites.await("the upstream is left", function() return up:counts().in_service == 0 end)
    no_files()
    site:stop()
  end)

  it("that is killed is replaced by one that goes on, and nothing of it is left", function()
    local site = start()
    up:programme { latency = 300, reset = true }
    for _ = 1, 5 do
      local pid = site:workers()[1]
      local ids = submit(site, 20, "/chat")
      engines.drive(e, function() return up:counts().in_service >= 20 end)
      os.execute("kill -KILL " .. pid)
      finish(ids)
      await_new_worker(site, pid)
      assert.is_false(exists(pid)) -- no zombie
      no_files()
    end
    sites.await("the upstream is left", function() return up:counts().in_service == 0 end)
    up:programme { reset = true }
    assert.equal("echo: hi", (site:get "/chat"))
    site:stop()
  end)

  it("reloads under load lose no call and leave nothing", function()
    local site = start { workers = 2 }
    up:programme { latency = { kind = "uniform", min = 0, max = 0.1 }, reset = true }
    local first = site:workers()
    local lost, asked, open = {}, 0, {}
    local function refill()
      while #open < 40 do
        asked = asked + 1
        open[#open + 1] = assert(e:submit { url = site.url .. "/chat?q=n.", method = "GET",
          headers = { "Connection: close" } })
      end
    end
    for _ = 1, 10 do
      local before = asked
      site:signal "HUP"
      while asked < before + 100 do
        refill()
        local ids = open
        open = {}
        for _, got in ipairs(engines.finish_all(e, ids)) do
          local said = got.code or got.body
          if said ~= "echo: n." then lost[#lost + 1] = tostring(got.message or said) end
        end
      end
    end
    assert.same({}, lost)
    assert.is_true(asked >= 1000)
    for _, pid in ipairs(first) do await_end(pid) end
    sites.await("two workers", function() return #site:workers() == 2 end)
    for _, pid in ipairs(site:workers()) do
      sites.await("the threads' end", function() return select(2, sites.of_process(pid)) == 1 end)
    end
    assert.equal(1, (select(2, sites.of_process(tonumber(site.pid)))))
    no_files()
    assert.equal("", site:faults())
    site:stop()
  end)
end)
