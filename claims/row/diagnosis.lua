--- Row 1: why it is busy. Causes: a traffic burst, slow inference, noisy neighbours, long chains
--- that use up a pool; 68 % of abnormal answers come from bursts over 300 % of capacity; error rate
--- 0.3 % → 12 % at a peak.
local judge = require "unbusy.diagnose.judge"
local log = require "unbusy.diagnose.log"
local served = require "spec.support.served"
local servers = require "claims.servers"
local simulated = require "claims.simulated"
local unbusy = require "unbusy"

-- {== The causes, behind a gateway ========================================

local PACE = 20 -- calls a second, in the quiet time

-- Each cause has a target, and so an account, of its own.
local CONFIG = [[return { targets = { %s }, retry = false, limiter = { initial = 200 },
  queue = { max_wait = 0.5 }, gateway = { controls = { "target" } } }]]

-- A pool of four places and no patience, as in many a connection pool.
local POOL = [[return { targets = { %s }, retry = false,
  limiter = { kind = "fixed", initial = 4 }, queue = { max_wait = 0.2, shed = false } }]]

-- What the source names: what is found, how many calls come, how many a second, what the server
-- does.
local CAUSES = {
  { "a traffic burst", "burst", 300, 200, { latency = 0.5, capacity = 5 } },
  { "slow inference", "slow", 40, PACE, { latency = 2.5 } },
  { "noisy neighbours", "capacity", 15, PACE / 2, { capacity = 0 } },
}

local REQUEST = { model = "m", messages = { { role = "user", content = "hi" } } }

local function target(name, up)
  return ("{ name = %q, url = %q, account = %q, key = 'k' }"):format(name, up.url .. "/v1", name)
end

-- A client that only asks.
local function asker(gateway)
  return unbusy.new { targets = { { name = "gateway", url = gateway.url .. "/v1", key = "k" } },
    retry = false, breaker = false, limiter = false, budget = false }
end

-- `n` calls, each when its time has come; the log's lines of them.
local function load(gateway, client, name, n, pace)
  local before = #gateway:logged()
  unbusy.run(function()
    for i = 1, n do
      unbusy.spawn(function()
        unbusy.sleep(i / pace)
        client:chat(REQUEST, name and { headers = { ["x-unbusy-target"] = name } })
      end)
    end
  end)
  local text
  served.wait(function()
    text = gateway:logged():sub(before + 1)
    return select(2, text:gsub("\n", "")) >= n
  end, "the log")
  return text
end

-- `n` calls, three at a time, as quickly as they are answered.
local function in_turn(client, n)
  unbusy.run(function()
    for _ = 1, 3 do
      unbusy.spawn(function()
        while n > 0 do
          n = n - 1
          client:chat(REQUEST)
        end
      end)
    end
  end)
end

local function found(place, text)
  local facts = assert(log.read(place:write("part.log", text)))
  local cause = judge.of(facts)[1]
  return cause and cause.cause or "none", facts
end

local function of_causes(place, up)
  local list = { target("quiet", up) }
  for i, c in ipairs(CAUSES) do list[i + 1] = target(c[2], up) end
  local gateway = served.start(place,
    { place:write("gateway.lua", CONFIG:format(table.concat(list, ","))) })
  local client = asker(gateway)
  up:programme { latency = 0.5 }
  local quiet, right, rows = load(gateway, client, "quiet", 60, PACE), 0, {}
  for i, c in ipairs(CAUSES) do
    up:programme(c[5])
    local cause = found(place, quiet .. load(gateway, client, c[2], c[3], c[4]))
    right = right + (cause == c[2] and 1 or 0)
    rows[i] = { c[1], ("%d calls, %g a second"):format(c[3], c[4]), "`" .. cause .. "`" }
  end
  client:close()
  return right, rows
end

-- Of 333 calls one fails; then streams hold all four places, and of 100 calls 12 find none in time.
local function of_pool(place, up)
  local gateway = served.start(place, { place:write("pool.lua", POOL:format(target("up", up))) })
  local client = asker(gateway)
  up:programme { reset = true, script = { { preset = "server_500" } } }
  in_turn(client, 333)
  up:programme { reset = true, answer = { tokens = 25 }, token_interval = 0.1 }
  unbusy.run(function()
    for _ = 1, 4 do
      unbusy.spawn(function() assert(client:stream(REQUEST)):reply() end)
    end
    repeat unbusy.sleep(0.02) until up:counts().in_service == 4
    for _ = 1, 12 do unbusy.spawn(function() client:chat(REQUEST) end) end
  end)
  up:programme {}
  in_turn(client, 84)
  client:close()
  local all
  served.wait(function()
    all = gateway:logged()
    return select(2, all:gsub("\n", "")) >= 433
  end, "the log")
  local cause, facts = found(place, all)
  local bad = facts.trouble.bad + (facts.quiet and facts.quiet.bad or 0)
  return cause, bad - 1, up:counts().refused
end

-- }========================================================================

