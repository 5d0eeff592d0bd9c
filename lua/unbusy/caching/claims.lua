--- Flights across the processes of a region: one asks, the others wait for its answer in the cache.
--
--     claim ─┬─ lead ──► asks ──► answer into the cache ──► the others are woken
--            ├─ follow ──► kept: out of the cache · failed: claims itself · apart: asks itself
--            └─ alone ──► asks
--
-- See `unbusy.flights`. Who follows is woken by a datagram, and looks by itself every LOOK seconds:
-- a leader that was killed is found out then. The answer is taken out of the cache under the whole
-- key, so never another question's. What cannot be kept is of no use to others: they go on by
-- themselves, all at once. Where answers that were kept are not found (the processes do not share
-- their cache), nobody follows for a while.
local codes = require "unbusy.codes"
local flights = require "unbusy.flights"
local last_good = require "unbusy.caching.last_good"
local shared = require "unbusy.shared"
local stored = require "unbusy.caching.stored"
local turns = require "unbusy.turns"

local claims = {}
claims.__index = claims

local LOOK = 0.1   -- seconds
local MISSES = 3   -- answers that were not found, after which nobody follows
local OFF = 60     -- seconds

-- {== One's own claim =====================================================

local claim = {}
claim.__index = claim

--- It is over; the first time counts.
---@param outcome "kept"|"failed"|"apart"
function claim:finish(outcome)
  if self.over then return end
  self.over = true
  self.claims.leading[self] = nil
  self.claims.part:finish(self.ticket, outcome)
end

--- Runs `f()`, once, when another process follows: nobody there is to wait for a slow reader here.
---@param f function
function claim:on_followed(f)
  self.followed = f
  self.claims.leading[self] = true
  self:look()
end

--- Does another process follow by now?
function claim:look()
  local f = self.followed
  if not f or self.over or not self.claims.part:followed(self.ticket) then return end
  self.followed = false
  self.claims.leading[self] = nil
  f()
end

--- Its call has ended early.
function claim:close()
  self:finish "failed"
end

local function hold(self, c, ticket)
  local mine = setmetatable({ claims = self, ticket = ticket, over = false, followed = false },
    claim)
  c.claim = mine
  c:hold(mine)
  return mine
end

local final = { invalid = true, auth = true, quota = true } -- whoever asks is told the same

local function outcome_of(answer, code)
  if answer then return answer.stored and "kept" or "apart" end
  return final[code] and codes[code] and "apart" or "failed"
end

--- The call that has a claim has come back, and what it was answered has been kept, if it is: the
--- other processes are told. Of a stream: at its end.
---@param c table
---@param answer table?
---@param code string?
function claims.conclude(c, answer, code)
  local mine = c.claim
  if not mine then return end
  c.claim = false
  c:release(mine)
  if not answer or answer.ended then return mine:finish(outcome_of(answer, code)) end
  answer:on_end(function(whole, how)
    mine:finish(how and "failed" or outcome_of(whole))
  end)
end

-- }========================================================================

-- {== Following ===========================================================

local waiter = {}
waiter.__index = waiter

function waiter:abort()
  self.event:set()
end

function waiter:close()
  self.claims.waiting[self] = nil
end

-- Waits until the leader has come to an end, or the call's time is up: the leader's state.
-- A permit is not kept for that time: the leader may need it. (Should the call ask by itself
-- after all, then that one try is not paid for.)
local function follow(self, c, ticket)
  local loop = c.loop
  c:give_permit(true)
  if loop.attend then loop.attend() end
  local w = setmetatable({ claims = self, event = loop.event() }, waiter)
  self.waiting[w] = true
  c:hold(w)
  local state = self.part:look(ticket)
  while state == "led" and not c.stopped and loop.now() < c.deadline do
    w.event:clear()
    loop.wait({ w.event }, math.min(c.deadline, loop.now() + LOOK))
    state = self.part:look(ticket)
  end
  c:release(w)
  w:close()
  return state
end

-- Will it do: is it fresh, or was it kept while the call has waited for it?
local function will_do(c, state, age, waited)
  local most = c.options.max_age
  return age <= waited or state == "fresh" and (not most or age <= most)
end

-- The answer that was kept, as this call's; nil where it is not to be found.
local function recall(self, c, key, began)
  local value, state, age = c.client.cache:get(c, key)
  local waited = c.loop.now() - began
  local known = value and not stored.lacks_usage(c, value) and will_do(c, state, age, waited)
    and last_good.recall(c, value, "coalesced", age)
  if known then
    self.missed, self.found = 0, self.found + 1
    return known
  end
  self.missed = self.missed + 1
  if self.missed >= MISSES then self.off_until, self.missed = c.loop.now() + OFF, 0 end
end

local function too_late(c)
  return nil, ("coalesced: nothing for %.3g s"):format(c.loop.now() - c.started), "timeout",
    { phase = "total" }
end

-- }========================================================================

