--- What may keep a call from an upstream that is well, set up one by one for signs_spec.
--
-- Each is a function of a busyd upstream that gives what a call gave: reply, or nil, message, code.
local unbusy = require "unbusy"

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

local function new(up, more)
  local o = { targets = { { name = "one", url = up.url, key = "key-1", proxy = false } },
    retry = { attempts = 2, base = 0.001 } }
  for name, value in pairs(more or {}) do o[name] = value end
  return unbusy.new(o)
end

local function chat(client, o)
  return client:chat(QUESTION, o)
end

-- A call while another one has the only place for 0.4 s.
local function beside(up, more, o)
  up:programme { reset = true, latency = 0.4 }
  more.limiter = { kind = "fixed", initial = 1 }
  local client = new(up, more)
  return unbusy.run(function()
    unbusy.spawn(chat, client)
    unbusy.sleep(0.1)
    return chat(client, o)
  end)
end

-- A second call, after one that was refused like this.
local function behind(up, refusal, more)
  up:programme { reset = true, script = { refusal } }
  local client = new(up, more)
  client.retry.attempts = 1
  chat(client)
  return chat(client)
end

local function with_open_breaker(up, seconds, more)
  local client = new(up, more)
  client.targets[1].breaker:force("open", seconds)
  return chat(client)
end

local situations = {}

function situations.breaker_closes_soon(up) return with_open_breaker(up, 0.2) end

function situations.breaker_stays_open(up)
  return with_open_breaker(up, 60, { queue = { max_wait = 0.3 } })
end

function situations.on_open_fail(up)
  return with_open_breaker(up, 0.2, { breaker = { on_open = "fail" } })
end

function situations.place_comes_free(up) return beside(up, {}) end
function situations.no_place(up) return beside(up, { queue = { max_wait = 0.1 } }) end
function situations.line_is_full(up) return beside(up, { queue = { size = 0 } }) end
function situations.deadline_in_line(up) return beside(up, {}, { deadline = 0.1 }) end

function situations.resting(up)
  return behind(up, { preset = "rate_limited", retry_after_ms = 200 })
end

function situations.rests_too_long(up)
  return behind(up, { preset = "rate_limited", retry_after = 60 })
end

function situations.keys_refused(up) return behind(up, { preset = "unauthorized" }) end
function situations.no_credit(up) return behind(up, { preset = "payment_402" }) end

function situations.budget_spent(up)
  up:programme { reset = true, script = { { preset = "server_500" } } }
  return chat(new(up, { budget = { tokens = 0 } }))
end

function situations.all_tries_fail(up)
  up:programme { reset = true, script = { { preset = "busy_503" }, { preset = "busy_503" } } }
  return chat(new(up, { fallback = "later" }))
end

function situations.wrong_request(up)
  up:programme { reset = true, script = { { preset = "invalid_400" } } }
  return chat(new(up, { fallback = "later" }))
end

function situations.no_json(up)
  return new(up):chat { messages = { { role = "user", content = "not UTF-8: \255" } } }
end

function situations.closed_before(up)
  local client = new(up)
  client:close()
  return chat(client)
end

function situations.closed_meanwhile(up)
  up:programme { reset = true, latency = 5 }
  local client = new(up)
  return unbusy.run(function()
    unbusy.spawn(function()
      unbusy.sleep(0.1)
      client:close()
    end)
    return chat(client)
  end)
end

return situations
