--- The balancer as spec/shared_kill_spec.lua wants a kind of part.
local core = require "unbusy.core"

local OUTCOMES = { "ok", "ok", "fail", "neutral" }

local balancer, clock = { name = "balancer" }, nil

local function now() return clock() end

function balancer.make(where)
  return assert(core.balancer({ kind = "p2c", decay = 10, hold = 5, slots = 6, seed = 7,
    targets = { { name = "a", weight = 3, priority = 1, line = 0.4 },
      { name = "b", weight = 1, priority = 1 }, { name = "c", weight = 1, priority = 1 } } },
    now(), where, "part"))
end

local function told(b)
  local all, stats = {}, b:stats(now())
  for _, name in ipairs { "a", "b", "c" } do
    local s = stats[name]
    all[#all + 1] = ("%d %d %s %g %s %s"):format(s.picks, s.pending, tostring(s.cost), s.load,
      tostring(s.room), tostring(s.share))
  end
  return table.concat(all, ", ")
end

function balancer.go(b, kept, random, say)
  if random:chance(0.6) then
    local place = b:choose(random:int(4) - 1, random:chance(0.3) and random:int(1000) or nil,
      random:chance(0.5), now())
    say(place)
    if place then kept[#kept + 1] = b:begin(place, now()) end
  elseif kept[1] then
    local i, what = random:int(#kept), random:int(3)
    if what == 1 then say(b:started(kept[i], random:float(), now())) end
    if what == 2 then say(b:waits(kept[i], random:float(), now())) end
    if what == 3 then
      say(b:report(table.remove(kept, i), random:pick(OUTCOMES), random:float(), now()))
    end
  end
  say(told(b))
end

local function begin(n)
  return function(b, kept)
    for i = 1, n do kept[i] = b:begin(i % 3 + 1, now()) end
  end
end

local function neutral(b, ticket, mine)
  if ticket then b:report(ticket, "neutral", nil, now()) end
  for _, held in ipairs(mine) do b:report(held, "neutral", nil, now()) end
end

balancer.cases = {
  { what = "chooses by load", prepare = begin(4),
    work = function(b) b:choose(0, nil, true, now()) end },
  { what = "turns one away", prepare = function(b, kept)
    begin(3)(b, kept)
    b:started(kept[3], 0.9, now())
    begin(3)(b, kept)
  end, work = function(b) b:choose(6, nil, false, now()) end },
  { what = "begins the first call", given_back = neutral,
    work = function(b) return b:begin(1, now()) end },
  { what = "begins a call", prepare = begin(3), given_back = neutral,
    work = function(b) return b:begin(2, now()) end },
  { what = "notes a start", later = 0.5, own = begin(3), given_back = neutral,
    work = function(b, mine) b:started(mine[3], 0.5, now()) end },
  { what = "notes a wait", later = 0.5, own = begin(3), given_back = neutral,
    work = function(b, mine) b:waits(mine[3], 0.5, now()) end },
  { what = "ends a call", later = 0.5, own = begin(3), given_back = neutral,
    work = function(b, mine) b:report(mine[2], "ok", 0.3, now()) end },
  { what = "ends a failed call", later = 0.5, own = begin(3), given_back = neutral,
    work = function(b, mine) b:report(mine[1], "fail", 0.3, now()) end },
  { what = "takes a target back", prepare = begin(3),
    work = function(b) b:back(2, now()) end },
}

--- Goes by that time.
---@param given function
function balancer.by(given)
  clock = given
  return balancer
end

return balancer
