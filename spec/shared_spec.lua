-- Clients of several processes that act as one: real processes, a real region, virtual servers.
local core = require "unbusy.core"
local counters = require "unbusy.counters"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"

local GOOD = json.encode { id = "x", object = "chat.completion", model = "m",
  choices = { { index = 0, finish_reason = "stop",
    message = { role = "assistant", content = "hello" } } } }

-- A loop over ours whose requests get what `serve(request, loop)` gives: status, body, headers.
local function loop_with(serve)
  local tasks = require "unbusy.loops.tasks"
  local loop = {}
  local function over(inner)
    local out = setmetatable({}, { __index = inner })
    function out.open(request)
      local news, x = {}, { event = inner.event() }
      inner.spawn(function()
        local status, body, headers = serve(request, inner)
        news = { { "head", status, headers or { ["content-type"] = "application/json" } },
          { "data", body }, { "end", nil, nil, { phase = "body" } } }
        x.event:set()
      end)
      function x.take()
        local item = table.remove(news, 1)
        if item then return item[1], item[2], item[3], item[4] end
      end
      function x.close() end
      function x.abort() x.event:set() end
      return x
    end
    return out
  end
  for _, verb in ipairs { "now", "sleep", "wait", "event", "spawn", "cancel", "open" } do
    loop[verb] = function() error "never called" end
  end
  loop.now = core.now
  function loop.enter(f, value)
    return tasks.enter(function(inner, v) return f(over(inner), v) end, value)
  end
  return loop
end

local question = { messages = { { role = "user", content = "x" } } }

