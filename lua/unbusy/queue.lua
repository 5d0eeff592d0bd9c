--- The waiting line before the targets.
--
-- A call that no target lets in waits here; that costs neither a try nor budget. Of each priority,
-- first come, first served: a call that has to try again does not lose its turn. The priorities
-- take turns (`unbusy.turns`), so that the urgent go first and nobody waits for ever. Whoever gives
-- a place back serves the line: it asks the gates on behalf of those who wait and hands the place
-- over, so that nobody overtakes.
--
-- But for those whose time would be up before an answer is usually there: they let the others go
-- first. Else an overload would end in a line whose head is always too late, and in which each
-- place is spent on an answer that nobody waits for any more. And who can be told at once that it
-- would wait in vain (`unbusy.forecast`), is.
local forecast = require "unbusy.forecast"
local line = require "unbusy.line"
local turns = require "unbusy.turns"

local queue = {}
queue.__index = queue

---@param given table { size =, max_wait = seconds, waits = boolean, foresees = boolean,
--- common = see `unbusy.shared`, or nil, meter = see `unbusy.metrics.recorder`, or nil }
---@param now number
function queue.new(given, now)
  local common = given.common
  return setmetatable({
    size = given.size, max_wait = given.max_wait, waits = given.waits, foresees = given.foresees,
    common = common, meter = given.meter,
    line = line.new(common or turns.new()), count = 0, -- of those in line
    gates = {}, wanted = 0,                            -- gates that somebody waits for
    passes = 0, refused = 0, look_at = math.huge, watched = {},
    future = forecast.new(now), shed = 0, serving = false,
  }, queue)
end

local curable = { open = true, full = true } -- by time

