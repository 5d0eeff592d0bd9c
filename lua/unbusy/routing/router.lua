--- The order in which a call wants its targets.
--
-- Fewer tries of this call first (a retry goes elsewhere), then the pool's priority, then the
-- target's, and among those that are left the balance (`unbusy.balancer`, in the region where there
-- is one) finds the first; the others follow it. Targets that are out (their breaker is open, they
-- rest, …) are never first while another is not. What comes first is only a wish: the stage `admit`
-- takes the first that lets the call in.
--
-- Most calls have made no try yet. For them nothing is made: a *set* (all targets that a call
-- without or with a certain pool may ask) has its *levels* (those of one priority) and, for each
-- first target, one list, which all calls share and nobody changes.
local balancer = require "unbusy.balancer"
local spill = require "unbusy.routing.spill"
local sticky = require "unbusy.routing.sticky"

local router = {}
router.__index = router

local MOST_BITS = 52 -- targets that fit into the number that names a set of them
local SLOTS = 16384  -- calls that are measured at once; 32 bytes each
local RAMP = 6       -- seconds for which a target that comes back takes less than its share

-- {== Making ==============================================================

local function any_weight(targets)
  for _, t in ipairs(targets) do
    if t.weight then return true end
  end
  return false
end

-- The nearer of two lines, of which there may be none.
local function nearer(a, b)
  if not a or not b then return a or b end
  return math.min(a, b)
end

local function line_of(self, t)
  local pool = self.spill.by_name[t.pool]
  return nearer(pool.start, self.start)
end

local function hold_of(self)
  local least
  for _, pool in pairs(self.spill.by_name) do least = nearer(least, pool.hold) end
  return least
end

local function balancer_options(self, o)
  local targets = {}
  for i, t in ipairs(self.targets) do
    local line = line_of(self, t)
    targets[i] = { name = t.name, weight = t.weight or 1, line = line }
    self.measures = self.measures or line ~= nil
  end
  return { kind = self.balance, targets = targets, decay = o.route.decay, seed = o.seed,
    hold = hold_of(self), slots = self.measures and SLOTS or 1 }
end

-- Each call that is let in at a target is told to the balancer.
local function be_measured(self)
  for i, t in ipairs(self.targets) do t.balancer, t.index = self.balancer, i end
end

-- What tells these targets from others of the same names, in a region.
local function tag_of(common, targets)
  local from = {}
  for i, t in ipairs(targets) do from[i] = { t.name, t.url, t.pool } end
  return common.tag("routing", from)
end

--- Makes the router of a client whose targets and pools are there; nil and a failure when the
--- region has no room.
---@param client table
---@param o table its checked options: route, pools, seed
---@return table? self, string? message, string? code
function router.new(client, o)
  local targets = client.targets
  local self = setmetatable({ client = client, targets = targets, sets = {}, place = {},
    balance = o.route.balance or any_weight(targets) and "weighted" or "order",
    sticky = o.route.sticky, start = o.route.start }, router)
  self.measures = self.balance == "p2c" and #targets > 1
  local common = client.common
  local tag = common and tag_of(common, targets)
  self.spill = spill.new(o.pools, client.pools.names,
    function(event) client:spill_changed(event) end, common, tag)
  for i, t in ipairs(targets) do self.place[t] = i end
  if #targets > 1 then -- of one there is nothing to choose
    local options = balancer_options(self, o)
    if common then options = common:part(options, tag) end
    local message, code
    self.balancer, message, code = balancer.new(options)
    if not self.balancer then return nil, message, code end
    if self.measures then be_measured(self) end
  end
  self.spills, self.waits_at_home = self.spill.ordered, false
  for _, pool in pairs(self.spill.by_name) do
    if pool.patience > 0 then self.waits_at_home = true end
  end
  return self
end

-- }========================================================================

