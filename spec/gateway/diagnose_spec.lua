-- Each cause of being busy, made at a busy upstream behind a real gateway, is found in its log.
-- The targets are accounts of their own, so that the limits of one cause do not meet the next.
local busyd = require "spec.support.busyd"
local exposition = require "unbusy.diagnose.exposition"
local judge = require "unbusy.diagnose.judge"
local log = require "unbusy.diagnose.log"
local metrics = require "unbusy.diagnose.metrics"
local period = require "unbusy.diagnose.period"
local served = require "spec.support.served"
local unbusy = require "unbusy"

local NAMES = { "quiet", "burst", "capacity", "slow", "account", "network", "money" }
local PACE = 20 -- calls a second, in the quiet time

local function target(name, url)
  return ("{ name = %q, url = %q, account = %q, key = 'k' }"):format(name, url, name)
end

local CONFIG = [[return {
  targets = { %s },
  retry = false, limiter = { initial = 200 }, queue = { max_wait = 0.5 },
  gateway = { controls = { "target", "deadline" } },
}]]

-- A pool of four, and no patience: one like many have, in a library's connection pool.
local POOL = [[return {
  targets = { %s }, retry = false,
  limiter = { kind = "fixed", initial = 4 }, queue = { max_wait = 0.2, shed = false },
}]]

local REQUEST = { model = "m", messages = { { role = "user", content = "hi" } } }

local function ask(client, name)
  client:chat(REQUEST, name and { headers = { ["x-unbusy-target"] = name } })
end

-- A client that only asks.
local function asker(url)
  return unbusy.new { targets = { { name = "gateway", url = url .. "/v1", key = "k" } },
    retry = false, breaker = false, limiter = false, budget = false, queue = { max_wait = 30 } }
end