-- {== Bursts ==============================================================

local CAPACITY, INCIDENT = 20, 60

-- Failures of one try in a minute of an incident: fields of the server's trouble, and how much of
-- what it can answer arrives.
local function failures(trouble, times)
  local line = { target = "server", at = INCIDENT }
  for name, value in pairs(trouble) do line[name] = value end
  local t = simulated.trace { seed = 1, calls = { deadline = 30 }, seconds = 2 * INCIDENT,
    servers = { { target = "server", capacity = CAPACITY, when_full = { latency = 0.05 },
      latency = { kind = "lognormal", mean = 1, sigma = 0.5 } }, line },
    rate = function(at) return at < INCIDENT and 0 or times * CAPACITY end }
  local f = simulated.meet(t, { name = simulated.NAIVE })
  return f.calls - f.answered, f.calls
end

local INCIDENTS = {
  { "a burst of 3 ×", {}, 3 },
  { "slow inference, 2.5 ×", { latency = { kind = "lognormal", mean = 2.5, sigma = 0.5 } }, 0.7 },
  { "noisy neighbours, half the places", { capacity = CAPACITY / 2 }, 0.7 },
}

local function of_bursts(sheet)
  local rows, all, first = {}, 0, nil
  for i, incident in ipairs(INCIDENTS) do
    local bad, calls = failures(incident[2], incident[3])
    first, all = first or bad, all + bad
    rows[i] = { incident[1], calls, bad, ("%.0f %%"):format(100 * bad / calls) }
  end
  local others = all - first
  sheet:table("A minute of each, one try for each call (in simulated time)", { "", "calls",
    "failed", "" }, rows)
  sheet:cannot { what = "abnormal answers that come from bursts over 300 % of capacity",
    claimed = "68 %", measured = ("%.0f %%"):format(100 * first / all),
    why = ("That is a count of somebody's incidents, of which the source tells nothing. Where all "
      .. "of these last equally long, %.0f %% of the failures come from bursts; 68 %% where bursts "
      .. "last %.2f times as long as the others."):format(100 * first / all,
      0.68 / 0.32 * others / first) }
end

-- }========================================================================

local function measure(sheet, up)
  local place = served.place()
  local ok, message = pcall(function()
    sheet:input("quiet time", ("60 calls, %d a second, of 0.5 s"):format(PACE))
    sheet:input("the pool", "4 places, nobody waits longer than 0.2 s for one")
    local right, rows = of_causes(place, up)
    local cause, failed, refused = of_pool(place, up)
    right = right + (cause == "pool" and 1 or 0)
    rows[#rows + 1] = { "long chains: a pool used up", "four long streams, 12 calls beside",
      "`" .. cause .. "`" }
    sheet:figure { what = "causes that `unbusy diagnose` finds in the log", claimed = "4",
      value = right, show = "%d of 4", least = 4 }
    sheet:figure { what = "errors where a pool is used up, after 0.3 %", claimed = "12 %",
      value = failed, show = "%d %%", least = 12, most = 12 }
    sheet:figure { what = "refused by the server meanwhile", claimed = "–", value = refused,
      show = "%d", most = 0 }
    sheet:table("What was done to the server, and what was found", { "", "calls", "found" }, rows)
    of_bursts(sheet)
  end)
  place:remove()
  if not ok then error(message, 0) end
end

return {
  row = "1", title = "Diagnosis", seconds = 150,
  how = "Each cause is made at a busy upstream behind a real gateway, whose log is judged.",
  measure = function(sheet)
    servers.with(1, function(up) measure(sheet, up) end)
  end,
}
