--- Series of numbers as spec/shared_kill_spec.lua wants a kind of part.
local core = require "unbusy.core"

local metrics = { name = "metrics" }

function metrics.make(where)
  return assert(core.metrics({ bytes = 16384, seed = 5 }, nil, where, "part"))
end

local function key(n)
  return ('n%d_total{a="%s"}'):format(n % 3, ("x"):rep(n))
end

local function open(m, n)
  return m:open(n % 2 == 0 and "counter" or "seconds", key(n))
end

function metrics.go(m, _, random, say)
  local n = random:int(20)
  open(m, n)
  m:set({ { n % 2 == 0 and "counter" or "seconds", key(n) } }):note(random:int(9))
  for i = 0, 2 do say(m:text(("n%d_total"):format(i))) end
  local stats = m:stats()
  say(stats.series, stats.used, stats.refused)
end

local function add(n)
  return function(m)
    for i = 1, n do open(m, i) end
  end
end

metrics.cases = {
  { what = "makes the first series", work = function(m) open(m, 7) end },
  { what = "makes a series behind others", work = function(m) open(m, 14) end, prepare = add(9) },
  { what = "finds one", work = function(m) open(m, 4) end, prepare = add(9) },
  { what = "finds no room", prepare = add(9),
    work = function(m) m:open("counter", ("n"):rep(1000)) end },
}

return metrics