local function claim_for(self, c, key)
  return self.part:claim(key, turns.number[c.options.priority or "normal"],
    math.max(c.deadline - c.loop.now(), 0))
end

-- Leads, unless the answer came just before.
local function lead(self, c, key, next, ticket, kept, began)
  local mine = hold(self, c, ticket)
  local known = kept and recall(self, c, key, began)
  if not known then return next(c) end
  c.claim = false
  c:release(mine)
  mine:finish "kept"
  return known
end

--- Makes the call, or waits for another process that makes it. Where this one leads, `c.claim` is
--- there, for `conclude`.
---@param c table
---@param key userdata
---@param next function the rest of the call's way
---@param alone boolean? it reads its stream by itself, and so leads nobody; nor does one whose
--- answer will have no usage, which others want
---@return table? reply, string? message, string? code, table? detail
function claims:ask(c, key, next, alone)
  local began = c.loop.now()
  if c.options.cache == "refresh" or began < self.off_until then return next(c) end
  while true do
    local part, ticket, kept = claim_for(self, c, key)
    if part == "lead" and c.streaming and (alone or stored.is_bare(c)) then
      self.part:finish(ticket, "failed")
      return next(c)
    end
    if part == "lead" then return lead(self, c, key, next, ticket, kept, began) end
    if part ~= "follow" then return next(c) end
    local state = follow(self, c, ticket)
    if c.stopped then return c:refusal() end
    local known = state == "kept" and recall(self, c, key, began)
    if known then return known end
    if state == "kept" or state == "apart" then return next(c) end
    if c.loop.now() >= c.deadline then return too_late(c) end
  end
end

--- Takes the lead for a call, where nobody has it: false where somebody has, or has just had and
--- kept an answer that is still fresh.
---@param c table
---@param key userdata
---@param seconds number
---@return boolean
function claims:take(c, key, seconds)
  local part, ticket, kept = self.part:claim(key, turns.number.batch, seconds)
  if part == "follow" then return false end
  if part == "lead" and kept and select(2, c.client.cache.near:get(key)) == "fresh" then
    self.part:finish(ticket, "kept")
    return false
  end
  if part ~= "lead" then return true end
  if stored.is_bare(c) then self.part:finish(ticket, "failed") else hold(self, c, ticket) end
  return true
end

--- Another process has woken this one.
function claims:look_again()
  for w in pairs(self.waiting) do w.event:set() end
  local all = {}
  for mine in pairs(self.leading) do all[#all + 1] = mine end
  for _, mine in ipairs(all) do mine:look() end
end

--- Claims of all processes that led and that followed, leaders that died; and of this process those
--- that have found their answer.
function claims:stats()
  local s = self.part:stats()
  return s and { led = s.led, followed = s.followed, orphaned = s.orphaned, found = self.found }
end

--- The claims of a client in a region; nil where there is no room.
---@param common table see `unbusy.shared`
---@param cache table the checked options of its cache: another one is another process's
---@param clock function?
---@return table?
function claims.new(common, cache, clock)
  local about = { cache.path or false, cache.bytes, cache.entries }
  local part = flights.new(common:part({ clock = clock }, shared.tag("flights", about)))
  if not part then return nil end
  return setmetatable({ part = part, waiting = {}, leading = {}, missed = 0, found = 0,
    off_until = 0 }, claims)
end

return claims
