--- Row 3.2: weights of 90 and 10, 2 retries, 500 ms per try, as Istio has them: seamless failover.
local failover = require "bench.support.failover"
local manifest = require "claims.manifest"
local rate = require "bench.support.rate"

local RATE, KILL, BACK, SECONDS = 20, 4, 10, 26

local function shares(seen, began)
  local function of(from, to)
    return ("%.0f %%"):format(failover.share(seen, began + from, began + to) * 100)
  end
  return of(0, KILL), of(KILL + 1, BACK), of(SECONDS - 4, SECONDS)
end

local function row_of(name, calls, seen, began)
  local most, mean = failover.most_tries(rate.between(calls, KILL, BACK))
  local before, outage, after = shares(seen, began)
  return { name, #calls, failover.failed(calls), most, ("%.2f"):format(mean),
    ("%.0f ms"):format(rate.quantile(rate.between(calls, KILL, BACK), 0.99) * 1000), before, outage,
    after }
end

local function measure(sheet)
  sheet:input("weights, retries, time of a try", "90 and 10, 2, 500 ms")
  sheet:input("seconds that both servers take", 0.05)
  sheet:input("calls a second", RATE)
  sheet:input("the primary is killed at, is back at",
    ("%d s, %d s, of %d s"):format(KILL, BACK, SECONDS))
  local calls, events, began = failover.run { rate = RATE, kill = KILL, back = BACK,
    seconds = SECONDS }
  sheet:figure { what = "calls that fail while the primary is killed and comes back",
    claimed = "none", value = failover.failed(calls.unbusy), show = "%d", most = 0 }
  local _, mean = failover.most_tries(rate.between(calls.unbusy, KILL, BACK))
  sheet:figure { what = "tries of a call in the outage, on average", claimed = "up to 3",
    value = mean, show = "%.2f", most = 3 }
  sheet:figure { what = "share of the primary before", claimed = "90 %",
    value = failover.share(events.unbusy, began, began + KILL) * 100, show = "%.0f %%", least = 87,
    most = 93 }
  local rows = {}
  for i, name in ipairs(failover.names) do
    rows[i] = row_of(name, calls[name], events[name], began)
  end
  sheet:table("Beside each other", { "", "calls", "failed", "most tries", "mean in the outage",
    "p99 then", "primary's share before", "in the outage", "at the end" }, rows)
  local text = manifest.read "deploy/istio/service/virtualservice.yaml"
  sheet:figure { what = "the same in deploy/istio: lines that say so", claimed = "4",
    value = manifest.count(text, { "weight: 90", "weight: 10", "attempts: 2",
      "perTryTimeout: 500ms" }), show = "%d", least = 4 }
  sheet:say("No mesh was run: what is measured is unbusy with the mesh's numbers. The manifest is "
    .. "checked against Istio's types by `make test`.")
end

return {
  row = "3.2", title = "Failover", seconds = 90, measure = measure,
  how = "Two busy upstreams over HTTP, of which the primary's nginx is killed under load and "
    .. "started again.",
}
