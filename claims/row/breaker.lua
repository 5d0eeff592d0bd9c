--- Row 4.2: Hystrix' circuit breaker: 20 requests of volume, 50 % failures open it, 5000 ms sleep
--- window, and meanwhile straight to the fallback text.
local core = require "unbusy.core"
local servers = require "claims.servers"
local unbusy = require "unbusy"

local TEXT = "系统繁忙,请稍后再试"
local VOLUME, HALF, SLEEP = 20, 10, 5

-- To the letter: every busy counts, nobody waits, nothing is asked twice.
local function new_client(up)
  return unbusy.new { targets = { { name = "up", url = up.url .. "/v1", key = "k" } },
    breaker = { on_open = "fail" }, retry = false, limiter = false, budget = false,
    fallback = TEXT }
end

-- `n` calls, one after the other: how many were answered, how many got the text, and the seconds
-- that they took.
local function calls(client, n)
  local began, answered, texts = core.now(), 0, 0
  for i = 1, n do
    local reply = assert(client:chat { model = "m",
      messages = { { role = "user", content = "question " .. i } } })
    if reply.source == "upstream" then answered = answered + 1
    elseif reply.text == TEXT then texts = texts + 1 end
  end
  return answered, texts, core.now() - began
end

local function is_open(client) return client:status().targets[1].state ~= "closed" end

local BUSY = { capacity = 0 }

-- A client of which `good` calls were answered, and then `bad` were not.
local function after(up, good, bad)
  local client = new_client(up)
  up:programme { reset = true }
  calls(client, good)
  up:programme(BUSY)
  calls(client, bad)
  return client
end

-- Of 20 calls 9 have failed: how many of 5 more are answered.
local function asked_below_the_half(up)
  local client = after(up, VOLUME - HALF + 1, HALF - 1)
  up:programme { reset = true }
  local answered = calls(client, 5)
  client:close()
  return answered
end

-- The call at which it opens, where the first ten are answered and the others are not.
local function opens_at(up)
  local client, n = after(up, HALF, 0), HALF
  while not is_open(client) and n < 3 * VOLUME do
    calls(client, 1)
    n = n + 1
  end
  return client, n
end

local function measure(sheet, up)
  sheet:input("breaker", "the defaults: 20 calls, a half failed, open for 5 s; on_open = \"fail\"")
  sheet:figure { what = "where 9 of 20 calls failed, of the next 5 the server is asked",
    claimed = "5", value = asked_below_the_half(up), show = "%d", least = 5 }
  local client, at = opens_at(up)
  sheet:figure { what = "where 10 of 20 fail, it opens at the last of them: call",
    claimed = "20", value = at, show = "%d", least = VOLUME,
    most = VOLUME }
  local before = up:counts().received
  local _, texts, seconds = calls(client, 200)
  sheet:figure { what = "while open, of 200 calls so many get the text",
    claimed = "all", value = texts, show = "%d", least = 200 }
  sheet:figure { what = "and the server is asked so often", claimed = "0",
    value = up:counts().received - before, show = "%d", most = 0 }
  sheet:say(("Such a call took %.0f µs."):format(seconds / 200 * 1e6))
  local opened = core.now() - seconds
  up:programme {}
  repeat
    unbusy.run(function() unbusy.sleep(0.05) end)
  until calls(client, 1) == 1 or core.now() - opened > 3 * SLEEP
  sheet:figure { what = "seconds until it asks again", claimed = "5 s",
    value = core.now() - opened, show = "%.1f s",
    least = SLEEP - 0.5, most = SLEEP + 1 }
  sheet:figure { what = "of 20 calls then, so many are answered", claimed = "all",
    value = calls(client, VOLUME), show = "%d", least = VOLUME }
  client:close()
end

return {
  row = "4.2", title = "Circuit breaker", seconds = 60,
  how = "Calls over HTTP to a server that says 503 to everybody from a moment on; what it "
    .. "received, it has counted itself.",
  measure = function(sheet)
    servers.with(1, function(up) measure(sheet, up) end)
  end,
}
