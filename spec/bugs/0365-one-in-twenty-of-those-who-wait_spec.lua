-- `unbusy_queue_wait_seconds` says how long calls have waited that were let in. Those that had a
-- place at once were not in it: so its 95th percentile was that of those who had to wait, however
-- few. One call of ten thousand that waited for twelve seconds, for an account that had to rest,
-- was the alert "one call in twenty waits 12 s in line"; and the autoscalers, who ask for twice the
-- replicas where one call in twenty waits twice as long, asked for six times as many.
local scraped = require "spec.support.scraped"
local world = require "spec.support.world"

local good = world.good

local function read(w)
  return scraped.read(assert(w.client:metrics()))
end

-- So many calls one behind the other, and two more at once, of which one has to wait.
local function waited(calls, options)
  options.metrics, options.limiter = true, { kind = "fixed", initial = 1 }
  local w = world.new { script = { a = { good("x", 10) } }, options = options }
  w.loop.run(function()
    for _ = 1, calls do assert(w:chat()) end
    local task = w.loop.spawn(function() assert(w:chat()) end)
    w.loop.sleep(1)
    assert(w:chat())
    task:join()
  end)
  return w
end

describe("how long calls wait in line", function()
  after_each(world.end_all)

  it("is known of those too that need not wait", function()
    local w = waited(38, {})
    local s = read(w)
    local function value(what)
      return s:value(("unbusy_queue_wait_seconds_%s"):format(what))
    end
    assert.equal(40, value 'count{priority="normal"}')
    assert.near(9, value 'sum{priority="normal"}', 1e-6)
    assert.equal(39, value 'bucket{le="0.05",priority="normal"}') -- so the 95th percentile is 0
    w:assert_clean()
  end)

  it("is counted once for each try", function()
    local w = world.new { script = { a = { world.status(503), good() }, b = { good() } },
      order = { "a", "b" },
      options = { metrics = true, retry = { attempts = 2, base = 1, jitter = 0 } } }
    assert(w:chat { priority = "interactive" })
    assert(w:chat { priority = "batch" })
    local s = read(w)
    assert.equal(2, s:value 'unbusy_queue_wait_seconds_count{priority="interactive"}')
    assert.equal(1, s:value 'unbusy_queue_wait_seconds_count{priority="batch"}')
    assert.equal(3, s:sum "unbusy_tries_total")
    w:assert_clean()
  end)

  it("is not known of who never came there: out of the cache, or beside a first try", function()
    local w = world.new { order = { "a", "b" },
      script = { a = { good("slow", 60) }, b = { good("quick", 0.5) } },
      options = { metrics = true, cache = true, hedge = { after = 1, most = 1 }, retry = false } }
    assert.equal("quick", w:chat().text)
    assert.equal("cache", w:chat().source)
    assert.equal(1, read(w):sum "unbusy_queue_wait_seconds_count")
    w:assert_clean()
  end)
end)
