--- Every ticket that a part gives out comes back, once, and no part gives out more than it may.
--
-- While a ledger is open, the parts that clients are made of are wrapped: what they give is written
-- down, and what they are given back is looked up. The rules are checked at each ticket:
--
--     limiter    as many are out as it says, and no more than its limit
--     breaker    none while it is open; no more than its permits to try it, but for those that
--                have been out for as long as it is open at least: theirs are given anew
--     budget     permits: no more than a share of the calls under way, or its floor
--     rate       no minute sees more requests than it allows
--     balancer   as many are out as it says, at the end
--
-- Parts of one name in one region are one part, whoever holds them.
local balancer = require "unbusy.balancer"
local breaker = require "unbusy.breaker"
local budget = require "unbusy.budget"
local limiter = require "unbusy.limiter"
local rate = require "unbusy.rate"

local ledger = {}
ledger.__index = ledger

local TICK = 2e-6 -- seconds: parts count in whole microseconds

-- What is written down of a part: the same for all who hold it.
local function account_of(self, kind, o)
  local name = o.region and kind .. " " .. o.name
  local account = name and self.shared[name]
  if account then return account end
  account = { kind = kind, out = {}, count = 0 }
  if name then self.shared[name] = account end
  self.accounts[#self.accounts + 1] = account
  return account
end

local function complain(self, account, text, ...)
  self.faults[#self.faults + 1] = ("%s: " .. text):format(account.kind, ...)
end

local function give(self, account, ticket, what)
  if account.out[ticket] then complain(self, account, "a ticket is given twice: %s", ticket) end
  account.out[ticket] = what or true
  account.count = account.count + 1
  self.given = self.given + 1
end

-- What was written with it; nil, and a complaint, where it is not out.
local function take_back(self, account, ticket)
  local what = account.out[ticket]
  if not what then
    complain(self, account, "comes back and is not out: %s", tostring(ticket))
    return nil
  end
  account.out[ticket] = nil
  account.count = account.count - 1
  return what
end

-- {== Wrapped parts =======================================================

-- Whatever is not looked at is passed on.
local function passed_on(part, methods)
  return setmetatable(methods, { __index = function(t, name)
    local f = part[name]
    if type(f) ~= "function" then return f end
    local function pass(_, ...) return f(part, ...) end
    t[name] = pass
    return pass
  end })
end

-- The `report` of a part that says whether it knew the ticket.
local function reporting(self, part, account)
  return function(_, ticket, ...)
    take_back(self, account, ticket)
    local known = part:report(ticket, ...)
    if not known then complain(self, account, "it does not know %s", ticket) end
    return known
  end
end

local wrap = {}

function wrap.limiter(self, part, account)
  local m = {}
  function m.allow()
    local ticket, message, code, detail = part:allow()
    if not ticket then return nil, message, code, detail end
    give(self, account, ticket)
    local out, limit = part:in_flight(), part:limit()
    if out ~= account.count then
      complain(self, account, "%d are out, it says %d", account.count, out)
    elseif out > math.max(1, math.floor(limit + 1e-9)) then
      complain(self, account, "%d are out, the limit is %g", out, limit)
    end
    return ticket
  end
  m.report = reporting(self, part, account)
  return m
end

-- Probes that were given out in the last so many seconds, with this one.
local function probes_out(self, account, ticket, seconds)
  local probes, now, count = account.probes or {}, self.now(), 0
  account.probes, probes[ticket] = probes, now
  for other, since in pairs(probes) do
    if not account.out[other] then probes[other] = nil
    elseif now - since < seconds - TICK then count = count + 1 end
  end
  return count
end

function wrap.breaker(self, part, account, o)
  local m = {}
  function m.allow()
    local ticket, message, code, detail = part:allow()
    if not ticket then return nil, message, code, detail end
    local state = part:state()
    give(self, account, ticket, state)
    if state == "open" then complain(self, account, "a ticket while it is open") end
    if state == "half_open" then
      local out = probes_out(self, account, ticket, o.open_for or 5)
      if out > (o.permits or 1) then
        complain(self, account, "%d try it, %d may", out, o.permits or 1)
      end
    end
    return ticket
  end
  function m.report(_, ticket, ...)
    take_back(self, account, ticket)
    return part:report(ticket, ...)
  end
  return m
end

function wrap.budget(self, part, account, o)
  local m = {}
  account.active = account.active or 0
  function m.begin()
    account.active = account.active + 1
    return part:begin()
  end
  function m.finish(_, outcome)
    account.active = account.active - 1
    if not part:finish(outcome) then complain(self, account, "no call is under way") end
    return true
  end
  function m.take(_, kind)
    local permit, message, code = part:take(kind)
    if not permit then return nil, message, code end
    give(self, account, permit)
    account.permits = (account.permits or 0) + 1
    local now = part:stats()
    if now.active ~= account.active or now.permits ~= account.count then
      complain(self, account, "%d calls and %d permits, it says %d and %d", account.active,
        account.count, now.active, now.permits)
    elseif now.permits > math.max((o.ratio or 0.2) * now.active, o.floor or 3) + 1e-9 then
      complain(self, account, "%d permits for %d calls", now.permits, now.active)
    end
    return permit
  end
  function m.give(_, permit, outcome)
    take_back(self, account, permit)
    return part:give(permit, outcome)
  end
  return m
end

function wrap.rate(self, part, account, o)
  local m = {}
  account.times, account.first, account.last = account.times or {}, account.first or 1,
    account.last or 0
  function m.take(_, ...)
    local mark, other, code, detail = part:take(...)
    if not mark or not o.requests then return mark, other, code, detail end
    local times, now = account.times, self.now()
    account.last = account.last + 1
    times[account.last] = now
    while times[account.first] <= now - 60 + TICK do
      times[account.first], account.first = nil, account.first + 1
    end
    if account.last - account.first + 1 > o.requests then
      complain(self, account, "%d requests in a minute that allows %d",
        account.last - account.first + 1, o.requests)
    end
    return mark, other
  end
  return m
end

function wrap.balancer(self, part, account)
  local m = {}
  function m.begin(_, place, now)
    local ticket = part:begin(place, now)
    if ticket then give(self, account, ticket) end
    return ticket
  end
  m.report = reporting(self, part, account)
  return m
end

local parts = { limiter = limiter, breaker = breaker, budget = budget, rate = rate,
  balancer = balancer }

-- }========================================================================

--- Opens one: parts that are made from now on are watched, until `close`.
---@return table self
function ledger.open()
  local self = setmetatable({ shared = {}, accounts = {}, faults = {}, given = 0, made = {},
    now = false }, ledger)
  for kind, part in pairs(parts) do
    local new = part.new
    self.made[kind] = new
    function part.new(given)
      local made, message, code = new(given)
      if not made then return nil, message, code end
      local o = given or {}
      return passed_on(made, wrap[kind](self, made, account_of(self, kind, o), o))
    end
  end
  return self
end

--- Parts are made as ever again.
function ledger:close()
  for kind, new in pairs(self.made) do parts[kind].new = new end
end

--- What is still out, as a sentence; nil for nothing.
---@return string?
function ledger:left()
  local out = {}
  for _, account in ipairs(self.accounts) do
    if account.count > 0 then
      out[#out + 1] = ("%s: %d tickets"):format(account.kind, account.count)
    end
    if (account.active or 0) ~= 0 then
      out[#out + 1] = ("budget: %d calls"):format(account.active)
    end
  end
  return out[1] and table.concat(out, ", ")
end

return ledger
