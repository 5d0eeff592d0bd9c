-- What a policy's decision costs: the guard around it, its check, and the facts that it is told.
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local policy = require "unbusy.policy"
local virtual = require "unbusy.loops.virtual"
local unbusy = require "unbusy"

local GOAL_NS = 1000

local SCRIPT = [[
local policy = {}
function policy.retry(try)
  if try.number >= 5 then return nil end
  return math.min(2 ^ (try.number - 1), 30) * (1 + math.random() / 10)
end
function policy.route(_, targets)
  table.sort(targets, function(a, b) return a.name < b.name end)
  local names = {}
  for i, t in ipairs(targets) do names[i] = t.name end
  return names
end
function policy.classify(try)
  if try.status == 404 then return "busy" end
end
return policy
]]

local function write(text)
  local path = os.tmpname()
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

local path = write(SCRIPT)
local loaded = assert(policy.load(path))
local retry, try = loaded.functions.retry, { number = 3 }

local function times(f)
  return function(n)
    for _ = 1, n do f() end
  end
end

local targets = {}
for i = 1, 5 do targets[i] = { name = "target " .. 6 - i, tries = 0, state = "closed" } end

local function decisions()
  local ns = measure.race("one decision: how long to wait", {
    { name = "the script's function, called", run = times(function() return retry(try) end) },
    { name = "the same, by pcall", run = times(function() return pcall(retry, try) end) },
    { name = "within limits",
      run = times(function() return core.guarded(1e6, 2 ^ 25, retry, try) end) },
    { name = "within limits and checked",
      run = times(function() return loaded:decide(nil, "retry", try) end) },
    { name = "the order of five targets",
      run = times(function() return loaded:decide(nil, "route", {}, targets) end) },
  })
  local more = ns["within limits and checked"] - ns["the script's function, called"]
  measure.goal("what is around a decision", more, GOAL_NS, "ns")
end

-- {== In a call ===========================================================

local BODY = '{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant",'
  .. '"content":"hello"}}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}'
local headers = { ["content-type"] = "application/json" }

local function serve(_, x)
  x:head(200, headers)
  x:data(BODY)
end

local function calls(what, given)
  local loop = virtual.new { serve = serve }
  local client = unbusy.new { loop = loop, policy = what, targets = {
    { name = "a", url = "http://a.test/v1", key = "k" },
    { name = "b", url = "http://b.test/v1", key = "k" } } }
  local request = { model = "m", messages = { { role = "user", content = "天气如何" } } }
  return function(n)
    loop.run(function()
      for _ = 1, n do assert(client:chat(request, given)) end
    end)
  end
end

decisions()
measure.race("a good call in virtual time, two targets", {
  { name = "without a policy", run = calls() },
  { name = "a policy that is asked nothing", run = calls { retry = function() end } },
  { name = "every answer classified", run = calls { classify = function() end } },
  { name = "targets chosen", run = calls { route = function() return "a" end } },
  { name = "a script: chosen and classified", run = calls(path) },
  { name = "the same, named by each call", run = calls(nil, { policy = path }) },
})
os.remove(path)

-- }========================================================================
