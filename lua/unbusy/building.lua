--- Makes the parts of a client: what its options say, in the region where there is one.
local account = require "unbusy.account"
local backoff = require "unbusy.backoff"
local batches = require "unbusy.batching.batches"
local breaker = require "unbusy.breaker"
local budget = require "unbusy.budget"
local caching = require "unbusy.caching.building"
local hedges = require "unbusy.hedges"
local limiter = require "unbusy.limiter"
local monotonic = require "unbusy.clock"
local parts_of = require "unbusy.parts_of"
local permits = require "unbusy.permits"
local policies = require "unbusy.policy.stack"
local pools = require "unbusy.pools"
local queue = require "unbusy.queue"
local recorder = require "unbusy.metrics.recorder"
local router = require "unbusy.routing.router"
local shared = require "unbusy.shared"
local target = require "unbusy.target"

local building = {}

local function build_retry(given, seed)
  if not given then
    return { attempts = 1, max_wait = 120, jitter = 0, chance = parts_of.chance(seed) }
  end
  local o = parts_of.options(backoff, given)
  o.seed = seed
  return { attempts = given.attempts, max_wait = given.max_wait, jitter = given.jitter,
    chance = parts_of.chance(seed), backoff = backoff.new(o) }
end

local function build_permits(self, given)
  if not given then return nil end
  return permits.new(self.budget, { retry = given.retry_cost, throttle = given.throttle_cost },
    self.common)
end

local function build_targets(self, o, clock)
  local accounts, targets = {}, {}
  local breakers = parts_of.options(breaker, o.breaker, clock)
  if breakers then breakers.seed = o.seed end
  local traits = {
    breaker = breakers, on_open = o.breaker and o.breaker.on_open,
    now = self.now, common = self.common, clock = clock, window = o.breaker and o.breaker.window,
    changed = function(t, old, new, by_us) self:state_changed(t, old, new, by_us) end,
    kept = function(t) self:kept_in(t) end,
    released = function()
      if self.queue.count > 0 or self.common then self.queue:offer(self.now()) end
    end,
  }
  local limits = parts_of.options(limiter, o.limiter)
  for i, given in ipairs(o.targets) do
    local name = given.account
    accounts[name] = accounts[name] or account.new(name, limits, traits, o.per_minute[name])
    local made, message, code = target.new(given, accounts[name], traits)
    if not made then return nil, message, code end
    targets[i] = made
  end
  return targets
end

-- The pools, whose targets are out together only within bounds, and the order in them.
local function build_routes(self, o)
  self.pools = pools.of(self.targets)
  for _, t in ipairs(self.targets) do
    t.groups = { self.pools.by_name[t.pool], not t.reserve and self.pools.ordinary or nil }
  end
  local message, code
  self.router, message, code = router.new(self, o)
  return self.router, message, code
end

-- What counts, if anything does: behind all that a call needs, whose room it must not take.
local function build_meter(self, o)
  if not o.metrics then return true end
  local made, message, code = recorder.new(self, o)
  if not made then return nil, message, code end
  self.meter = made
  if self.cache then self.cache.meter = made end
  return true
end

-- What needs memory, or room in the region: true, or nil and a failure.
local function build_parts(self, o)
  local clock = self.now ~= monotonic and self.now or nil -- theirs is the clock of all parts anyway
  local _, message, code
  self.budget, message, code = parts_of.make(self, budget, "budget", o.budget)
  if code then return nil, message, code end
  self.targets, message, code = build_targets(self, o, clock)
  if code then return nil, message, code end
  _, message, code = build_routes(self, o)
  if code then return nil, message, code end
  _, message, code = caching.build(self, o, clock)
  if code then return nil, message, code end
  return build_meter(self, o)
end

-- What is shared with other processes, if anything is: true, or nil and a failure.
local function build_common(self, given)
  if not given then return true end
  local message, code
  self.common, message, code = shared.open(given)
  if not self.common then return nil, message, code end
  self.region = self.common.region
  return true
end

local function build_queue(self, o)
  return queue.new({ size = o.queue.size, max_wait = o.queue.max_wait, common = self.common,
    meter = self.meter, waits = not (o.breaker and o.breaker.on_open == "fail"),
    foresees = o.queue.shed }, self.now())
end

--- Loads the policies; nil and what is wrong with one.
---@param self table client
---@param o table its checked options
---@return boolean? true, string? message
function building.policies(self, o)
  local made, message = policies.new(o, function(fields, c) self:report_policy(fields, c) end)
  if not made then return nil, message end
  self.policies, self.policy = made, made.guests[1] and made or false
  return true
end

--- Gives a client its parts; nil and a failure where there is no memory for one, or no room in the
--- region.
---@param self table client
---@param o table its checked options
---@return boolean? true, string? message, string? code
function building.build(self, o)
  local ok, message, code = build_common(self, o.region)
  if ok then ok, message, code = build_parts(self, o) end
  if not ok then return nil, message, code end
  self.retry = build_retry(o.retry, o.seed)
  self.permits, self.queue = build_permits(self, o.budget), build_queue(self, o)
  self.batches, self.hedges = batches.new(self, o.batch), hedges.new(o.hedge)
  return true
end

return building
