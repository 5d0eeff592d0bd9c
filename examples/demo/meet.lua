--- Clients meet the same questions, each at a busy upstream of its own.
--
--     local all = meet.measure({ "naive", "unbusy" }, p, plan.questions(p), true)
--     all[1].run (its records)  all[1].figures
local busyd = require "spec.support.busyd"
local figures = require "examples.demo.figures"
local plan = require "examples.demo.plan"
local progress = require "examples.demo.progress"
local run = require "examples.demo.run"
local tasks = require "unbusy.loops.tasks"
local unbusy = require "unbusy"

local meet = {}

local function loop_of_this_task()
  return tasks.enter(function(loop) return loop end)
end

-- Runs the clients `names` side by side, each against its own server of `servers`.
local function all_of(names, servers, p, questions, quiet)
  local runs = {}
  unbusy.run(function()
    local loop, asking = loop_of_this_task(), {}
    for i, name in ipairs(names) do runs[i] = run.new(name, p, servers[i].url, loop) end
    local done = loop.event()
    if not quiet then unbusy.spawn(progress.show, runs, done, loop) end
    for i, r in ipairs(runs) do asking[i] = unbusy.spawn(run.go, r, questions, unbusy.spawn) end
    for _, task in ipairs(asking) do task:join() end
    done:set()
  end)
  return runs
end

--- Starts a server for each client, measures, and stops them whatever happens.
---@param names string[] of `examples.demo.clients`
---@param p table of `plan.new`
---@param questions table[] of `plan.questions`
---@param quiet boolean? nothing is told meanwhile
---@return table[] all { run =, figures = } of each
function meet.measure(names, p, questions, quiet)
  local servers, out = {}, {}
  local ok, message = pcall(function()
    for i in ipairs(names) do
      servers[i] = busyd.start { workers = 1, programme = plan.programme(p) }
    end
    local runs = all_of(names, servers, p, questions, quiet)
    for i, r in ipairs(runs) do
      out[i] = { run = r, figures = figures.of(r, servers[i]:settled_counts()) }
    end
  end)
  for _, server in ipairs(servers) do server:stop() end
  if not ok then error(message, 0) end
  return out
end

return meet
