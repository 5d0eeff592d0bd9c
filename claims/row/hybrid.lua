--- Row 6.2: everyday traffic on a private cloud that is cheap, peaks spill to a central one that is
--- elastic; 4.2 M yuan a year.
local rate = require "bench.support.rate"
local servers = require "claims.servers"
local simulated = require "claims.simulated"
local unbusy = require "unbusy"

local PLACES, LATENCY = 10, 0.25
local CAPACITY = PLACES / LATENCY
local LOW, PEAK = 0.5, 3 -- of what the private one can answer
local CLAIMED = 4.2      -- millions of yuan

local SLOWER = 10        -- times, in the simulator: of fewer calls shares are the same

-- A call spills where an answer would not begin within four times the usual.
local function pools(latency)
  return { private = { priority = 1, spill = { start = 4 * latency } }, cloud = { priority = 2 } }
end

-- {== Over HTTP ===========================================================

local FROM, TO, SECONDS = 4, 9, 14

local function share_of_private(calls)
  return rate.count(calls, function(call) return call.target == "private" end) / #calls
end

local function over_http(sheet, private, cloud)
  private:programme { capacity = PLACES, latency = LATENCY }
  cloud:programme { latency = LATENCY }
  local client = unbusy.new { pools = pools(LATENCY), targets = {
    { name = "private", url = private.url .. "/v1", key = "k", pool = "private" },
    { name = "cloud", url = cloud.url .. "/v1", key = "k", pool = "cloud" } } }
  local all = rate.run({ { name = "hybrid", client = client, rate = function(now)
    return CAPACITY * (now >= FROM and now < TO and PEAK or LOW)
  end } }, SECONDS)
  local calls = all.hybrid
  client:close()
  sheet:figure { what = "calls that fail in a peak of 3 × what the private one can answer",
    claimed = "none", value = rate.count(calls, function(call) return not call.target end),
    show = "%d", most = 0 }
  sheet:figure { what = "everyday calls that stay on the private one", claimed = "all",
    value = share_of_private(rate.between(calls, 0, FROM)) * 100, show = "%.0f %%", least = 100 }
  sheet:figure { what = "of its capacity, what it answers in the peak", claimed = "all",
    value = share_of_private(rate.between(calls, FROM, TO))
      * #rate.between(calls, FROM, TO) / (TO - FROM) / CAPACITY * 100, show = "%.0f %%",
    least = 80 }
end

-- }========================================================================

-- {== Money, in the simulator =============================================

local HOUR = 3600
local PEAKS, RATIO = 0.1, 5 -- share of the time; the central cloud's price, the private one's is 1

-- An hour with peaks of three minutes.
local function hour(peaks, ratio)
  local every = 180 / peaks
  local function price(yuan) return { input = yuan, output = yuan } end
  return simulated.trace { seed = 1, seconds = HOUR, calls = { deadline = 30 }, servers = {
    { target = "private", pool = "private", capacity = PLACES, price = price(1),
      latency = { kind = "lognormal", mean = SLOWER * LATENCY, sigma = 0.4 } },
    { target = "cloud", pool = "cloud", price = price(ratio),
      latency = { kind = "lognormal", mean = SLOWER * LATENCY, sigma = 0.4 } } },
    rate = function(at)
      return CAPACITY / SLOWER * (at % every >= every - 180 and PEAK or LOW)
    end }
end

-- The share of the bill that is saved beside all at the central cloud; and what failed.
local function saved(peaks, ratio)
  local t = hour(peaks, ratio)
  local f, _, calls = simulated.meet(t, { name = "hybrid" }, {
    pools = pools(SLOWER * LATENCY), targets = {
    { name = "private", pool = "private" }, { name = "cloud", pool = "cloud" } } })
  local each = f.targets[2].cost / f.targets[2].answered
  return 1 - f.cost / (calls.n * each), f.calls - f.answered, f.targets[1].answered / calls.n
end

local function percent(share) return ("%.0f %%"):format(share * 100) end

local function of_money(sheet)
  sheet:input("price of a token, private and central cloud", ("1 and %d"):format(RATIO))
  sheet:input("peaks are so much of the time", percent(PEAKS))
  local share, failed = saved(PEAKS, RATIO)
  sheet:figure { what = "calls that fail in an hour with peaks (simulated)", claimed = "none",
    value = failed, show = "%d", most = 0 }
  sheet:cannot { what = "saved in a year", claimed = "4.2 M yuan",
    measured = ("%s of the bill"):format(percent(share)),
    why = ("The source tells neither its bill nor its prices. With these inputs %s of the bill of "
      .. "the central cloud alone is saved, so 4.2 M are saved where that is %.1f M yuan a year.")
      :format(percent(share), CLAIMED / share) }
  local rows = {}
  for _, peaks in ipairs { 0.05, 0.1, 0.25 } do
    for _, ratio in ipairs { 2, 5, 10 } do
      local s, _, home = saved(peaks, ratio)
      rows[#rows + 1] = { percent(peaks), ("1 to %d"):format(ratio), percent(home), percent(s),
        ("%.1f M yuan"):format(CLAIMED / s) }
    end
  end
  sheet:table("Prices and peaks decide (in the simulator; the private one is paid by what it "
    .. "answers)", { "peaks", "prices", "answered by the private one", "saved",
    "4.2 M are saved of a bill of" }, rows)
end

-- }========================================================================

return {
  row = "6.2", title = "Hybrid cloud", seconds = 150,
  how = "Two busy upstreams over HTTP, of which the private one has few places; what it costs, in "
    .. "the simulator.",
  measure = function(sheet)
    sheet:input("places of the private one, seconds of an answer", ("%d, %g"):format(PLACES,
      LATENCY))
    sheet:input("of what it can answer, in everyday times and in a peak", ("%g ×, %g ×"):format(LOW,
      PEAK))
    servers.with(2, function(private, cloud) over_http(sheet, private, cloud) end)
    of_money(sheet)
  end,
}
