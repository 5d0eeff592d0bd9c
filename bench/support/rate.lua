--- Calls that come at a rate, whatever becomes of those before them, over real time.
--
--     local calls = rate.run({ { name = "a", client = client, rate = 30 } }, 20)
--     calls.a[1].at, .took, .reply, .code, .tries
local clock = require "unbusy.core".now
local unbusy = require "unbusy"

local rate = {}

local function question(i)
  return { model = "m", messages = { { role = "user", content = "question " .. i } } }
end

local function ask(list, who, i, began)
  local at = clock() - began
  local make = who.request or question
  local reply, _, code, detail = who.client:chat(make(i), who.options)
  list[i] = { at = at, took = clock() - began - at, target = reply and reply.target,
    source = reply and reply.source, cost = reply and reply.cost, code = code,
    tries = reply and reply.tries or detail.tries }
end

-- The seconds until the next call; `who.rate` is a number or a function of the time.
local function gap(who, now)
  local per_second = type(who.rate) == "function" and who.rate(now) or who.rate
  return 1 / per_second
end

local function arrive(who, list, seconds, began)
  local due, i, tasks = 0, 0, {}
  while due < seconds do
    local early = began + due - clock()
    if early > 0 then unbusy.sleep(early) end
    i = i + 1
    tasks[i] = unbusy.spawn(ask, list, who, i, began)
    due = due + gap(who, due)
  end
  for _, task in ipairs(tasks) do task:join() end
end

--- Runs all of them beside each other.
---@param contestants table[] { name =, client =, rate = calls a second, request = function(i)? }
---@param seconds number
---@return table<string, table[]> calls of each, by name; number began on the monotonic clock
function rate.run(contestants, seconds)
  local calls, began = {}, nil
  unbusy.run(function()
    began = clock()
    local tasks = {}
    for i, who in ipairs(contestants) do
      calls[who.name] = {}
      tasks[i] = unbusy.spawn(arrive, who, calls[who.name], seconds, began)
    end
    for _, task in ipairs(tasks) do task:join() end
  end)
  return calls, began
end

--- Those that came within some seconds.
function rate.between(calls, from, to)
  local out = {}
  for _, call in ipairs(calls) do
    if call.at >= from and call.at < to then out[#out + 1] = call end
  end
  return out
end

--- How many there are of which that is true.
function rate.count(calls, test)
  local n = 0
  for _, call in ipairs(calls) do n = n + (test(call) and 1 or 0) end
  return n
end

--- The seconds that a share of the answered calls took at most.
function rate.quantile(calls, share)
  local took = {}
  for _, call in ipairs(calls) do
    if call.target then took[#took + 1] = call.took end
  end
  table.sort(took)
  return took[math.max(1, math.ceil(#took * share))] or 0 / 0
end

return rate
