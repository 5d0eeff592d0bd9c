-- What is passed on (whatever else is below /v1) may be an error. On the status page and in `unbusy
-- top` such a call was an answer of the upstream: with all of them refused, the page said that all
-- calls of the last hour had been answered. The metrics count them as failed.
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "up", url = "http://127.0.0.1:${port2}/v1", key = "k" } },
  retry = ${retry}, breaker = false, metrics = true, gateway = { status = true },
}]]

local UPSTREAM = [[server {
  listen 127.0.0.1:${port2};
  access_log off;
  default_type application/json;
  location / { return 200 '{}'; }
  location /v1/wrong { return 400 '{}'; }
  location /v1/limited { return 429 '{}'; }
  location /v1/broken { return 500 '{}'; }
  location /v1/busy { return 503 '{}'; }
}]]

-- How many answers of the last hour came from where.
local function sums(hour)
  local out = {}
  for source, counts in pairs(hour.answers) do
    local sum = 0
    for _, n in ipairs(counts) do sum = sum + n end
    if sum > 0 then out[source] = sum end
  end
  return out
end

describe("an error that is passed on", function()
  for _, retry in ipairs { "false", "{ attempts = 2, base = 0.01, cap = 0.01 }" } do
    it("is a call that failed, in the status as in the metrics: retry = " .. retry, function()
      local g, seen = gateways.start { config = CONFIG, http = UPSTREAM,
        values = { retry = retry } }, {}
      for i, path in ipairs { "good", "wrong", "limited", "broken", "busy" } do
        seen[i] = g:ask("/v1/" .. path, { body = "{}" }).status
      end
      assert.same({ 200, 400, 429, 500, 503 }, seen)
      local counted = {}
      for source, n in g:ask("/metrics").body
        :gmatch 'unbusy_calls_total{kind="pass",source="(%a+)",code="%a*"} (%d+)' do
        counted[source] = (counted[source] or 0) + tonumber(n)
      end
      assert.same({ upstream = 1, none = 4 }, counted)
      assert.same({ upstream = 1, failed = 4 }, sums(json.decode(g:ask("/status.json").body).hour))
      g:stop()
    end)
  end
end)