describe("a gateway's log", function()
  local up, place, gateway, client, quiet, seen

  -- What the log says now that was not there before: so many lines.
  local function logged(server, n)
    local text
    served.wait(function()
      text = server:logged():sub(seen + 1)
      return select(2, text:gsub("\n", "\n")) >= n
    end, "the log")
    seen = seen + #text
    return text
  end

  -- `n` calls, so many a second, each when its time has come.
  local function load(server, asks, n, pace, name)
    unbusy.run(function()
      for i = 1, n do
        unbusy.spawn(function()
          unbusy.sleep(i / pace)
          ask(asks, name)
        end)
      end
    end)
    return logged(server, n)
  end

  -- `n` calls, three at a time, as quickly as they are answered.
  local function in_turn(asks, n)
    local left = n
    unbusy.run(function()
      for _ = 1, 3 do
        unbusy.spawn(function()
          while left > 0 do
            left = left - 1
            ask(asks)
          end
        end)
      end
    end)
  end

  local function trouble(name, n, pace, programme)
    up:programme(programme)
    return place:write(name .. ".log", quiet .. load(gateway, client, n, pace, name))
  end

  local function causes(path)
    local facts = assert(log.read(path))
    return judge.of(facts)[1].cause, facts
  end

  setup(function()
    up, place, seen = busyd.start { workers = 1 }, served.place(), 0
    local list = {}
    for i, name in ipairs(NAMES) do list[i] = target(name, up.url .. "/v1") end
    list[#list + 1] = target("dead", "http://127.0.0.1:" .. served.free_port())
    gateway = served.start(place, { place:write("gw.lua", CONFIG:format(table.concat(list, ","))) })
    client = asker(gateway.url)
    up:programme { latency = 0.5 }
    quiet = load(gateway, client, 60, PACE, "quiet")
  end)
  teardown(function()
    if client then client:close() end
    if place then place:remove() end
    up:stop()
  end)

  it("tells a burst over their capacity", function()
    local cause, facts = causes(trouble("burst", 300, 200, { latency = 0.5, capacity = 5 }))
    assert.equal("burst", cause)
    assert.is_true(period.rate(facts.trouble) > 1.5 * period.rate(facts.quiet))
    assert.is_true(up:counts().refused > 0)
  end)

  it("tells that they have less room than usual", function()
    assert.equal("capacity", (causes(trouble("capacity", 15, PACE / 2, { capacity = 0 }))))
  end)

  it("tells slow inference", function()
    local cause, facts = causes(trouble("slow", 40, PACE, { latency = 2.5 }))
    assert.equal("slow", cause)
    assert.equal(0, facts.trouble.bad)
    assert.is_true(facts.trouble.took > 2 * facts.quiet.took)
  end)

  it("tells the account's limit", function()
    assert.equal("account", (causes(trouble("account", 15, PACE / 2,
      { capacity = 0, when_full = { preset = "rate_limited" } }))))
  end)

  it("tells a dead target", function()
    local cause, facts = causes(trouble("dead", 40, PACE, {}))
    assert.equal("dead", cause)
    assert.equal(0, facts.trouble.targets.dead.answered)
  end)

  it("tells connections that fail now and then", function()
    assert.equal("network", (causes(trouble("network", 40, PACE,
      { latency = 0.5, seed = 3,
        faults = { { share = 0.4, answer = { preset = "reset_stream" } } } }))))
  end)

  it("tells an account without money", function()
    assert.equal("money", (causes(trouble("money", 20, PACE,
      { faults = { { share = 1, answer = { preset = "insufficient_quota" } } } }))))
  end)

  it("is read by unbusy diagnose, as text and as JSON", function()
    local path = place.dir .. "/account.log"
    local r = place:run { "diagnose", "--log", path }
    assert.matches("^It is the limit of the account\n  %d+ %% of %d+ calls went wrong from ", r.out)
    assert.matches("\nWhat to do\n  %- set what the account has", r.out)
    assert.same({ "", 3 }, { r.err, r.rc })
    r = place:run({ "diagnose", "--log", "-", "--json" }, { input = path })
    local said = assert(require("unbusy.json").decode(r.out))
    assert.equal("account", said.cause)
    assert.is_true(said.trouble.share > said.quiet.share)
  end)

  -- From 0.3 % to 12 %: one failure in 333 calls, while four places are enough for all; then four
  -- streams, which begin at once and take long, hold all four, and of 100 calls twelve find none in
  -- time. The upstream has refused nobody.
  it("tells our own pool, used up by calls that take long", function()
    local pooled = served.start(place,
      { place:write("pool.lua", POOL:format(target("up", up.url .. "/v1"))) })
    local asks = asker(pooled.url)
    seen = 0
    up:programme { reset = true, script = { { preset = "server_500" } } }
    in_turn(asks, 333)
    local before, scrape = logged(pooled, 333), pooled:ask "/metrics"
    up:programme { reset = true, answer = { tokens = 25 }, token_interval = 0.1 }
    unbusy.run(function()
      for _ = 1, 4 do
        unbusy.spawn(function() assert(asks:stream(REQUEST)):reply() end)
      end
      repeat unbusy.sleep(0.02) until up:counts().in_service == 4
      for _ = 1, 12 do unbusy.spawn(ask, asks) end
    end)
    assert.equal(4, up:counts().received)
    up:programme {}
    in_turn(asks, 84)
    local after, later = logged(pooled, 100), pooled:ask "/metrics"
    asks:close()
    local cause, facts = causes(place:write("pool.log", before .. after))
    assert.equal("pool", cause)
    assert.equal(12, facts.trouble.codes.full)
    assert.equal(13, facts.trouble.bad + facts.quiet.bad)
    assert.equal(88, up:counts().completed)
    assert.equal(0, up:counts().refused)
    -- the metrics tell the same, and exactly
    facts = assert(metrics.read(later, scrape, { span = 1, at = os.time() }))
    assert.equal("pool", judge.of(facts)[1].cause)
    assert.equal(1 / 333, period.share(facts.quiet))
    assert.equal(0.12, period.share(facts.trouble))
    assert.same({ 88, 0, 4 }, { facts.trouble.tries, facts.trouble.refused, facts.trouble.limit })
    assert.is_true(period.rate(facts.quiet) > 0)
    -- what the rule `load` of unbusy scale goes by is there
    local families = assert(exposition.read(later))
    for _, name in ipairs { "unbusy_in_flight", "unbusy_target_in_flight",
      "unbusy_queue_waiting" } do
      assert.equal(0, exposition.sum(families, name), name)
    end
    local r = place:run { "diagnose", "--metrics", pooled.url, "--for", "0.1" }
    assert.same({ "unbusy: no call ended in that time\n", 1 }, { r.err, r.rc })
  end)
end)
