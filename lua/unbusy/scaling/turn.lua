--- One turn of the program: look, decide, act, tell.
--
--     local t = turn.new { rule = rules.load, o = options, governor = g, cluster = c, look = f, … }
--     local line = t:run(now)
--
-- All that reaches outside is handed in, so that a test, or the simulator, can be the outside.
local notice = require "unbusy.scaling.notice"

local turn = {}
turn.__index = turn

local MOST_UNTOLD = 10 -- notices that wait for Alertmanager to come back; the older ones go

--- A program.
---@param o table
--- `rule` fun(seen, o): vote · `rule_options` · `governor` · `replicas` fun(): integer?, message ·
--- `look` fun(): seen · `scale` fun(from, to): done?, message · `tell` fun(event): done?, message,
--- or nil · `wall` fun(): Unix seconds · `dry` true: nothing is changed and nobody told
---@return table
function turn.new(o)
  return setmetatable({ o = o, untold = {}, told = {}, unsure = nil }, turn)
end

-- {== Telling =============================================================

local function queue(self, event)
  local list = self.untold
  list[#list + 1] = event
  if #list > MOST_UNTOLD then table.remove(list, 1) end
end

-- Sends what has not been told yet, in order; gives what stands in the way.
local function tell_all(self)
  while self.untold[1] do
    local done, message = self.o.tell(self.untold[1])
    if not done then return message end
    table.remove(self.untold, 1)
  end
end

-- A state that lasts is told once when it begins, and again every so often.
local AGAIN = 240 -- seconds

local function note(self, now, kind, from, to, why)
  if not self.o.tell or self.o.dry then return end
  if kind ~= "scaled" and self.told[kind] and now - self.told[kind] < AGAIN then return end
  self.told[kind] = now
  queue(self, { kind = kind, from = from, to = to, why = why, at = self.o.wall() })
end

-- }========================================================================

-- {== Acting ==============================================================

local function changes(decision)
  return decision.action == "up" or decision.action == "down"
end

local kind_of = { ceiling = "ceiling", missing = "blind" }

local function carried_out(self, at, n, decision)
  self.o.governor:done(at, decision)
  note(self, at, "scaled", n, decision.replicas, decision.why)
end

-- Who failed may have been heard all the same, and have had no time to say so: there are as many
-- now as were asked for.
local function settle(self, n)
  local unsure = self.unsure
  self.unsure = nil
  if unsure and n == unsure.decision.replicas then
    carried_out(self, unsure.at, unsure.n, unsure.decision)
  end
end

local function act(self, now, n, decision)
  if not changes(decision) then
    local kind = kind_of[decision.action]
    if kind then note(self, now, kind, n, n, decision.why) end
    if not kind then self.told = {} end
    return decision.action
  end
  if self.o.dry then return "would be " .. decision.action end
  local done, message = self.o.scale(n, decision.replicas)
  if not done then
    note(self, now, "failed", n, decision.replicas, message)
    self.unsure = { at = now, n = n, decision = decision }
    return "failed", message
  end
  carried_out(self, now, n, decision)
  return decision.action
end

-- }========================================================================

--- One turn.
---@param now number seconds of a clock that does not go back
---@return table result { replicas = before, wished = after, action =, why =, untold = why
--- Alertmanager could not be told, or nil, fault = why it failed, or nil }
function turn:run(now)
  local o = self.o
  local n, message = o.replicas()
  local vote = { missing = message and "the number of replicas: " .. message }
  if n then
    settle(self, n)
    local seen = o.look()
    seen.replicas = n
    vote = o.rule(seen, o.rule_options)
  end
  local decision = o.governor:decide(now, n or -1, vote)
  local action, fault = act(self, now, n or -1, decision)
  return { replicas = n, wished = n and decision.replicas, action = action, why = decision.why,
    fault = fault, untold = o.tell and not o.dry and tell_all(self) or nil }
end

-- {== Remembering across a restart ========================================

--- What it remembers: a change that may have been made though it failed, and what is still to be
--- told.
---@param now number
---@return table memory { unsure = { age =, from =, to =, action =, why = } or nil, untold = list of
--- { kind =, from =, to =, why =, at = } }
function turn:memory(now)
  local u, untold = self.unsure, {}
  for i, e in ipairs(self.untold) do
    untold[i] = { kind = e.kind, from = e.from, to = e.to, why = e.why, at = e.at }
  end
  return { untold = untold, unsure = u and { age = now - u.at, from = u.n,
    to = u.decision.replicas, action = u.decision.action, why = u.decision.why } }
end

local function is_number(n, least, most)
  return type(n) == "number" and n >= least and n <= most
end

local function is_count(n)
  return is_number(n, -1, 2 ^ 31) and n == math.floor(n)
end

-- From how many to how many, and why.
local function is_change(t)
  return type(t) == "table" and is_count(t.from) and is_count(t.to) and type(t.why) == "string"
end

--- Remembers what another has. What makes no sense is forgotten.
---@param now number
---@param memory table as of `memory`; not trusted
---@param gap number seconds since it was written
function turn:remember(now, memory, gap)
  local u = memory.unsure
  if is_change(u) and changes(u) and is_number(u.age, 0, math.huge) then
    self.unsure = { at = now - u.age - gap, n = u.from,
      decision = { replicas = u.to, action = u.action, why = u.why } }
  end
  for _, e in ipairs(type(memory.untold) == "table" and memory.untold or {}) do
    if is_change(e) and notice.kinds[e.kind] and is_number(e.at, 0, 2 ^ 40) then
      queue(self, { kind = e.kind, from = e.from, to = e.to, why = e.why, at = e.at })
    end
  end
end

-- }========================================================================

return turn
