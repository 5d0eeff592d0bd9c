--- The meter of limits per minute as spec/shared_kill_spec.lua wants a kind of part.
local core = require "unbusy.core"

local rate, clock = { name = "rate" }, nil

local function now() return clock() end

function rate.make(where)
  return assert(core.rate({ requests = 60, tokens = 5000 }, now(), where, "part"))
end

local function told(r)
  local all = {}
  for name, value in pairs(r:stats(now())) do
    all[#all + 1] = ("%s=%s"):format(name, tostring(value))
  end
  table.sort(all)
  return table.concat(all, " ")
end

function rate.go(r, _, random, say)
  local n = random:int(200)
  if random:chance(0.2) then r:correct(n, random:int(200), now()) end
  if random:chance(0.1) then r:tell("tokens", 6000, 10 * n, n, false, nil, now()) end
  say((r:take(n, now())))
  say(r:retry_after(n, now()), told(r))
end

rate.cases = {
  { what = "lets a call in", work = function(r) r:take(100, now()) end },
  { what = "mends what was foreseen", later = 3,
    work = function(r) r:correct(100, 20, now()) end },
  { what = "hears the server",
    work = function(r) r:tell("requests", 10, 2, 30, true, nil, now()) end },
}

--- Goes by that time.
---@param given function
function rate.by(given)
  clock = given
  return rate
end

return rate
