-- What the stages of a call cost by themselves: no network, no JSON, a clock that is read.
--
-- Opening a request gives an exchange that has its whole answer at once; encoding gives a fixed
-- text, decoding a fixed value, and the provider a fixed answer. Everything else is as in earnest:
-- a task of our own loop, the checks of the options, all stages, the breaker, the limiter, the
-- budget and the reply.
local json = require "unbusy.json"
local measure = require "bench.support.measure"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local GOAL_NS = _VERSION == "Lua 5.4" and 5000 or 2000

-- {== A network that costs nothing ========================================

local exchange = {}
exchange.__index = exchange

local headers, info = { ["content-type"] = "application/json" }, { phase = "body" }

function exchange:take()
  self.at = self.at + 1
  if self.at == 1 then return "head", 200, headers, false, false end
  if self.at == 2 then return "data", "{}" end
  return "end", nil, nil, info
end

function exchange:close() self.at = 3 end
function exchange:abort() self.at = 3 end

local function open(_, _, event)
  return setmetatable({ at = 0, event = event }, exchange)
end

-- }========================================================================

local messages = { { role = "user", content = "天气如何" } }
local answer = { body = { id = "x", choices = { { index = 0, finish_reason = "stop",
    message = { role = "assistant", content = "hello" } } } }, text = "hello", finish = "stop",
  model = "m",
  usage = { prompt_tokens = 3, completion_tokens = 5, total_tokens = 8, cached_tokens = 0 } }

local function new_client(options, count)
  options.targets = {}
  for i = 1, count or 1 do
    options.targets[i] = { name = "a" .. i, url = "http://127.0.0.1:1", key = "k", priority = i }
  end
  local client = unbusy.new(options)
  for _, target in ipairs(client.targets) do
    target.provider = setmetatable({ read = function() return answer end },
      { __index = target.provider })
  end
  return client
end

local function chats(client, given)
  return function(n)
    for _ = 1, n do
      local reply = client:chat({ model = "m", messages = messages }, given)
      if not reply then error "no reply" end
    end
  end
end

-- Bytes that one call leaves for the collector.
local function garbage_of(run)
  run(1000)
  collectgarbage()
  collectgarbage "stop"
  local before = collectgarbage "count"
  run(1000)
  local bytes = (collectgarbage "count" - before) * 1024 / 1000
  collectgarbage "restart"
  return bytes
end

-- Each question but the first few is a new one.
local function new_questions(client)
  local count = 0
  return function(n)
    for _ = 1, n do
      count = count + 1
      client:chat { model = "m", messages = { { role = "user", content = "question " .. count } } }
    end
  end
end

local contestants = {
  { name = "every stage on", run = chats(new_client {}) },
  { name = "with a deadline", run = chats(new_client {}, { deadline = 30 }) },
  { name = "no retry, breaker, limiter, budget", run = chats(new_client {
    retry = false, breaker = false, limiter = false, budget = false }) },
  { name = "with a cache, every question new", run = new_questions(new_client { cache = true }) },
  { name = "with a cache, the same question", run = chats(new_client { cache = true }) },
  { name = "two targets", run = chats(new_client({}, 2)) },
  { name = "two targets, hedge = { after = 1 }",
    run = chats(new_client({ hedge = { after = 1 } }, 2)) },
}

json.encode = function() return "{}" end
json.decode = function() return answer.body end
wire.open = open

unbusy.run(function()
  local ns = measure.race("the stages of one call, in a task", contestants)
  for _, c in ipairs(contestants) do
    print(("  garbage of one call, %-34s %6.0f bytes"):format(c.name, garbage_of(c.run)))
  end
  measure.goal("every stage on", ns["every stage on"], GOAL_NS, "ns")
end)
measure.race("the same in the main thread, which runs the scheduler for each", contestants)
