--- One call of a client, from the request to its end.
--
-- A call carries the request, its deadline, the loop it runs in, its tries, and what it holds: a
-- place at a target, an exchange, that the budget counts it, and (see `hold`) whatever else it
-- waits in or for. Whatever way it ends, `call:finish` gives all of that back.
local headers = require "unbusy.headers"
local plain = require "unbusy.policy.plain"
local trace = require "unbusy.trace"

local setmetatable, type = setmetatable, type

-- Of most calls: not in each of them.
local call = { streaming = false, stopped = false, extra = false, path = false, failed = false,
  reads = false, merged = false, policy = false, permit = false, past = 0, again = false,
  stale_later = false, key = false, keeps = false, own_key = false, moving = false, spills = false,
  patience = false, race = false, lane_of = false, lost = false, at_once = false, switch = false,
  claim = false, told = false, escalated = false, holds = false, so_far = false,
  foreseen = false, ahead = false, ended = false, overtaken = false, pool = false,
  given = false }
call.__index = call

local order = 0 -- of arrival, over all clients

--- A call that is about to begin.
---@param client table
---@param kind "chat"|"complete"|"embed"|"responses"|"post"|"pass"
---@param request any the body
---@param given table checked options of the call
---@param how table? { streaming =, path =, method = }
function call.new(client, kind, request, given, how)
  order = order + 1
  local self = setmetatable({ -- room for sixteen fields: a good call has no more before its end
    client = client, kind = kind, request = request, options = given, order = order,
    model = type(request) == "table" and request.model or nil, tries = { nil },
    place = false, exchange = false, counted = false,
  }, call)
  if how then
    if how.streaming then self.streaming = true end
    if how.path then self.path, self.method = how.path, how.method end
  end
  if client.policy then self.policy = client.policy end -- see `unbusy.policy.stack`
  return self
end

--- What its options add to each request, where they add something.
---@return string? message what is wrong with them
function call:add_headers()
  local given = self.options
  local list, wrong = headers.of_request(given.headers or {})
  if not list then return wrong end
  self.trace = trace.of(given.trace, list.traceparent, list.tracestate)
  if self.trace or list[1] then self.extra = list end
end

--- The call begins: its clock runs from here.
---@return boolean good false: it was stopped before
function call:begin(loop)
  local now, given, client = loop.now(), self.options, self.client
  local seconds, total = given.deadline, (given.clocks or client.clocks).total
  self.loop, self.started = loop, now
  self.deadline = now + (seconds and seconds < total and seconds or total)
  if loop.adopt then self.owner = loop.adopt(self) end
  if self.policy then self.policy:begin(loop, now) end
  local cancel = given.cancel
  if cancel then
    cancel:add(self)
    if cancel.cancelled then self.stopped = "cancelled" end
  end
  if not client.closed then return not (cancel and self.stopped) end
  self.stopped = "closed"
  return false
end

local reasons = { closed = "the client is closed", cancelled = "the call was cancelled",
  timeout = "its time was up before anybody asked for the rest" }

--- Why the call, or its lane, is to end, where it was stopped or called off: the words, and the
--- code.
---@return string? message, string? code
function call:reason()
  if self.stopped then return reasons[self.stopped], self.stopped end
  if self.lost then return "another try was quicker", "cancelled" end
end

--- The failure of a call that was stopped.
---@return nil, string message, string code, table detail
function call:refusal()
  return nil, reasons[self.stopped], self.stopped, {}
end

--- The seconds of one of this call's clocks.
---@param name "connect"|"headers"|"start"|"token"|"total"|"try"
function call:clock(name)
  return (self.options.clocks or self.client.clocks)[name]
end

--- Tells the client's watcher; never the prompt, the answer or a key. Where calls pass that go
--- well, ask for `client.on_event` before a table is made.
function call:emit(kind, fields)
  local watch = self.client.on_event
  if not watch then return end
  fields.type, fields.call, fields.at = kind, self.order, self.loop and self.loop.now()
  if not pcall(watch, fields) then self.client.event_faults = self.client.event_faults + 1 end
