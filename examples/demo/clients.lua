--- The four clients of the demo. They differ in nothing but what they do about a busy server.
--
-- A client is a function `ask(question, deadline)`: it gives a reply with `text` and `source`, or
-- nil, message, code, detail. `deadline` is a time of the loop's clock.
local unbusy = require "unbusy"

local clients = {}

--- What users read when nothing else works.
clients.TEXT = "系统繁忙,请稍后再试"

--- Their names, in the order of the report.
clients.names = { "naive", "loop", "loop+breaker", "unbusy" }

local function new(o, more)
  local options = {
    targets = { { name = "server", url = o.url, proxy = false } }, on_event = o.on_event,
  }
  for name, value in pairs(more) do options[name] = value end
  return unbusy.new(options)
end

-- One question through a client of ours, as a stream or not.
local function call(client, o, question, deadline)
  local left = deadline - o.loop.now()
  if left <= 0 then return nil, "no time is left", "timeout" end
  local request = { messages = { { role = "user", content = question.text } } }
  if question.kind == "plain" then return client:chat(request, { deadline = left }) end
  local stream, message, code, detail = client:stream(request, { deadline = left })
  if not stream then return nil, message, code, detail end
  return stream:reply()
end

-- Transport and nothing else: one try, and whatever comes of it.
local function single_shot(o, breaker)
  local client = new(o, { retry = false, limiter = false, budget = false, breaker = breaker })
  return function(question, deadline) return call(client, o, question, deadline) end
end

local TRIES, BASE, FACTOR, CAP, JITTER = 5, 1, 2, 30, 0.1

--- The loop that everybody writes: five tries, 1 s, 2 s, 4 s, 8 s and up to a tenth more between
-- them, after busy answers only; the last failure is the caller's. It takes a client of one try.
---@param o table { loop =, draw = }
---@param once fun(question: table, deadline: number): table?, string?, string?, table?
function clients.with_retries(o, once)
  return function(question, deadline)
    local pause = BASE
    for try = 1, TRIES do
      local reply, message, code, detail = once(question, deadline)
      local busy = code == "busy" or code == "limited"
      if reply or not busy or try == TRIES then return reply, message, code, detail end
      local seconds = math.min(pause, CAP) * (1 + JITTER * o.draw())
      if o.loop.now() + seconds >= deadline then return nil, message, code, detail end
      o.loop.sleep(seconds)
      pause = pause * FACTOR
    end
  end
end

local function with_text(ask)
  return function(question, deadline)
    local reply, message, code, detail = ask(question, deadline)
    if reply then return reply end
    return { source = "fallback", text = clients.TEXT,
      failure = { message = message, code = code, detail = detail } }
  end
end

--- Makes a client.
---@param name string one of `clients.names`
---@param o table { url =, on_event =, loop = the loop it runs in, draw = fun(): number of chance }
function clients.new(name, o)
  if name == "naive" then return single_shot(o, false) end
  if name == "loop" then return clients.with_retries(o, single_shot(o, false)) end
  if name == "loop+breaker" then
    -- 20 calls, half of them failed: open for 5 s, and straight to the text.
    return with_text(clients.with_retries(o, single_shot(o, { on_open = "fail" })))
  end
  local client = new(o, { fallback = clients.TEXT }) -- the defaults
  return function(question, deadline) return call(client, o, question, deadline) end
end

return clients