-- {== Sets ================================================================

local function rank_of(self, t)
  local pool = self.spill.by_name[t.pool]
  return pool.priority, t.priority
end

local function is_before(self, a, b)
  local pa, ta = rank_of(self, a)
  local pb, tb = rank_of(self, b)
  if pa ~= pb then return pa < pb end
  if ta ~= tb then return ta < tb end
  return self.place[a] < self.place[b]
end

local function in_rank(self, targets)
  local out = {}
  for i, t in ipairs(targets) do out[i] = t end
  table.sort(out, function(a, b) return is_before(self, a, b) end)
  return out
end

local function same_rank(self, a, b)
  local pa, ta = rank_of(self, a)
  local pb, tb = rank_of(self, b)
  return pa == pb and ta == tb
end

-- The set of all targets but these: a number, or a table of names where they are too many.
local function others_than(self, targets)
  local wanted = {}
  for _, t in ipairs(targets) do wanted[t] = true end
  local mask, names = 0, {}
  for i, t in ipairs(self.targets) do
    if not wanted[t] then mask, names[t.name] = mask + 2 ^ (i - 1), true end
  end
  return #self.targets <= MOST_BITS and mask or names
end

local function new_level(self, targets)
  local bits = {}
  for _, t in ipairs(targets) do bits[t] = 2 ^ (self.place[t] - 1) end
  local level = { targets = targets, bits = bits, others = others_than(self, targets),
    has_lines = false, pools = {} }
  for _, t in ipairs(targets) do
    level.pools[t.pool] = true
    level.has_lines = level.has_lines or line_of(self, t) ~= nil
  end
  return level
end

local function levels_of(self, ordered)
  local levels, group = {}, {}
  for i, t in ipairs(ordered) do
    group[#group + 1] = t
    local following = ordered[i + 1]
    if not following or not same_rank(self, t, following) then
      levels[#levels + 1] = new_level(self, group)
      group = {}
    end
  end
  return levels
end

-- What is known of a list of targets, which is one of the client's pools.
local function set_of(self, targets)
  local set = self.sets[targets]
  if set then return set end
  local ordered = in_rank(self, targets)
  set = { ordered = ordered, levels = levels_of(self, ordered), lists = {} }
  self.sets[targets] = set
  return set
end

-- Those of the level of `first` behind it, then the others by rank.
local function list_from(self, ordered, first)
  local out = { first }
  for _, t in ipairs(ordered) do
    if t ~= first and same_rank(self, t, first) then out[#out + 1] = t end
  end
  for _, t in ipairs(ordered) do
    if t ~= first and not same_rank(self, t, first) then out[#out + 1] = t end
  end
  return out
end

local function shared_list(self, set, first)
  local list = set.lists[first]
  if not list then
    list = list_from(self, set.ordered, first)
    set.lists[first] = list
  end
  return list
end

-- }========================================================================

-- {== The first ===========================================================

-- The set `others` and these targets.
local function joined(level, out)
  if type(level.others) == "number" then
    local mask = level.others
    for _, t in ipairs(out) do mask = mask + level.bits[t] end
    return mask
  end
  local names = {}
  for name in pairs(level.others) do names[name] = true end
  for _, t in ipairs(out) do names[t.name] = true end
  return names
end

-- Targets of a level that are out now (nil: none is), how many are not, the first of these, and
-- whether one of them has just come back.
local function look(level, now, call)
  local out, count, first, ramps, targets = nil, 0, nil, false, level.targets
  for i = 1, #targets do
    local t = targets[i]
    -- Mostly there is nothing to look at.
    if (t.state ~= "closed" or t.rest_until > now or t.limited_until > now or t.troubled
        or t.common) and t:is_away(now, call) then
      out = out or {}
      out[#out + 1] = t
    else
      count, first = count + 1, first or t
      ramps = ramps or t.ramps_until > now
    end
  end
  return out, count, first, ramps
end

-- One whose breaker lets a probe out. By load it would hardly ever be asked.
local function due_probe(level, now, call)
  for _, t in ipairs(level.targets) do
    if t.state == "half_open" and not t:is_away(now, call) and t.breaker:retry_after() == 0 then
      return t
    end
  end
end

-- Is the first that is not out the one, without asking the balancer?
local function is_plain(self, level, count, key, ramps, late)
  if level.has_lines and not late then return false end
  return count == 1 or self.balance == "order" and not key and not ramps
end

-- The target that a key belongs to; where that one is full, the next one that it belongs to, not
-- whoever stands behind it in the list. Nil where all are late.
local function by_key(self, call, level, out, key, late, now)
  local place = self.balancer:choose(out and joined(level, out) or level.others, key, late, now)
  local first = place and self.targets[place]
  if not first or not first:is_full(first:model(call.model)) then return first end
  out = out or {}
  out[#out + 1] = first
  place = self.balancer:choose(joined(level, out), key, late, now)
  return place and self.targets[place] or first
end

-- The first of a level; nil where none of it is to be asked: all are out, or late (true).
local function first_of(self, call, level, key, now, late)
  local out, count, first, ramps = look(level, now, call)
  if count == 0 then return nil end
  local probe = self.balance == "p2c" and not key and count > 1 and due_probe(level, now, call)
  if probe then return probe end
  if is_plain(self, level, count, key, ramps, late) then return first end
  if key then
    first = by_key(self, call, level, out, key, late, now)
    return first, not first
  end
  local place = self.balancer:choose(out and joined(level, out) or level.others, nil, late, now)
  if not place then return nil, true end
  return self.targets[place]
end

-- The first of those that come first; nil where every one is out.
local function first_of_set(self, call, set, key, now, late)
  local any_late = false
  local levels = set.levels
  for i = 1, #levels do
    local first, is_late = first_of(self, call, levels[i], key, now, late)
    if first then return first, any_late end
    any_late = any_late or is_late
  end
  if not any_late or late then return nil end
  return (first_of_set(self, call, set, key, now, true)), false
end

-- }========================================================================

-- {== Retries =============================================================

local function tries_by_target(call)
  local tried = {}
  for _, try in ipairs(call.tries) do tried[try.target] = (tried[try.target] or 0) + 1 end
  return tried
end

-- On a move to another account, the tries of an account count for each of its targets.
local function tries_by_account(self, call)
  local by_target, of_account, tried = tries_by_target(call), {}, {}
  for _, t in ipairs(self.targets) do
    of_account[t.account_name] = (of_account[t.account_name] or 0) + (by_target[t.name] or 0)
  end
  for _, t in ipairs(self.targets) do tried[t.name] = of_account[t.account_name] end
  return tried
end

-- The targets of the lowest rank (tries of this call, then priority), those that are out only
-- where all are.
local function best_of(self, call, targets, tried, now)
  local group = {}
  for _, any in ipairs { false, true } do
    for _, t in ipairs(targets) do
      if any or not t:is_away(now, call) then
        local best = group[1]
        local n, least = tried[t.name] or 0, best and (tried[best.name] or 0)
        local better = not best or n < least
          or n == least and not same_rank(self, t, best) and is_before(self, t, best)
        if better then group, best = {}, t end
        if best == t or n == least and same_rank(self, t, best) then group[#group + 1] = t end
      end
    end
    if group[1] then return group end
  end
end

local function by_tries(self, targets, tried, first)
  local out = {}
  for i, t in ipairs(targets) do out[i] = t end
  table.sort(out, function(a, b)
    if a == first or b == first then return a == first and b ~= first end
    local na, nb = tried[a.name] or 0, tried[b.name] or 0
    if na ~= nb then return na < nb end
    return is_before(self, a, b)
  end)
  return out
end

-- The order for a call that has been sent before, or that has ruled some out.
local function anew(self, call, targets, key, now)
  local tried = call.moving and tries_by_account(self, call) or tries_by_target(call)
  call.moving = false
  local group = best_of(self, call, targets, tried, now)
  local first = group[1]
  if #group > 1 and (self.balance ~= "order" or key) then
    local place = self.balancer:choose(others_than(self, group), key, true, now)
    first = place and self.targets[place] or first
  end
  return by_tries(self, targets, tried, first)
end

-- }========================================================================

--- The targets in the order in which the call wants them; nobody changes the list.
---@param call table
---@param targets table[] those that it may ask: a list of the client's, or one of its own
---@param own boolean the list is its own
---@return table[]
function router:order(call, targets, own)
  local now = call.loop.now()
  local key = self.sticky and sticky.key(call, self.sticky) or nil
  call.spills = false
  if own or call.tries[1] or call.moving then return anew(self, call, targets, key, now) end
  local set = set_of(self, targets)
  local first, late = first_of_set(self, call, set, key, now, false)
  if late and self.spills then call.spills = "start" end
  return first and shared_list(self, set, first) or set.ordered
end

--- The targets of the pool where the call is at home, for as long as it may wait there alone; nil
--- where it does not.
---@param call table
---@param order table[] as `router:order` gave
---@return table[]? home, number? seconds
function router:home(call, order)
  local level = set_of(self, call:targets()).levels[1]
  local pool = self.spill.by_name[level.targets[1].pool]
  if pool.patience <= 0 or call.tries[1] or not level.pools[order[1].pool]
    or self.spill:is_on(pool.name, call.loop.now()) then
    return nil
  end
  return level.targets, pool.patience
end

local function why(call, level, now)
  if call.spills then return call.spills end
  for _, t in ipairs(level.targets) do
    if not t:is_away(now, call) then return "full" end
  end
  return "open"
end

--- A call was let in at a target: was it sent on from its home?
---@param call table
---@param target table
function router:let_in(call, target)
  if call.options.target or call.options.pool or call.pool then return end
  local level = set_of(self, call:targets()).levels[1]
  local home, now = level.targets[1].pool, call.loop.now()
  if not level.pools[target.pool] then
    self.spill:send_on(home, target.pool, why(call, level, now), now)
  elseif self.spill.by_name[home].told then -- to spill; is it over?
    self.spill:is_on(home, now)
  end
end

--- A breaker has changed.
---@param target table
---@param from string
---@param to string
---@param by_us boolean what this process has reported did it
function router:state_changed(target, from, to, by_us)
  if to ~= "closed" or from == "closed" then return end
  local now = self.client.now()
  target.ramps_until = now + RAMP
  if by_us and self.balancer then self.balancer:back(self.place[target], now) end
end

--- Adds to what is told of each target what the balancer knows of it.
---@param list table[] of `target:status`, in the order of the targets
function router:add_status(list)
  local now = self.client.now()
  local stats = self.balancer and self.balancer:stats(now) or {}
  for i, t in ipairs(self.targets) do
    local told, s = list[i], stats[t.name]
    told.away, told.share = t:is_away(now), s and s.share
    if self.measures then told.pending, told.start, told.room = s.pending, s.cost, s.room end
  end
end

return router
