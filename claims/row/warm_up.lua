--- Row 4.1: LRU of 1000 entries; common questions are asked ahead of time: 90 % of ordinary queries
--- 2.1 s → 150 ms.
local chance = require "unbusy.simulate.chance"
local core = require "unbusy.core"
local servers = require "claims.servers"
local unbusy = require "unbusy"

local SLOW, RATE, SECONDS = 2.1, 80, 6
local ENTRIES, LISTED = 1000, 600 -- answers that are kept; questions asked ahead of time
local MOST_MS = 150

-- {== Questions ===========================================================

-- Ranks by Zipf's law: the r-th of `many` with a chance of 1 / r.
local function zipf(many)
  local draw, sums, sum = chance.stream(1, "zipf"), {}, 0
  for r = 1, many do
    sum = sum + 1 / r
    sums[r] = sum
  end
  return function()
    local u, r = draw() * sum, 1
    while sums[r] < u do r = r + 1 end
    return r
  end
end

local function request_of(rank)
  return { model = "m", messages = { { role = "user", content = "common question " .. rank } } }
end

-- }========================================================================

local function new_client(up)
  return unbusy.new { targets = { { name = "up", url = up.url .. "/v1", key = "k" } },
    limiter = { kind = "fixed", initial = 1000 }, cache = { entries = ENTRIES, ttl = 3600 } }
end

-- Asks at a rate for some seconds: the sorted seconds of the answers, and the share of hits.
local function ask_all(client)
  local next_rank, took, hits, failed = zipf(ENTRIES), {}, 0, 0
  unbusy.run(function()
    local began = core.now()
    for i = 1, RATE * SECONDS do
      local pause = began + i / RATE - core.now()
      if pause > 0 then unbusy.sleep(pause) end
      local request = request_of(next_rank())
      unbusy.spawn(function()
        local asked = core.now()
        local reply = client:chat(request)
        if not reply then failed = failed + 1 return end
        took[#took + 1] = core.now() - asked
        hits = hits + (reply.source == "cache" and 1 or 0)
      end)
    end
  end)
  if failed > 0 then error(failed .. " calls failed", 0) end
  table.sort(took)
  return took, hits / #took
end

local function quantile(took, share) return took[math.ceil(share * #took)] * 1000 end

local function row_of(name, took, hits)
  return { name, ("%.0f %%"):format(hits * 100), ("%.1f ms"):format(quantile(took, 0.5)),
    ("%.1f ms"):format(quantile(took, 0.9)), ("%.1f ms"):format(quantile(took, 0.99)) }
end

local function warmed(up, listed)
  local client, list = new_client(up), {}
  for rank = 1, listed do list[rank] = request_of(rank) end
  local result = client:warm(list, { at_once = 250 })
  if result.asked ~= listed then error("the list was not asked", 0) end
  local took, hits = ask_all(client)
  client:close()
  return took, hits
end

local function measure(sheet, up)
  up:programme { latency = SLOW }
  sheet:input("seconds that an answer takes", SLOW)
  sheet:input("answers that are kept", ENTRIES)
  sheet:input("questions", ("%d a second of %d, the n-th in 1/n of the cases"):format(RATE,
    ENTRIES))
  sheet:input("asked ahead of time", ("the %d most common"):format(LISTED))
  local none = unbusy.new { targets = { { name = "up", url = up.url .. "/v1", key = "k" } },
    limiter = { kind = "fixed", initial = 1000 } }
  local before = ask_all(none)
  none:close()
  local took, hits = warmed(up, LISTED)
  local rows = { row_of("no cache", before, 0) }
  local cold = new_client(up)
  rows[2] = row_of("a cache, cold", ask_all(cold))
  cold:close()
  rows[3] = row_of("a cache, warm", took, hits)
  for _, listed in ipairs { 100, 300 } do
    rows[#rows + 1] = row_of(("the same, %d asked ahead"):format(listed), warmed(up, listed))
  end
  sheet:figure { what = "an answer without a cache: half of them take", claimed = "2.1 s",
    value = quantile(before, 0.5) / 1000, show = "%.1f s", least = SLOW }
  sheet:figure { what = "90 % of the queries take, warm", claimed = "150 ms",
    value = quantile(took, 0.9), show = "%.1f ms", most = MOST_MS }
  sheet:figure { what = "queries answered out of the cache", claimed = "90 %", value = hits * 100,
    show = "%.0f %%", least = 90 }
  sheet:table("How many questions were asked ahead of time decides", { "", "out of the cache",
    "p50", "p90", "p99" }, rows)
end

return {
  row = "4.1", title = "Cache warm-up", seconds = 200,
  how = "Calls over HTTP to a busy upstream that takes 2.1 s for an answer.",
  measure = function(sheet)
    servers.with(1, function(up) measure(sheet, up) end)
  end,
}
