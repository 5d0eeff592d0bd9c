-- The cache keeps itself warm: the list on start, the hottest before their time is over, by one of
-- all processes.
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status = world.good, world.status

local function warmed(warm, options, script)
  options = options or {}
  local cache = options.cache or { ttl = 300 }
  cache.warm = warm
  options.cache = cache
  return world.new { script = { a = script or { good "hello" } }, options = options }
end

local function request(text)
  return { messages = { { role = "user", content = text } } }
end

local function asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do
    out[i] = json.decode(entry.request.body).messages[1].content
  end
  return table.concat(out, " ")
end

-- A call that touches nobody: its answer is fresh.
local function touch(w)
  w.client:chat(request "touch")
end

describe("a cache that keeps itself warm", function()
  guard.watch(before_each, after_each)

  it("asks its list with the first call, one by one, beside it", function()
    local w = warmed { questions = { "one", "two", request "three" } }
    w.loop.run(function()
      touch(w)
      w.loop.sleep(5)
      assert.equal("touch one two three", asked(w))
      assert.equal(2, w.most_open) -- the caller's, and one
      assert.equal("cache", w.client:chat(request "two").source)
    end)
    w:assert_clean()
  end)

  it("asks it once, and keeps it warm only when told to", function()
    for _, keep in ipairs { false, true } do
      local w = warmed({ questions = { "one" }, keep = keep, every = 10, before = 30 },
        { cache = { ttl = 100, jitter = 0 } })
      w.loop.run(function()
        for _ = 1, 30 do
          touch(w)
          w.loop.sleep(10)
        end
      end)
      local count = select(2, asked(w):gsub("one", ""))
      assert.equal(keep and 5 or 1, count) -- at 0, 70, 140, 210, 280 s
    end
  end)

  it("keeps the hottest warm, and nobody else", function()
    local w = warmed({ top = 2, every = 10, before = 30 },
      { cache = { ttl = 100, jitter = 0, top = true } })
    local sources = {}
    w.loop.run(function()
      for round = 1, 60 do
        for _, text in ipairs { "a", "b" } do
          local source = w.client:chat(request(text)).source
          sources[source] = (sources[source] or 0) + 1
        end
        if round % 7 == 1 then w.client:chat(request "c") end
        w.loop.sleep(10)
      end
    end)
    -- A person asks each upstream once, but c, which is not hot enough, again and again.
    assert.equal(2, sources.upstream)
    assert.equal(118, sources.cache)
    local c = select(2, asked(w):gsub("c", ""))
    assert.is_true(c >= 4 and c <= 9, c)
  end)

  it("comes back to what could not be asked, as soon as there is room", function()
    local w = warmed({ questions = { "one", "two" }, every = 10 },
      { limiter = { kind = "fixed", initial = 1 } }, function(r)
        return good("x", r.body:find "long" and 25 or 0.1)
      end)
    w.loop.run(function()
      w.loop.spawn(function() w.client:chat(request "long") end)
      for _ = 1, 6 do
        w.loop.sleep(10)
        w.loop.spawn(touch, w)
      end
    end)
    assert.equal("long touch one two", asked(w))
    assert.equal(0, w.client:status().warm.warmer.left)
  end)

  it("makes little of a long list while nobody may be asked, and forgets none of it", function()
    local list = {}
    for i = 1, 5000 do list[i] = "q" .. i end
    local w = warmed({ questions = list, every = 10, at_once = 10 },
      { limiter = { kind = "fixed", initial = 1 }, cache = { ttl = 1e6, entries = 6000 } },
      function(r) return good("x", r.body:find "long" and 25 or 0) end)
    w.loop.run(function()
      w.loop.spawn(function() w.client:chat(request "long") end)
      w.loop.sleep(1)
      local before = w.client:status().cache.misses
      w.loop.sleep(9)
      w.client.warmer:look(w.loop, w.loop.now())
      w.loop.sleep(5)
      assert.is_true(w.client:status().cache.misses - before <= 20)
      assert.equal(5000, w.client:status().warm.warmer.left)
      w.loop.sleep(20)
      w.client.warmer:look(w.loop, w.loop.now())
      w.loop.sleep(1000)
      assert.equal(0, w.client:status().warm.warmer.left)
      assert.equal(5001, #w.log)
    end)
  end)

  it("lets others have their turns while it finds everything fresh", function()
    local list = {}
    for i = 1, 100 do list[i] = "q" .. i end
    local w = warmed({ questions = list, keep = true, every = 10, before = 1 },
      { cache = { ttl = 1e6, jitter = 0 } })
    w.loop.run(function()
      touch(w)
      w.loop.sleep(100)
      local turns = 0
      w.client.warmer:look(w.loop, w.loop.now())
      repeat
        w.loop.sleep(0)
        turns = turns + 1
      until not w.client:status().warm.warmer.running
      assert.is_true(turns >= 5, turns)
    end)
    assert.equal(101, #w.log)
  end)

  it("gives a question up that fails again and again, or is wrong", function()
    local w = warmed({ questions = { "bad", "wrong", "good" }, every = 10 }, { retry = false,
      breaker = false }, function(r)
        return r.body:find "bad" and status(500) or r.body:find "wrong" and status(400) or good "x"
      end)
    w.loop.run(function()
      for _ = 1, 20 do
        touch(w)
        w.loop.sleep(10)
      end
    end)
    assert.equal(5, select(2, asked(w):gsub("bad", "")))
    assert.equal(1, select(2, asked(w):gsub("wrong", "")))
    assert.equal(1, select(2, asked(w):gsub("good", "")))
  end)

  it("does not pay for an answer that is not kept in each round", function()
    local cut = { status = 200, body = json.encode { model = "m", choices = { { index = 0,
      finish_reason = "length", message = { role = "assistant", content = "half" } } } } }
    local w = warmed({ every = 10, before = 30 },
      { cache = { ttl = 300, jitter = 0, top = true } }, { cut })
    w.loop.run(function()
      touch(w)
      touch(w)
      for _ = 1, 30 do w.loop.sleep(10) w.client.warmer:look(w.loop, w.loop.now()) end
    end)
    assert.is_true(#w.log <= 2 + 3, #w.log) -- in 300 s: every 135 s at most
  end)

  it("reads its list from a file", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write "one\ntwo\n"
    file:close()
    local w = warmed { file = path, questions = { "zero" }, model = "m" }
    w.loop.run(function() touch(w) end)
    assert.equal("touch zero one two", asked(w))
    assert.equal("m", json.decode(w.log[2].request.body).model)
    os.remove(path)
    local client, message, code = unbusy.new { targets = { { name = "a", url = "http://a.test" } },
      cache = { warm = { file = path } } }
    assert.same({ false, "invalid" }, { client or false, code })
    assert.matches("^cache%.warm%.file: .*" .. path:gsub("%W", "%%%0"), message)
  end)

  it("goes on after a host has dropped a round without a word", function()
    local w = warmed({ questions = { "one", "two" }, every = 100 }, nil, { good("x", 5) })
    w.loop.run(function()
      touch(w)
      w.loop.sleep(1)
      local job = w.client.warmer.job
      assert.is_table(job)
      assert.is_true(w.client:status().warm.warmer.running)
      job:leave() -- as nginx and cqueues do
      assert.is_false(w.client:status().warm.warmer.running)
      assert.is_nil(w.client:status().warm.running)
      w.loop.sleep(200)
      w.client.warmer:look(w.loop, w.loop.now())
      w.loop.sleep(50)
    end)
    assert.equal("cache", w.client:chat(request "two").source)
    w:assert_clean()
  end)

  it("ends with its client", function()
    local w = warmed({ questions = { "one", "two", "three" } }, nil, { good("x", 5) })
    w.loop.run(function()
      touch(w)
      w.loop.sleep(2)
      w.client:close()
      w.loop.sleep(20)
    end)
    assert.equal("touch one two", asked(w))
    w:assert_clean()
  end)

  it("is done by one of all processes, and by another one when that is gone", function()
    local r = assert(region.new { bytes = 16 * 1024 * 1024 })
    local function member()
      return warmed({ questions = { "one", "two", "three" }, every = 10 },
        { region = r, cache = { ttl = 1000, bytes = 100000, entries = 100 } })
    end
    local one, two = member(), member()
    one.loop.run(function()
      touch(one)
      one.loop.sleep(1)
    end)
    assert.equal("touch one two three", asked(one))
    two.loop.run(function()
      for _ = 1, 5 do
        touch(two)
        two.loop.sleep(10)
      end
    end)
    assert.equal("", asked(two)) -- it does not even look
    assert.equal(0, two.client:status().warm.warmer.rounds)
    one.client:close()
    two.client:close()
    r:close()
  end)

  it("is done by one of those that were forked with it", function()
    local r = assert(region.new { bytes = 16 * 1024 * 1024 })
    local w = warmed({ questions = { "one", "two" }, every = 1000 },
      { region = r, cache = { ttl = 1000, bytes = 100000, entries = 100 } })
    local path, children = os.tmpname(), {}
    local function have_looked()
      local _, lines = files.text(path):gsub("\n", "")
      return lines == 4
    end
    for i = 1, 4 do
      children[i] = process.fork()
      if children[i] == 0 then
        w.loop.run(function() touch(w) end)
        local file = io.open(path, "ab")
        file:write(w.client:status().warm.warmer.rounds, "\n")
        file:close()
        regions.wait_for(have_looked, "the others") -- the lease ends with its holder
        process.leave()
      end
    end
    for _, pid in ipairs(children) do process.wait(pid) end
    local rounds = 0
    for line in io.lines(path) do rounds = rounds + tonumber(line) end
    assert.equal(1, rounds)
    os.remove(path)
    w.client:close()
    r:close()
  end)

  it("is checked before anything is asked", function()
    for _, wrong in ipairs { { questions = { 5 } }, { questions = "x" }, { questions = { {} } },
      { tpo = 5 }, { every = 0 }, { top = -1 }, { keep = 1 }, { file = 5 } } do
      local ok, message = pcall(unbusy.new, { targets = { { name = "a", url = "http://a.test" } },
        cache = { warm = wrong } })
      assert.is_false(ok)
      assert.matches("cache%.warm", message)
    end
  end)
end)

describe("the lease", function()
  local shared = require "unbusy.shared"
  local r, common
  before_each(function()
    r = assert(region.new { bytes = 2 * 1024 * 1024 })
    common = assert(shared.open(r))
  end)
  after_each(function() r:close() end)
  guard.watch(before_each, after_each)

  it("is had by who asks first, as long as it goes on", function()
    assert.is_true(common:leads("job", 5, 1000))
    assert.is_false(common:leads("job", 7, 1000))
    assert.is_false(common:leads("job", 3, 1000))
    assert.is_true(common:leads("job", 5, 1000))
    assert.is_true(common:leads("other job", 7, 1000))
  end)

  it("passes to another one when nobody holds it, but to one alone", function()
    assert.is_true(common:leads("job", 5, 0.000001)) -- its last word
    while common:marked "job" ~= 0 do end -- a microsecond
    local began, leaders = require("unbusy.core").now(), 0
    repeat -- the claim of the first one has its time
      for token = 11, 13 do leaders = leaders + (common:leads("job", token, 1000) and 1 or 0) end
    until leaders > 0 or require("unbusy.core").now() > began + 60
    assert.equal(1, leaders)
    assert.is_false(common:leads("job", 5, 1000))
  end)
end)