end

--- Something that must be closed when the call ends early. Its functions use no local variable of a
--- function that is still running: where a host ends coroutines, nothing is left of these.
function call:hold(thing)
  self.held = self.held or {}
  table.insert(self.held, thing)
end

--- The permit that was taken for it, if any, goes back.
---@param good boolean was it worth its cost, or not used at all?
function call:give_permit(good)
  local permit = self.permit
  if not permit then return end
  self.permit = false
  self:release(permit)
  permit.give(good)
end

--- Another call is made in its place: the permit, if any, is that one's.
---@param other table
function call:pay_for(other)
  local permit = self.permit
  if not permit then return end
  self.permit, other.permit = false, permit
  self:release(permit)
  other:hold(permit)
  permit.move(other)
end

--- It is in other hands now.
function call:release(thing)
  local held = self.held or {}
  for i = #held, 1, -1 do
    if held[i] == thing then
      table.remove(held, i)
      return
    end
  end
end

--- The targets that this call may be sent to: `pool` has those of an answer that has begun, where
--- another pool was asked than that of its options.
---@return table[]
function call:targets()
  local pools, pool = self.client.pools, self.pool or self.options.pool
  return pool and pools.by_name[pool] or pools.ordinary
end

--- The request for a script: a copy, which it may change as it likes.
---@return any
function call:shown_request()
  return plain.lenient(self.request) or {}
end

--- The target of that name is not asked again by this call.
function call:rule_out(name)
  self.ruled_out = self.ruled_out or {}
  self.ruled_out[name] = true
end

--- May this call still ask the target of that name?
function call:may_ask(name)
  return not (self.ruled_out and self.ruled_out[name])
end

--- Did the caller set this clock shorter than the client's own?
---@param clock "total"|"headers"|"start"|"token"|"try"
function call:shortened(clock)
  if clock == "total" then return self.deadline - self.started < self.client.clocks.total end
  local given = self.options.given_clocks
  local own = self.client.clocks[clock]
  return given ~= nil and given[clock] ~= nil and (own == nil or given[clock] < own)
end

local function waker(event)
  return { close = function() end, abort = function() event:set() end }
end

--- Sleeps, unless the call is stopped meanwhile.
function call:sleep(seconds)
  if self.stopped then return end
  local nap = self.loop.event()
  local guard = waker(nap)
  self:hold(guard)
  self.loop.wait({ nap }, self.loop.now() + seconds)
  self:release(guard)
end

--- Is there time to wait `seconds` and still try?
function call:can_wait(seconds)
  return self.loop.now() + seconds < self.deadline
end

--- Somebody with more time waits for it, too: it may last until then, and so may what is done for
--- it.
---@param deadline number
function call:extend(deadline)
  self.deadline = deadline
  for _, thing in ipairs(self.held or {}) do
    if thing.extend then thing:extend(deadline) end
  end
end

-- {== Asking again ========================================================

-- What was tried before is counted, and forgotten otherwise.
local function begin_anew(self)
  self.past, self.tries, self.told = self.past + #self.tries, { nil }, false
  self.ruled_out, self.pause, self.sent, self.foreseen = nil, nil, nil, nil
  if self.failed then self.failed = false end
  if self.given then self.given = false end
  if self.so_far then self.so_far = false end
end

--- From here on the call asks something else or somewhere else, with tries of its own; its clock
--- runs on.
---@param request table
---@param given table its options
---@return table before for `go_back`
function call:ask_again(request, given)
  local before = { request = self.request, model = self.model, options = self.options }
  begin_anew(self)
  self.request, self.model, self.options, self.again = request, request.model, given, true
  return before
end

--- It is about what it was about before.
---@param before table
function call:go_back(before)
  begin_anew(self)
  self.request, self.model, self.options = before.request, before.model, before.options
  self.again = false
end

--- How often it has been sent, whatever it asked for.
---@return integer
function call:tries_made()
  return self.past + #self.tries
end

-- }========================================================================