-- {== Gates ===============================================================

-- The gate of a target for a model: models that share a limit share it.
local function gate_of(self, target, model)
  local scope = target:scope(model)
  local by_scope = self.gates[target]
  if not by_scope then
    by_scope = {}
    self.gates[target] = by_scope
  end
  local gate = by_scope[scope]
  if not gate then
    -- wanted: who waits for it; pass: when it refused; usual: of that pass
    gate = { target = target, scope = scope, wanted = 0, pass = 0, usual_pass = 0 }
    forecast.watch(self.future, gate)
    by_scope[scope] = gate
  end
  return gate
end

local function gates_of(self, targets, asked)
  local gates = {}
  for i, target in ipairs(targets) do gates[i] = gate_of(self, target, target:model(asked)) end
  return gates
end

-- Forget what is known of the gates: a pass begins.
local function begin_pass(self)
  self.passes = self.passes + 1
  self.refused, self.look_at = 0, math.huge
end

-- What the gate did in this pass will be looked at.
local function watch(self, gate)
  if gate.watched then return end
  gate.watched = true
  self.watched[#self.watched + 1] = gate
end

-- The pass is over: whoever was let in is counted, and who is full is known.
local function end_pass(self, now)
  local list = self.watched
  for i = #list, 1, -1 do
    local gate = list[i]
    local refuses = gate.pass == self.passes
    local full = refuses and gate.code == "full"
    forecast.note(gate, now, refuses, full)
    if not refuses then
      gate.watched = false
      list[i] = list[#list]
      list[#list] = nil
    end
  end
end

local function note_refusal(self, gate, now, code, message, retry_after)
  gate.pass, gate.code, gate.message, gate.retry_after = self.passes, code, message, retry_after
  gate.ends_at, gate.closed = retry_after and now + retry_after, not curable[code]
  gate.open = code == "open"
  self.refused = self.refused + 1
  self.look_at = math.min(self.look_at, now + (retry_after or math.huge))
  watch(self, gate)
end

-- Asks one gate, unless it has refused in this pass: that holds for all who ask after it.
local function ask(self, gate, waiter, now)
  if gate.pass == self.passes then return nil end
  local target, call, p = gate.target, waiter.call, waiter.priority
  local place, code, message, retry_after = target:admit(target:model(call.model), now, call)
  if not place then return note_refusal(self, gate, now, code, message, retry_after) end
  gate.let_in[p], gate.closed, gate.open = gate.let_in[p] + 1, false, false
  watch(self, gate)
  return place
end

-- }========================================================================

-- {== Refusals ============================================================

-- The refusal that ends first; one that time cannot cure only when there is no other.
local function sooner(a, b)
  if not a then return b end
  if curable[a.code] ~= curable[b.code] then return curable[a.code] and a or b end
  if not a.retry_after or not b.retry_after then return a.retry_after and a or b end
  return a.retry_after <= b.retry_after and a or b
end

-- The gate whose refusal counts for this waiter: one of the last pass, or, where none of its gates
-- was asked in that, the one that counted before; nil when none ever was.
local function refusal_of(self, waiter)
  local best
  for _, gate in ipairs(waiter.gates) do
    if gate.pass == self.passes then best = sooner(best, gate) end
  end
  waiter.refusal = best or waiter.refusal
  return waiter.refusal
end

-- Seconds after which somebody with the same patience would be let in, as it looks.
local function room_after(self, waiter, now)
  local seconds, rate = forecast.wait(self.future, waiter.gates, waiter.priority, now)
  return seconds and math.max(seconds - waiter.patience, 1 / rate)
end

local function refused(self, waiter, code, message)
  local refusal = refusal_of(self, waiter)
  if not refusal then -- the time was up before any gate was asked
    return nil, "no time was left to ask for a place", "timeout", { phase = "queue" }
  end
  local now = waiter.call.loop.now()
  local ends_in = refusal.ends_at and math.max(refusal.ends_at - now, 0)
  local room_in = curable[refusal.code] and room_after(self, waiter, now)
  return nil, ("%s: %s"):format(refusal.target.name, message or refusal.message),
    code or refusal.code, { target = refusal.target.name, phase = "queue",
      retry_after = ends_in and math.max(ends_in, room_in or 0) or room_in or nil }
end

-- }========================================================================

-- {== The line ============================================================

-- How many of this priority wait has changed.
local function count_waiting(self, p)
  if self.meter then self.meter:waiting(turns.names[p], self.line.counts[p]) end
end

local function insert(self, waiter)
  self.line:insert(waiter)
  self.count = self.line.count
  count_waiting(self, waiter.priority)
  forecast.count(self.future, waiter.gates, waiter.priority, 1)
  for _, gate in ipairs(waiter.gates) do
    gate.wanted = gate.wanted + 1
    if gate.wanted == 1 then self.wanted = self.wanted + 1 end
  end
  if self.common then waiter.handle = self.common:enter(waiter.loop, waiter.priority) end
end

-- The first of the line looks at the clock for all of them: let it look again.
local function poke_first(self)
  local first = self.line:first()
  if first and first.event then first.event:set() end
end

-- It has left the line.
local function gone(self, waiter)
  self.count = self.line.count
  count_waiting(self, waiter.priority)
  forecast.count(self.future, waiter.gates, waiter.priority, -1)
  for _, gate in ipairs(waiter.gates) do
    gate.wanted = gate.wanted - 1
    if gate.wanted == 0 then self.wanted = self.wanted - 1 end
  end
  if waiter.handle then self.common:leave(waiter.handle) end
end

local function remove(self, waiter)
  local was_first = self.line:first() == waiter
  if not self.line:remove(waiter) then return end
  gone(self, waiter)
  if was_first then poke_first(self) end
end

-- May it still be let in? One that has just come is always asked for, however short its patience.
local function is_eligible(waiter, now)
  return now < waiter.deadline and (waiter.fresh or now < waiter.limit)
end

-- Seconds until an answer usually begins behind this gate, as it is known in this pass; 0 where it
-- is not.
local function usual(self, gate)
  if gate.usual_pass ~= self.passes then
    local l = gate.scope.limiter
    local stats = l and l:stats()
    gate.usual, gate.usual_pass = stats and stats.round_trip or 0, self.passes
  end
  return gate.usual
end

-- The same of the quickest of its gates.
local function least_usual(self, waiter)
  local least = math.huge
  for _, gate in ipairs(waiter.gates) do least = math.min(least, usual(self, gate)) end
  return least
end

local ENOUGH = 2 -- times what an answer usually takes to begin; few take longer

-- Would the quickest of its targets most likely answer it in time?
local function has_time(self, waiter, now)
  return waiter.deadline - now >= ENOUGH * least_usual(self, waiter)
end

local function try(self, waiter, now)
  for _, gate in ipairs(waiter.gates) do
    local place = ask(self, gate, waiter, now)
    if place then return place end
  end
end

-- One walk along the line, as far as there are gates (`most`) that have not refused. Are there some
-- who were passed over, since they have too little time? They are not, where `late` is set.
local function walk(self, now, most, late)
  local passed_over = false
  self.line:begin()
  while self.refused < most do
    local waiter, place = self.line:next(), nil
    if not waiter then break end
    if is_eligible(waiter, now) then
      if late or has_time(self, waiter, now) then
        place = try(self, waiter, now)
      else
        passed_over = true
      end
    end
    waiter.place = place
    if place then
      local was_first = self.line:first() == waiter
      if waiter.event then waiter.event:set() end -- before those behind it are stirred
      if self.line:serve(waiter) then gone(self, waiter) end
      if was_first then poke_first(self) end
    else
      self.line:skip(waiter)
    end
  end
  return passed_over
end

-- Serves the line once.
local function pass(self, now)
  begin_pass(self)
  local most = self.wanted
  if walk(self, now, most, false) then walk(self, now, most, true) end
  end_pass(self, now)
end

local function pass_while_due(self, now)
  while self.again and self.count > 0 do
    self.again = false
    pass(self, now)
  end
end

--- Lets in whoever can be let in, in order. Called when a place comes back, and when the first of
--- the line finds that its time to look has come. A place that comes back meanwhile is offered in a
--- pass of its own.
function queue:serve(now)
  self.again = true
  if self.serving then return end
  self.serving = true
  local ok, message = pcall(pass_while_due, self, now)
  self.serving = false
  if not ok then error(message, 0) end
  local first = self.line:first()
  if first and self.look_at < (first.sleeps_until or 0) then poke_first(self) end
end

-- The line is to be served soon, and not now.
local function serve_soon(self, now)
  self.look_at = math.min(self.look_at, now + self.common.GRACE)
  poke_first(self)
end

--- A place came back. Where it is the turn of another process's call, that process is told, and
--- ours have it when it has not been taken for a moment.
function queue:offer(now)
  local common = self.common
  if self.count > 0 and common and common:yields() then
    serve_soon(self, now)
  elseif self.count > 0 then
    self:serve(now)
  end
  if common then common:wake() end
end

-- }========================================================================

-- {== Waiting =============================================================

-- Is it this waiter that looks at the clock? The first of each loop does: a loop may stand still.
local function watches(self, waiter)
  return self.line:first(waiter.loop) == waiter
end

-- Until when may this waiter sleep? One that watches looks again when a gate may open by itself.
local function next_look(self, waiter, now)
  if not watches(self, waiter) then return waiter.limit end
  local look_at = self.look_at
  -- What other processes give back may have been told to somebody else.
  if self.common then look_at = math.min(look_at, now + self.common.LOOK) end
  return math.min(waiter.limit, math.max(look_at, now + 0.001))
end

-- Is there no use in waiting? Then the failure.
local function hopeless(self, waiter)
  local refusal = refusal_of(self, waiter)
  if not refusal or not curable[refusal.code] or not self.waits then
    return refused(self, waiter)
  elseif (refusal.ends_at or 0) > waiter.limit then
    return refused(self, waiter)
  end
end

-- Is there room in the line? Where it is full, the last of those that are less urgent leaves.
local function has_room(self, waiter)
  if self.count <= self.size then return true end
  local other = self.line:last_below(waiter.priority)
  if not other then return false end
  remove(self, other)
  other.shed = true
  if other.event then other.event:set() end
  return true
end

-- For how long a place is of use to this waiter: as long as it leaves time for an answer; where it
-- never had enough, for half of its time.
local function patience_of(self, waiter, now)
  local left = waiter.deadline - now
  return math.min(waiter.limit - now, math.max(left - ENOUGH * least_usual(self, waiter), left / 2))
end

-- Of those of a priority, the share that will be let in while it is of use to them, where all of
-- them would take so many seconds.
local function share_in_time(self, priority, seconds, now)
  local list, all, count = self.line[priority], self.line.counts[priority], 0
  local each = seconds / all
  for i = 1, all do
    if now + count * each <= list[i].useful_until then count = count + 1 end
  end
  return count / all
end

-- Would it wait in vain, as it looks? Then the failure. One that comes back to its turn is not at
-- the end of the line, of which alone is known how long it takes.
local function foretold(self, waiter, now)
  waiter.patience = patience_of(self, waiter, now)
  waiter.useful_until = now + waiter.patience
  if not self.foresees or not self.line:is_last(waiter) then return nil end
  local seconds, _, hope = forecast.wait(self.future, waiter.gates, waiter.priority, now)
  if not seconds or hope <= waiter.patience then return nil end
  -- Those before it whose own time will be up are not in its way.
  if hope * share_in_time(self, waiter.priority, hope, now) <= waiter.patience then return nil end
  return refused(self, waiter, "full", ("a place would take %.3g s to come free"):format(seconds))
end

-- It was turned away; but one with some patience only for these gates is to ask others now.
local function count_shed(self, waiter)
  if not waiter.call.patience then self.shed = self.shed + 1 end
end

-- Is it not to stand there at all? Then the failure.
local function turned_away(self, waiter, now)
  local _, message, code, detail = hopeless(self, waiter)
  if code then return nil, message, code, detail end
  _, message, code, detail = foretold(self, waiter, now)
  if not code and not has_room(self, waiter) then
    _, message, code, detail =
      refused(self, waiter, "full", ("the waiting line is full (%d)"):format(self.size))
  end
  if code then count_shed(self, waiter) end
  return nil, message, code, detail
end

local function too_late(self, call, waiter, now)
  if now < call.deadline then return refused(self, waiter) end
  return refused(self, waiter, "timeout", "no place came free in time")
end

local function tell(self, call, waiter)
  local refusal = refusal_of(self, waiter)
  call:emit("queued", { target = refusal.target.name, code = refusal.code,
    retry_after = refusal.retry_after, waiting = self.count })
end

-- Sleeps until something may have changed for this waiter.
local function sleep(self, call, waiter, now)
  waiter.event:clear()
  waiter.sleeps_until = next_look(self, waiter, now)
  call.loop.wait({ waiter.event }, waiter.sleeps_until)
  now = call.loop.now()
  local due = now >= (self.common and waiter.sleeps_until or self.look_at)
  if not waiter.place and due and watches(self, waiter) then self:serve(now) end
end

-- It has slept: is that the end of it? Then the failure.
local function ended(self, call, waiter)
  if call.stopped then
    if waiter.place then waiter.place:close() end
    return call:refusal()
  elseif waiter.place then
    return nil
  elseif waiter.shed then
    count_shed(self, waiter)
    return refused(self, waiter, "full", "others took its place in the full line")
  end
  if call.loop.now() < waiter.limit then return hopeless(self, waiter) end
end

local function wait_for_place(self, call, waiter)
  local _, message, code, detail = turned_away(self, waiter, call.loop.now())
  if code then return nil, message, code, detail end
  waiter.event = call.loop.event()
  tell(self, call, waiter)
  while not waiter.place do
    local now = call.loop.now()
    if call.stopped then return call:refusal() end
    if now >= waiter.limit then return too_late(self, call, waiter, now) end
    sleep(self, call, waiter, now)
    _, message, code, detail = ended(self, call, waiter)
    if code then return nil, message, code, detail end
  end
  return waiter.place
end

-- The waiter leaves, however that comes about; a place it was just handed goes back.
local function leave(self, waiter)
  return {
    abort = function()
      if waiter.event then waiter.event:set() end
    end,
    close = function()
      remove(self, waiter)
      if waiter.place then waiter.place:close() end
    end,
  }
end

local function new_waiter(self, call, gates, now)
  local limit = math.min(call.deadline, now + (call.patience or self.max_wait))
  return { priority = turns.number[call.options.priority or "normal"], order = call.order,
    gates = gates, call = call, loop = call.loop, deadline = call.deadline, fresh = true,
    limit = limit, patience = limit - now, useful_until = limit }
end

-- Where nobody waits, nobody is overtaken: a place at once; or nil, and the gates that refused.
local function walk_in(self, call, targets, now)
  local gates
  for i = 1, #targets do
    local target = targets[i]
    local model = target:model(call.model)
    local place, code, message, retry_after = target:admit(model, now, call)
    if place then return place end
    if not gates then
      begin_pass(self)
      gates = {}
    end
    gates[i] = gate_of(self, target, model)
    note_refusal(self, gates[i], now, code, message, retry_after)
  end
  end_pass(self, now)
  return nil, gates
end

-- Stands in line until it has a place, or there is no use in waiting. `asked`: its gates, if they
-- have refused just now.
local function line_up(self, call, targets, now, asked)
  local waiter = new_waiter(self, call, asked or gates_of(self, targets, call.model), now)
  local guard = leave(self, waiter)
  call:hold(guard) -- before it stands there: whatever raises from now on, it leaves
  insert(self, waiter)
  if not asked then self:serve(now) end
  waiter.fresh = false
  local place, message, code, detail = waiter.place, nil, nil, nil
  if not place then
    place, message, code, detail = wait_for_place(self, call, waiter)
    local seconds = call.loop.now() - now
    call.queued, call.in_line = (call.queued or 0) + seconds, seconds
    if code and self.meter and not (call.stopped or call.patience) then
      self.meter:turned_away(code)
    end
  end
  call:release(guard)
  if not place then remove(self, waiter) end
  return place, message, code, detail
end

-- }========================================================================

--- Gives a place at one of `targets`, waiting for it if need be.
---@param call table
---@param targets table[] in the order in which they are wanted
---@return table? place, string? message, string? code, table? detail
function queue:enter(call, targets)
  local now = call.loop.now()
  local may_walk_in = self.count == 0 and not self.serving and now < call.deadline
  local place, asked
  call.in_line = 0
  if may_walk_in then place, asked = walk_in(self, call, targets, now) end
  if place then return place end
  return line_up(self, call, targets, now, asked)
end

--- What an operator wants to know: who waits, and how many were turned away.
function queue:status()
  local counts, by_name = self.line.counts, {}
  for p, name in ipairs(turns.names) do by_name[name] = counts[p] end
  return { waiting = by_name, shed = self.shed }
end

--- Gives a place that is free now, where nobody waits for one.
---@param call table
---@param targets table[] in the order in which they are wanted
---@return table? place, string? message, string? code, table? detail
function queue:enter_now(call, targets)
  local now = call.loop.now()
  local may = self.count == 0 and not self.serving and now < call.deadline
  local place = may and walk_in(self, call, targets, now)
  if place then return place end
  return nil, "no place is free at once", "full", {}
end

return queue