describe("clients of one region", function()
  local r, children, fork, finish, clients

  after_each(function()
    children:end_all()
    for _, c in ipairs(clients) do c:close() end
    clients = nil
    r:close()
    r = nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    children, fork, finish = regions.family()
    clients = {}
    r = assert(region.new { bytes = 4 * 1024 * 1024 })
  end)

  local function new_client(serve, more)
    local o = { region = r, retry = false, loop = loop_with(serve),
      targets = { { name = "a", url = "http://a.test", keys = { "k1", "k2" } } } }
    for name, value in pairs(more or {}) do o[name] = value end
    local c = assert(unbusy.new(o))
    clients[#clients + 1] = c
    return c
  end

  local function good() return 200, GOOD end

  it("open one breaker together, and all see it at their next call", function()
    local function bad() return 500, "{}" end
    local mine = new_client(bad, { breaker = { min_calls = 12, open_for = 60 }, queue = {
      max_wait = 0 } })
    local counts = {}
    for i = 1, 4 do
      counts[i] = fork(function()
        for _ = 1, 3 do mine:chat(question) end
        return mine.targets[1].breaker:state()
      end)
    end
    for _, child in ipairs(counts) do finish(child) end
    local _, message, code = mine:chat(question)
    assert.equal("open", code, message)
    assert.equal("open", finish(fork(function() return select(3, mine:chat(question)) end)))
    assert.equal(0, mine:status().targets[1].tries)
  end)

  it("heed what a server asked one of them", function()
    local served = 0
    local function busy()
      served = served + 1
      return 429, "{}", { ["retry-after"] = "40" }
    end
    local mine = new_client(busy, { queue = { max_wait = 0 } })
    assert.equal("limited", finish(fork(function() return select(3, mine:chat(question)) end)))
    local _, _, code, detail = mine:chat(question)
    assert.equal("open", code)
    assert.is_true(detail.retry_after > 30 and detail.retry_after <= 40)
    assert.equal(0, served)
  end)

  it("leave a refused key, and an account without credit, alone", function()
    local seen = {}
    local function refuse(request)
      for _, line in ipairs(request.headers) do
        seen[#seen + 1] = line:match "Bearer (.*)"
      end
      return 401, "{}"
    end
    local mine = new_client(refuse)
    finish(fork(function() mine:chat(question) end))
    mine:chat(question)
    assert.same({ "k2" }, seen)
    local _, _, code = mine:chat(question)
    assert.equal("auth", code)
    assert.same({ "k2" }, seen)

    local other = new_client(function() return 402, "{}" end,
      { targets = { { name = "b", url = "http://b.test" } } })
    assert.equal("quota", finish(fork(function() return select(3, other:chat(question)) end)))
    local _, message = other:chat(question)
    assert.matches("no credit", message)
    assert.equal(0, other:status().targets[1].tries)
  end)

  it("share answers", function()
    local asked = 0
    local mine = new_client(function()
      asked = asked + 1
      return good()
    end, { cache = { bytes = 100000 } })
    finish(fork(function() assert(mine:chat(question).source == "upstream") end))
    local reply = mine:chat(question)
    assert.same({ "cache", "hello", 0 }, { reply.source, reply.text, asked })
  end)

  it("never have more under way together than the limit", function()
    local function slow(_, loop)
      loop.sleep(0.02)
      return good()
    end
    local mine = new_client(slow, { limiter = { kind = "fixed", initial = 4 } })
    local most = fork(function()
      local l, highest = mine.targets[1]:limiter "", 0
      for _ = 1, 200 do
        highest = math.max(highest, l:in_flight())
        unbusy.sleep(0.002)
      end
      return highest
    end)
    local workers = {}
    for i = 1, 3 do
      workers[i] = fork(function()
        local done = 0
        unbusy.run(function()
          for _ = 1, 20 do
            unbusy.spawn(function() if mine:chat(question) then done = done + 1 end end)
          end
        end)
        return done
      end)
    end
    for _, child in ipairs(workers) do assert.equal("20", finish(child)) end
    local highest = tonumber(finish(most))
    assert.is_true(highest >= 2 and highest <= 4, "under way: " .. highest)
  end)

  it("wake each other when a place comes free, in the order of their coming", function()
    local held = false -- until all are in line
    local mine = new_client(function(_, loop)
      repeat loop.sleep(0.005) until not held
      return good()
    end, { limiter = { kind = "fixed", initial = 1 } })
    local order = counters.new { region = r, name = "order" }
    local function ask()
      assert(mine:chat(question))
      return order:add "answered"
    end
    local holder = fork(function(say)
      -- However slow the machine is: it yields until the other one has had its turn.
      local common = require "unbusy.shared"
      common.GRACE, common.LOOK = 60, 60
      held = true
      unbusy.run(function()
        unbusy.spawn(ask)
        unbusy.sleep(0.05)
        say "holds"
        regions.wait_for(function()
          unbusy.sleep(0.001)
          return r:stats().waiting == 1
        end, "the other one")
        for _ = 1, 3 do unbusy.spawn(ask) end -- later than the one of the other process
        held = false
      end)
      return "done"
    end)
    holder:said "holds"
    assert.equal("2", finish(fork(function() return ("%d"):format(ask()) end)))
    assert.equal("done", finish(holder))
    assert.equal(0, r:stats().waiting)
  end)

  it("hold up nobody who wants another target than those that wait", function()
    local mine = new_client(function(request, loop)
      if request.url:find "a.test" then loop.sleep(1000) end
      return good()
    end, { limiter = { kind = "fixed", initial = 1 }, targets = {
      { name = "a", url = "http://a.test" }, { name = "b", url = "http://b.test" } } })
    local child = fork(function(say)
      unbusy.run(function()
        for _ = 1, 3 do
          unbusy.spawn(function() mine:chat(question, { target = "a" }) end)
        end
        unbusy.sleep(0.05)
        say "waits"
        unbusy.sleep(1000)
      end)
    end)
    child:said "waits"
    assert.equal(2, r:stats().waiting)
    for _ = 1, 20 do
      local reply = assert(mine:chat(question, { target = "b" }))
      assert.equal(0, reply.times.queued)
    end
  end)

  it("give back what a killed one held, and its place in the line", function()
    local mine = new_client(function(_, loop)
      loop.sleep(1000)
      return good()
    end, { limiter = { kind = "fixed", initial = 2 } })
    local child = fork(function(say)
      unbusy.run(function()
        for _ = 1, 5 do unbusy.spawn(function() mine:chat(question) end) end
        unbusy.sleep(0.05)
        say "holds"
        unbusy.sleep(1000)
      end)
    end)
    child:said "holds"
    local l = mine.targets[1]:limiter ""
    assert.equal(2, l:in_flight())
    assert.equal(3, r:stats().waiting)
    children:kill(child)
    regions.wait_for(function() return l:in_flight() == 0 end, "its places")
    assert.equal(0, r:stats().waiting)
    assert.equal(0, mine.budget:stats().active)
  end)

  it("let a limit move again that a killed one had stopped", function()
    local status = 500
    local mine = new_client(function() return status, GOOD end,
      { breaker = { min_calls = 2, open_for = 0.05 } })
    local l = mine.targets[1]:limiter ""
    local child = fork(function(say, told)
      for _ = 1, 2 do mine:chat(question) end
      say(mine.targets[1].state)
      told "go"
    end)
    child:said "open"
    children:kill(child)
    assert.is_true(l:stats().frozen)
    regions.wait_for(function() return mine.targets[1].breaker:retry_after() == 0 end, "its time")
    status = 200
    assert.is_truthy(mine:chat(question)) -- the probe; this one was never refused
    assert.equal("closed", mine.targets[1].breaker:state())
    assert.is_false(l:stats().frozen)
  end)

  it("keep apart the limits of accounts and models whose names run together", function()
    local mine = new_client(good, { limiter = { kind = "fixed", initial = 1 }, targets = {
      { name = "a", account = "x", url = "http://a.test" },
      { name = "b", account = "x/y", url = "http://b.test" } } })
    assert.is_truthy(mine.targets[1]:limiter("y/z"):allow())
    assert.is_truthy(mine.targets[2]:limiter("z"):allow())
  end)

  it("share the budget", function()
    local mine = new_client(good)
    finish(fork(function() for _ = 1, 3 do mine.budget:take "retry" end end))
    assert.is_true(mine.budget:stats().tokens < 500)
  end)

  it("go on alone where a limiter finds no room", function()
    local small = assert(region.new { bytes = 2 * 1024 * 1024 })
    local c = assert(unbusy.new { region = small, loop = loop_with(good),
      limiter = { max = 65534 }, -- 2.6 MB
      targets = { { name = "a", url = "http://a.test" } } })
    assert.equal("hello", c:chat(question).text)
    assert(c.targets[1]:limiter(""):allow())
    assert.equal("0", finish(fork(function() return c.targets[1]:limiter(""):in_flight() - 1 end)))
    assert.equal("0", finish(fork(function()
      local other = assert(unbusy.new { region = small, loop = loop_with(good),
        limiter = { max = 65534 }, targets = { { name = "a", url = "http://a.test" } } })
      return other.targets[1]:limiter(""):in_flight() -- its own, where nothing is out
    end)))
    c:close()
    small:close()
  end)

  it("have no state without room for the least of it", function()
    local small = assert(region.new { bytes = 256 * 1024 })
    local none, message, code = unbusy.new { region = small,
      targets = { { name = "a", url = "http://a.test" } } }
    assert.is_nil(none)
    assert.equal("full", code, message)
    small:close()
  end)

  it("say what is wrong with a region", function()
    local function new(given)
      return pcall(unbusy.new, { region = given, targets = { { name = "a", url = "http://a" } } })
    end
    assert.matches("region: name or path expected", select(2, new { name = "a", path = "/b" }))
    assert.matches("unknown option 'region.nam', did you mean 'name'",
      select(2, new { nam = "a" }))
    assert.matches("region: an open region expected", select(2, new(io.stdout)))
    local ok, none, message, code = new { path = "/nowhere/at/all" }
    assert.same({ true, "invalid" }, { ok, code }, message)
    assert.is_nil(none)
  end)

  it("by one name, of any process", function()
    local name = regions.name()
    local function named(f)
      local c = assert(unbusy.new { region = { name = name }, loop = loop_with(f), retry = false,
        targets = { { name = "a", url = "http://a.test" } } })
      return c
    end
    local c = named(good)
    c.targets[1].breaker:force("open", 60)
    assert.equal("open", finish(fork(function()
      return named(good).targets[1].breaker:state()
    end)))
    c:close()
  end)
end)
