--- What a failure's code word means for everyone who has to act on it.
--
--     local codes = require "unbusy.codes"
--     if codes[code].retry then … end
--
-- Of each of the 18 words:
--
-- | field | says |
-- |---|---|
-- | `retry` | the same target may be asked again |
-- | `elsewhere` | another target may be asked |
-- | `busy` | it is their refusal for want of room |
-- | `limiter` | what the try reports to the limiter: fail, neutral |
-- | `breaker` | to the breaker: fail, neutral, busy (neutral while it still answers) |
-- | `fallback` | the degraded answer may stand in |
-- | `http` | the status a gateway answers with |
-- | `exit` | the exit status of the command line tool |
-- | `meaning` | one sentence |
--
-- `open`, `full` and `budget` are our own refusals: by the time a caller sees one, every target has
-- been considered and the wait has ended, so there is nothing left to ask. `quota`, `auth` and
-- `tls` are faults of one target's account or set-up, not of the caller: a gateway answers 502.
local codes = {}

local function define(word, exit, http, meaning, traits)
  local code = { exit = exit, http = http, meaning = meaning, limiter = "neutral" }
  code.breaker = traits.breaker or "neutral"
  code.busy = code.breaker == "busy"
  if code.busy then code.limiter = "fail" end
  code.retry = traits.retry or false
  code.elsewhere = traits.elsewhere or code.retry
  code.fallback = traits.fallback ~= false
  codes[word] = code
end

local busy = { retry = true, breaker = "busy" }
local transient = { retry = true, breaker = "fail" }
local account = { elsewhere = true }
local ours = {}
local final = { fallback = false }

define("busy", 10, 503, "The server says it is too busy, or sends nothing but keep-alives.", busy)
define("limited", 11, 429, "The account has too many requests at once or in this minute.", busy)
define("quota", 12, 502, "The account has no money or quota left; waiting does not help.", account)
define("auth", 13, 502, "The key was refused.", account)
define("invalid", 14, 400, "The request itself was refused, or cannot be sent.", final)
define("timeout", 15, 504, "One of the clocks ran out.", transient)
define("network", 16, 502, "The connection could not be made, or broke.", transient)
define("tls", 17, 502, "The secure connection failed, as with a wrong certificate.",
  { elsewhere = true, breaker = "fail" })
define("open", 18, 503, "Every breaker is open, and waiting for one took too long.", ours)
define("budget", 19, 503, "The retry budget is spent.", ours)
define("full", 20, 503, "Every limiter is full, and the queue is full or too slow.", ours)
define("cut", 21, 502, "The answer began and was cut short.", transient)
define("empty", 22, 502, "The server closed without an answer.", transient)
define("upstream", 23, 502, "The server failed, or its answer made no sense.", transient)
define("policy", 24, 500, "The policy's script failed, or turned the answer down.", ours)
define("cancelled", 25, 499, "The caller went away.", final)
define("closed", 26, 503, "The client, stream or part was closed before.", final)
define("nomem", 27, 503, "There was not enough memory.", ours)

return codes
