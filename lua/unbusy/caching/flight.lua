--- One call that is made for several who ask the same at the same time.
--
--     members ──► flight ──► a call of its own ──► the rest of the way ──► a reply, or a failure
--        ▲                        │                                             │
--        └────────────────────────┴─ each its own ──────────────────────────────┘
--
-- The call belongs to the loop, not to a member: it goes on while one of them is there, and is
-- cancelled when the last one has left. The oldest member that is still there has its reply, with
-- what it cost; the others have one of their own, that says "coalesced" and costs nothing.
--
-- What has failed has failed for all of them, but for what was the flight's own: where its time was
-- up and theirs is not, or its host has ended it, they begin anew, and so one of them asks for all.
local cache = require "unbusy.cache"
local calls = require "unbusy.call"
local claims = require "unbusy.caching.claims"
local json = require "unbusy.json"
local keeping = require "unbusy.caching.keeping"
local plain = require "unbusy.policy.plain"
local reply = require "unbusy.reply"
local scheduler = require "unbusy.loops.scheduler"
local stored = require "unbusy.caching.stored"
local stream = require "unbusy.stream"
local tape = require "unbusy.caching.tape"
local turns = require "unbusy.turns"

local flight = {}
flight.__index = flight

local GRACE = 0.1 -- seconds in which a call whose time is up tells its members

local function copy(list)
  local out = {}
  for k, v in next, list do out[k] = v end
  return out
end

-- {== Members =============================================================

local member = {}
member.__index = member

--- What has become of it; the first outcome counts.
function member:settle(outcome)
  if self.outcome or self.gone then return end
  self.outcome = outcome
  self.event:set()
end

--- Its call is stopped: it leaves at once, and looks at why when it runs.
function member:abort()
  self:close()
  self.event:set()
end

--- It leaves, however that comes about. Twice is once.
function member:close()
  if self.gone then return end
  self.gone = true
  self.flight:left(self)
  if self.at then self.event:set() end
end

-- The pieces of a stream, as `unbusy.source`.

--- The next piece, unless the call's time is up; the token clock is the flight's.
function member:read()
  return self.flight.tape:next_for(self)
end

--- Is there a piece already?
function member:is_ready()
  return self.flight.tape[self.at] ~= nil
end

--- The answer that the pieces make.
function member:answer()
  return self.flight.tape:answer_for(self)
end

--- From now on it is read in this loop.
function member:move(loop)
  self.event = loop.event()
end

-- Until when it waits: the last to go hear it of the call, which knows more.
local function limit_of(self)
  local deadline = self.call.deadline
  local c = self.flight.call
  return not self.flight.done and c.deadline and c.deadline <= deadline and deadline + GRACE
    or deadline
end

--- Waits for its outcome; nil where its call was stopped, or its time is up.
function member:await()
  local call, event = self.call, self.event
  local loop = call.loop
  while not self.outcome do
    local limit = limit_of(self)
    if call.stopped or loop.now() >= limit then return nil end
    local t = self.flight.tape
    if t and not call.streaming then
      t:step(self, limit)
    else
      event:clear()
      loop.wait({ event }, limit)
    end
  end
  return self.outcome
end

--- It leaves without an outcome. The last one sees the call end, which is at once: where the loop
--- runs for this one alone, nothing else would.
function member:leave()
  local f, loop = self.flight, self.call.loop
  f:show_tries(self)
  self:close()
  if f.count == 0 and not f.done and not f.background then
    loop.wait({ f.ended }, loop.now() + GRACE)
  end
end

-- }========================================================================

