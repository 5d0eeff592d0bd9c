--- A live look: each target of a configuration is asked a few small questions, one after the other,
--- and then, if that is wanted, many at once.
--
-- It asks past breakers, limits, retries and caches, since those are what may be at fault. A
-- question is one word, its answer one token: a few of them cost next to nothing, but not nothing.
local period = require "unbusy.diagnose.period"

local probe = {}

local QUESTIONS, DEADLINE = 3, 20 -- of each target, one after the other; seconds
local LINE = 1.5                  -- seconds to the first of an answer, over which it is slow

-- A configuration's target as a table of our own, without its script.
local function bare(target)
  if type(target) ~= "table" then return target end
  local out = {}
  for name, value in pairs(target) do out[name] = value end
  out.policy = nil
  return out
end

-- A client of the same targets and nothing else of the configuration; or nil, and what
-- `unbusy.new` has against it.
local function client_of(given)
  local targets = given.targets
  if type(targets) == "table" then
    targets = {}
    for i, target in ipairs(given.targets) do targets[i] = bare(target) end
  end
  local ok, client, message = pcall(require("unbusy").new, { targets = targets,
    clocks = given.clocks, retry = false, breaker = false, limiter = false, budget = false,
    resume = false })
  if ok then return client, message end
  local told = type(client) == "string" and client:match "^unbusy: (.*)$"
  if not told then error(client, 0) end
  return nil, told
end

local function request_of(model)
  return { model = model, max_tokens = 1, messages = { { role = "user", content = "hi" } } }
end

-- One question: its seconds to the first of an answer, or nil, message, code and detail.
local function ask(client, target, model)
  local began = client.now()
  local stream, message, code, detail = client:stream(request_of(model),
    { target = target, deadline = DEADLINE, cache = false })
  if not stream then return nil, message, code, detail end
  local first = client.now() - began
  local reply, why, how, more = stream:reply()
  if not reply then return nil, why, how, more end
  return first
end

local function note(result, p, name, took, message, code)
  period.add_calls(p, 1, code)
  period.add_tries(p, name, 1, code)
  if took then result.took[#result.took + 1] = took end
  if code and not result.message then result.message = message end
end

local function one_by_one(client, target, model, p)
  local result = { name = target.name, took = {} }
  for _ = 1, QUESTIONS do
    local took, message, code = ask(client, target.name, model)
    note(result, p, target.name, took, message, code)
    if code == "auth" or code == "quota" or code == "invalid" then break end -- it stays so
  end
  table.sort(result.took)
  return result
end

-- `n` questions at once: how many were answered.
local function at_once(client, target, model, p, n)
  local unbusy, answered = require "unbusy", 0
  local result = { took = {} }
  unbusy.run(function()
    for _ = 1, n do
      unbusy.spawn(function()
        local took, message, code = ask(client, target.name, model)
        note(result, p, target.name, took, message, code)
        if took then answered = answered + 1 end
      end)
    end
  end)
  return answered
end

-- Asks all targets, and those that answer many at once.
local function ask_all(client, o, alone, crowd)
  local probes, began = {}, client.now()
  for i, target in ipairs(client.targets) do
    probes[i] = one_by_one(client, target, o.model, alone)
  end
  alone.span, began = client.now() - began, client.now()
  for i, target in ipairs(o.at_once and client.targets or {}) do
    local result = probes[i]
    if result.took[1] then
      result.asked = o.at_once
      result.answered = at_once(client, target, o.model, crowd, o.at_once)
    end
  end
  crowd.span = client.now() - began
  return probes
end

local function middle(probes)
  local took = {}
  for _, result in ipairs(probes) do
    for _, s in ipairs(result.took) do took[#took + 1] = s end
  end
  table.sort(took)
  return took[math.ceil(#took / 2)]
end

--- Looks.
---@param given table options of `unbusy.new`: its targets and clocks
---@param o table? { model =, at_once = how many questions at a time, or nil }
---@return table? facts as of `log.read`, with `probes` = list of { name, took = sorted seconds,
--- message, asked, answered }, string? message
function probe.look(given, o)
  local client, message = client_of(given)
  if not client then return nil, message end
  local alone, crowd = period.new(), period.new()
  local probes = ask_all(client, o or {}, alone, crowd)
  client:close()
  alone.took = middle(probes)
  crowd.took = alone.took
  local facts = { calls = alone.calls + crowd.calls, probes = probes, line = LINE }
  local failed = alone.bad + period.count(alone, "invalid") -- it is we who have asked
  if failed > 0 or (alone.took or 0) > LINE then
    facts.trouble = alone
  elseif crowd.bad > 0 then
    facts.trouble, facts.quiet = crowd, alone
  else
    facts.quiet = alone
  end
  return facts
end

return probe