--- The try that has failed last, of two beside each other the one whose failure is told.
---@return table try
function call:last_try()
  return self.told or self.tries[#self.tries]
end

-- What a lane has for itself.
local own = { place = true, exchange = true, held = true, owner = true,
  counted = true, permit = true, race = true, moving = true, switch = true, lost = true,
  lane_of = true, at_once = true }

--- A lane beside the call, for a second try at the same time. It shares the tries, the deadline and
--- all that the call is about; place, exchange and what it holds are its own. It waits in no line.
--- Whoever makes it ends it (`finish`).
---@param lane_of table see `unbusy.race`
---@param ruled_out table<string, true> names of targets that it may not ask
---@return table lane
function call:fork(lane_of, ruled_out)
  local lane = { lane_of = lane_of, race = lane_of, at_once = true }
  for name, value in pairs(self) do
    if not own[name] then lane[name] = value end
  end
  lane.ruled_out = ruled_out
  return setmetatable(lane, call)
end

--- A try begins at the place that was given.
---@return table try
function call:begin_try(place)
  local tries = self.tries
  local n = #tries + 1
  local try = {
    number = self.past + n, target = place.target.name, model = place.model,
    began = self.loop.now(), status = nil, -- five: room for eight
  }
  tries[n] = try
  if self.told then self.told = false end
  if self.lane_of then self.lane_of:begun() end -- before it is seen who stopped the call
  if self.client.on_event then
    local t = self.trace
    self:emit("try", { target = try.target, number = try.number, model = try.model,
      trace = t and t.id, span = t and t.spans[try.number] })
    try.stopped = self.stopped -- by who was told of it
  end
  return try
end

--- Completes a failure's detail with what the call knows.
function call:detail(detail)
  detail = detail or {}
  detail.tries = self:tries_made()
  if self.trace then detail.trace = trace.shown(self.trace) end
  return detail
end

--- The client is closed, or the call is cancelled: what it waits for fails, and so it ends soon.
---@param why "closed"|"cancelled"|"timeout"
function call:abort(why)
  self.stopped = self.stopped or why
  if self.exchange then self.exchange:abort() end
  local held = self.held or {}
  for i = #held, 1, -1 do
    local thing = held[i] -- none, where the call has ended by what was aborted before
    if thing and thing.abort then thing:abort() end
  end
end

local LATE = 5 -- seconds behind its deadline; whoever waits has noticed by then

--- A stream that nobody reads: it ends at its deadline all the same.
---@param now number
function call:expire(now)
  if now >= self.deadline + LATE then self:abort "timeout" end
end

--- Its caller is gone, and will never be resumed.
function call:leave()
  self:abort "cancelled"
  self:finish()
end

--- Aborts all calls of a set. Whatever one raises, the others are ended too; then it is raised.
---@param calls table<table, true>
---@param why "closed"|"cancelled"
function call.abort_all(calls, why)
  local fault
  for c in pairs(calls) do
    local ok, message = pcall(c.abort, c, why)
    if not ok then fault = fault or { message } end
  end
  if fault then error(fault[1], 0) end
end

local function close_held(held)
  for i = #held, 1, -1 do
    local thing = held[i]
    held[i] = nil
    thing:close()
  end
end

--- The end, once: what is still held is given back, latest first.
function call:finish()
  if self.ended then return end
  self.ended = true
  local client, cancel = self.client, self.options.cancel
  if self.held then close_held(self.held) end
  if self.exchange then self.exchange:close() end
  if self.place then self.place:close() end
  if self.counted then client.budget:finish "fail" end
  if cancel then cancel:remove(self) end
  if self.owner then self.owner[self] = nil end
  if client.meter then client.meter:call_left(self) end
  client.calls[self] = nil
end

call.close = call.finish -- as whatever ends a call knows it

return call