-- {== Who may join ========================================================

-- Options that change what is asked, or how, beside those that are in the key.
local apart = { "upstream_stream", "resume", "escalate", "hedge", "batch" }

local CLOCKS = { "connect", "headers", "start", "token", "try" }

local function same_clocks(a, b)
  a, b = a or {}, b or {}
  for i = 1, #CLOCKS do
    if a[CLOCKS[i]] ~= b[CLOCKS[i]] then return false end
  end
  return true
end

local function number_of(priority)
  return turns.number[priority or "normal"]
end

-- Would the pieces be the same?
local function same_pieces(a, b)
  a, b = a.stream_options, b.stream_options
  return a == b or a ~= nil and b ~= nil and cache.key(a) == cache.key(b)
end

-- A stream is wanted piece by piece, from the first one on; a whole answer may come as a stream,
-- but for one without the usage that it would have.
local function takes_form(self, call)
  if not call.streaming then return not stored.is_bare(self.call) end
  if not self.call.streaming or self.tape and not self.tape.open then return false end
  return same_pieces(self.call.request, call.request)
end

-- Is a target at it just now? Between two tries it stands in line, or sleeps, as urgent as it is.
local function has_place(self)
  return (self.tape or self.call.place) ~= false
end

-- Will it be told what the call wants to know? Who wants a new answer waits for none that was asked
-- for before it came, nor for one that may come out of a cache.
local function is_new_enough(self, call)
  return call.options.cache ~= "refresh"
    or self.options.cache == "refresh" and not has_place(self) and not self.call.race
end

--- A new answer is kept, which was asked for later: what was asked for here is not to take its
--- place. (What is still in line is asked for later than that.)
function flight:overtake()
  if has_place(self) then self.call.overtaken = true end
end

--- Would this call ask the same in the same way, and be served no later?
---@param call table
---@param key userdata its question's
---@return boolean
function flight:takes(call, key)
  if self.policy ~= call.policy or self.key ~= key or not takes_form(self, call)
    or not is_new_enough(self, call) then
    return false
  end
  local mine, theirs = self.options, call.options
  if mine ~= theirs then
    for i = 1, #apart do
      if mine[apart[i]] ~= theirs[apart[i]] then return false end
    end
    if not same_clocks(mine.given_clocks, theirs.given_clocks) then return false end
  end
  return has_place(self) or number_of(mine.priority) <= number_of(theirs.priority)
end

--- One more.
---@param call table
---@return table member
function flight:add(call)
  local m = setmetatable({ call = call, flight = self, event = call.loop.event(), gone = false,
    outcome = false, first = self.count == 0 and not self.begun }, member)
  call:hold(m) -- before it is a member: whatever raises from now on, it leaves
  self.members[m] = true
  self.count = self.count + 1
  self.deadline = math.max(self.deadline, call.deadline)
  local c, t = self.call, self.tape
  if c.deadline then c:extend(self.deadline) end
  if t then self:show_tries(m) end
  if t and call.streaming then m:settle { reply = t:give(m, false), stays = true } end
  return m
end

-- The list in which others find it.
local function unlist(self)
  local list = self.list
  if not list then return end
  self.list = false
  for i = #list, 1, -1 do
    if list[i] == self then table.remove(list, i) end
  end
  if not list[1] then list.place[list.id] = nil end
end

--- A member has left. When none is there any more, nobody needs the answer.
function flight:left(m)
  if not self.members[m] then return end
  self.members[m] = nil
  self.count = self.count - 1
  local c, t = self.call, self.tape
  if t then t:left_by(m) end
  if self.done then return end
  if self.count == 0 and not self.background then
    unlist(self)
    if t then t:close() else c:abort "cancelled" end
  elseif c.request == m.call.request then
    c.request = flight.copied(c.request) -- whose it was may do with it what it likes
  end
end

-- Those who still wait, the oldest first.
local function present(self)
  local out = {}
  for m in pairs(self.members) do
    if not m.gone and not m.outcome then out[#out + 1] = m end
  end
  table.sort(out, function(a, b) return a.call.order < b.call.order end)
  return out
end

--- What its members' calls know of the tries that are made for them.
function flight:show_tries(m)
  local c = self.call
  m.call.tries, m.call.past = copy(c.tries), c.past
end

local function settle(self, m, outcome)
  self:show_tries(m)
  m:settle(outcome)
end

--- The name of the target that is being asked, or nil.
function flight:target()
  local tries = self.call.tries
  return tries[1] and tries[#tries].target
end

-- }========================================================================

-- {== Asking ==============================================================

-- The options of the call that is made for all; what ends one of them is not in it. Where nobody
-- waits for it, nobody's clocks are.
local function options_of(call, priority)
  local o = call.options
  if not o.cancel and not priority then return o end
  o = copy(o)
  o.cancel = nil
  if priority then
    o.priority, o.deadline, o.clocks, o.given_clocks = priority, nil, nil, nil
  end
  return o
end

--- A request of its own, for a call that goes on whatever its owner does with it.
---@param request table
---@return table
function flight.copied(request)
  return plain.lenient(request) or request
end

-- What is asked for all is what was asked when its key was made: the caller's own bytes, or a copy.
local function request_of(call)
  return call.options.raw and call.request or flight.copied(call.request)
end

-- The call that is made in place of this one. Its order is that one's, so that its events are, and
-- its turn in the line.
local function new_call(call, options)
  local c = calls.new(call.client, call.kind, request_of(call), options,
    call.streaming and { streaming = true } or nil)
  c.policy, c.order, c.merged = call.policy, call.order, true
  c.past, c.moved, c.moving = call.past, call.moved, call.moving
  c.extra, c.trace = call.extra, call.trace
  keeping.adopt(c, call)
  if call.failed then
    c.failed, c.tries, call.failed = call.failed, copy(call.tries), false
  elseif call.given then
    c.given, c.tries, call.given = call.given, copy(call.tries), false
  end
  return c
end

-- The call's clock: since when its first member waits, and as long as its last one does.
local function set_clock(self, c)
  if self.background then
    self.deadline = math.max(self.deadline, c.deadline)
  else
    c.started = self.since
  end
  c.deadline, self.limit = self.deadline, self.deadline
end

-- The call's way: by way of other processes, where there are some.
local function go(self, c)
  local others = self.flights.claims
  if others and not c.claim then return others:ask(c, self.key, self.way) end
  return self.way(c)
end

local function refuse(_, c)
  return c:refusal()
end

-- Before anybody is told, and for all: the answer is kept, and other processes hear of it.
local function note(self, c, answer, code)
  if answer and not answer.pieces then
    keeping.watch(c, answer)
    answer.kept = true
  end
  self.claim = c.claim
  claims.conclude(c, answer, code)
end

-- Makes the call, as a client makes one.
local function perform(self, c)
  local client, loop = c.client, self.loop
  client.calls[c] = true
  c:hold(self)
  local good = c:begin(loop) and not c.stopped
  set_clock(self, c)
  local mark = loop.own and loop.own(c)
  local ok, answer, message, code, detail = pcall(good and go or refuse, self, c)
  if loop.own then loop.disown(mark) end
  c:release(self)
  if ok then note(self, c, answer, code) end
  if ok and answer and answer.pieces then return answer end
  c:finish()
  if not ok then error(answer, 0) end
  return answer, message, code, detail
end

-- }========================================================================

-- {== What comes of it ====================================================

-- It has an end, good or bad; the first one counts.
local function end_it(self, good)
  if self.done then return end
  self.done = true
  unlist(self)
  if self.on_end then self.on_end(good) end
end

local function answered(self, whole)
  end_it(self, true)
  local list = present(self)
  local bytes = list[2] and (whole.raw or json.encode(whole.body))
  for i = #list, 1, -1 do -- the first one's is the reply itself: the others' are made before
    local m = list[i]
    settle(self, m, { reply = i == 1 and whole or reply.of_flight(m.call, whole, bytes) })
  end
end

-- What a member has of a whole answer that came as a stream, and shows what that cost where it
-- `pays`. With a weak one, which was only known at its end, it begins anew: others may be asked.
local function outcome_of(m, whole, bytes, pays)
  if pays and not whole.weak_late then return { reply = whole } end
  local own = reply.of_flight(m.call, whole, bytes)
  if not whole.weak_late then return { reply = own } end
  if pays then own.source, own.cost = whole.source, whole.cost end
  return { again = true, given = own }
end

-- A whole answer has come as a stream: whoever wants it whole has it. Where nobody who reads it
-- shows what it cost, the oldest of these does.
local function ended_well(self, whole)
  end_it(self, true)
  local list, paid, out = present(self), self.paid and not self.paid.gone, {}
  local bytes = list[1] and (whole.raw or json.encode(whole.body))
  for i = #list, 1, -1 do out[i] = outcome_of(list[i], whole, bytes, i == 1 and not paid) end
  for i, m in ipairs(list) do settle(self, m, out[i]) end -- the oldest leads, where they go on
end

-- It has broken off. Who was to have it whole has had nothing of it, and asks again as after any
-- try that has failed.
local function ended_badly(self, c, failure)
  end_it(self, false)
  local detail, now = failure.detail, self.loop.now()
  local told = stream.failure_of(self.tape.answer, failure.message, failure.code, detail)
  for _, m in ipairs(present(self)) do
    local again = not c.stopped and m.call.deadline > now
    local own = { message = told.text, code = told.cut, detail = copy(detail) }
    self.flights:count("again", again and 1 or 0)
    if again then
      settle(self, m, { again = true, failed = detail.phase ~= "total" and own })
    else
      settle(self, m, { failure = own })
    end
  end
end

-- A reader that is the flight's own, and wants the whole.
local function read_on(self)
  local c = self.call
  local m = { call = c, event = c.loop.event() }
  while not self.tape.over do self.tape:step(m, c.deadline) end
end

-- Other processes wait for the end: it is not to depend on how its readers here read.
local function read_ahead(self)
  local loop = self.call.loop
  pcall(loop.nursery or loop.spawn, function() read_on(self) end)
end

-- The stream has begun: it belongs to its readers from now on, and to no task.
local function streams(self, c, answer)
  if c.owner then
    c.owner[c] = nil
    c.owner = nil
  end
  self.tape = tape.new(c, answer, function(good, failure)
    if good then return ended_well(self, answer) end
    return ended_badly(self, c, failure)
  end)
  answer.kept = true
  if self.count == 0 and not self.background then return self.tape:close() end
  for i, m in ipairs(present(self)) do
    if m.call.streaming then
      if i == 1 then self.paid = m end
      settle(self, m, { reply = self.tape:give(m, i == 1), stays = true })
    else
      m.event:set()
    end
  end
  if self.background then return read_on(self) end
  if self.claim then self.claim:on_followed(function() read_ahead(self) end) end
end

--- Its host has ended it without a word: its members go on without it.
function flight:close()
  if self.done then return end
  end_it(self, false)
  for _, m in ipairs(present(self)) do m:settle { again = true } end
end

local LONGER = 1 -- seconds that a deadline must be later for it to be worth standing in line again

-- Was it only the flight's own time that was up, and not this member's?
local function has_more_time(self, m, c, code, detail, now)
  local deadline = m.call.deadline
  if code == "timeout" and detail.phase == "total" then return deadline > now end
  return detail.phase == "queue" and deadline > self.limit + LONGER
    and now < c.started + c.client.queue.max_wait
end

local function failed(self, c, message, code, detail)
  end_it(self, false)
  local now = self.loop.now()
  for _, m in ipairs(present(self)) do
    if has_more_time(self, m, c, code, detail, now) then
      self.flights:count("again", 1)
      m:settle { again = true }
    else
      settle(self, m, { failure = { message = message, code = code, detail = copy(detail) } })
    end
  end
end

local function ask(self, payer)
  local c = self.call
  self.begun = true
  if payer then payer:pay_for(c) end
  local answer, message, code, detail = perform(self, c)
  if answer and answer.pieces then return streams(self, c, answer) end
  if answer then return answered(self, answer) end
  return failed(self, c, message, code, detail or {})
end

local function run(self, payer)
  local ok, raised = pcall(ask, self, payer)
  self.ended:set()
  if ok then return end
  if raised == scheduler.cancelled then
    self:close()
    error(raised, 0)
  end
  end_it(self, false)
  for _, m in ipairs(present(self)) do settle(self, m, { raised = raised }) end
end

-- }========================================================================

--- A flight that is about to begin.
---@param flights table see `unbusy.caching.flights`
---@param call table whose question it asks
---@param key userdata
---@param way function the rest of the call's way
---@param priority string? it goes on without members, with this priority and a time of its own
function flight.new(flights, call, key, way, priority)
  local options = options_of(call, priority)
  return setmetatable({ flights = flights, key = key, way = way, loop = call.loop,
    policy = call.policy, options = options, call = new_call(call, options), members = {},
    count = 0, since = call.started, deadline = priority and 0 or call.deadline,
    tape = false, claim = false, paid = false, limit = call.deadline, background = priority ~= nil,
    on_end = false, begun = false, done = false, list = false, ended = call.loop.event() }, flight)
end

--- Begins it, beside whoever calls; false where the host has no room for it.
---@param payer table? the call whose permit pays for it, if it has one
---@return boolean
function flight:begin(payer)
  local loop = self.loop
  local ok, begun = pcall(loop.nursery or loop.nurse or loop.spawn, function() run(self, payer) end)
  if ok and begun then return true end
  end_it(self, false)
  self.call:finish()
  return false
end

return flight
