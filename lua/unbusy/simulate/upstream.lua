--- A simulated server: places, a line before them, and what the trace says of it at each time.
--
--     request ──► a place is free? ──► in service ──► its answer, or a fault
--                   │ no: room in the line? ──► waits, in silence or with keep-alives
--                   └ no: refused
--
-- Those who wait are let in first come, first served, when a place comes free. Who goes away gives
-- back the place at once.
local chance = require "unbusy.simulate.chance"
local cost = require "unbusy.cost"
local plays = require "unbusy.simulate.plays"

local upstream = {}
upstream.__index = upstream

local PIECE = 10 -- seconds at most between the pieces of a streamed answer

-- {== Exchanges ===========================================================

local exchange = {}
exchange.__index = exchange

-- The next `count` of its news are there.
local function show(x, count)
  x.ready = count
  x.event:set()
end

local function show_all(x)
  show(x, #x.play)
end

--- The next news, as `e:take` of the core gives them.
function exchange:take()
  if self.closed then return "end", "closed", "the transfer is over", { phase = "connect" } end
  local i = self.taken + 1
  if i > self.ready then return nil end
  self.taken = i
  local item = self.play[i]
  if item[1] == "end" then self.closed = true end
  return item[1], item[2], item[3], item[4], false
end

function exchange:close()
  if self.closed then return end
  self.closed = true
  self.upstream:leave(self)
end

function exchange:abort()
  self:close()
  self.event:set()
end

-- One that has begun to answer while it stood in line goes on behind that: its head is out.
local function extend(x, items)
  for i = items[1][1] == "head" and 2 or 1, #items do x.play[#x.play + 1] = items[i] end
end

-- }========================================================================

-- {== What comes of a request =============================================

local function release(x)
  local self = x.upstream
  x.place = nil
  self.in_service = self.in_service - 1
  self:let_in()
end

-- The whole answer is there, or a fault.
local function act_whole(x)
  release(x)
  show_all(x)
end

-- One more piece of a streamed answer, the last one behind `x.writes_until`.
local function act_piece(x, now)
  local pieces = x.upstream.answers.stream
  if now < x.writes_until then
    x.play[#x.play + 1] = pieces.more
    x.upstream.world:at(math.min(now + PIECE, x.writes_until), x)
  elseif x.cut then
    x.play[#x.play + 1] = plays.cut
    release(x)
  else
    x.play[#x.play + 1] = x.weak and pieces.weak or pieces.last
    x.play[#x.play + 1] = pieces.over
    release(x)
  end
  show_all(x)
end

local function act_first_piece(x, now)
  local self = x.upstream
  local pieces = self.answers.stream
  if not x.play then x.play = { pieces.head } end
  x.play[#x.play + 1] = plays.again(x.body) or pieces.first
  x.writes_until, x.act = now + self.phase.writing() * (x.cut or 1), act_piece
  self.world:at(math.min(now + PIECE, x.writes_until), x)
  show_all(x)
end

local function draw_fault(self, faults)
  local u = self.draw_fault()
  for i = 1, #faults do
    local fault = faults[i]
    u = u - fault.share
    if u < 0 then return fault end
  end
end

-- What is sent of `play`, by one that may have sent its head already.
local function prepare(x, play)
  if x.play then extend(x, play) else x.play = play end
end

local function begin(x, seconds, act)
  local world = x.upstream.world
  x.act = act
  world:at(world.now() + seconds, x)
end

local function fail(self, x, failure)
  self.faulted = self.faulted + 1
  prepare(x, failure.play)
  begin(x, failure.latency(), act_whole)
end

-- It begins well, and will break off.
local function break_off(self, x, fault)
  self.faulted, self.cost, x.cut = self.faulted + 1, self.cost + self.price, fault.cut
  if x.streams then return begin(x, self.phase.latency(), act_first_piece) end
  prepare(x, { plays.whole_head, plays.cut })
  begin(x, self.phase.latency() + self.phase.writing() * fault.cut, act_whole)
end

-- A place for the request.
local function serve(self, x)
  local phase = self.phase
  x.place = true
  self.in_service = self.in_service + 1
  local fault = phase.faults and draw_fault(self, phase.faults)
  if fault then return (fault.cut and break_off or fail)(self, x, fault) end
  self.answered = self.answered + 1
  x.weak = phase.weak > 0 and self.draw_weak() < phase.weak
  if x.streams then
    self.cost = self.cost + self.price
    return begin(x, phase.latency(), act_first_piece)
  end
  local play, count = plays.of(self.answers, x.kind, x.body, x.weak)
  self.cost = self.cost + self.price * count
  prepare(x, play)
  return begin(x, phase.latency() + phase.writing(), act_whole)
end

local function refuse(self, x)
  local refusal = self.phase.refusal
  self.refused = self.refused + 1
  x.play = refusal.play
  local seconds = refusal.latency()
  if seconds > 0 then return begin(x, seconds, show_all) end
  show_all(x)
end

-- }========================================================================

-- {== The line ============================================================

-- Keep-alives for one that waits.
local function act_keep_alive(x)
  local signs = plays.keep_alive
  if not x.play then x.play = { x.streams and signs.stream_head or signs.whole_head } end
  x.play[#x.play + 1] = x.streams and signs.stream or signs.whole
  begin(x, x.upstream.phase.keepalive_every, act_keep_alive)
  show_all(x)
end

local function line_up(self, x)
  self.last = self.last + 1
  self.line[self.last] = x
  self.waiting = self.waiting + 1
  x.waits = self.last
  if self.phase.queue_sign == "keepalive" then
    begin(x, self.phase.keepalive_every, act_keep_alive)
  end
end

-- The first of the line, taken out of it.
local function first_of_line(self)
  while true do
    local i = self.first
    local x = self.line[i]
    self.line[i], self.first = nil, i + 1
    if x then
      self.waiting = self.waiting - 1
      x.waits = nil
      return x
    end
  end
end

--- Lets in those for whom there is room.
function upstream:let_in()
  while self.waiting > 0 and self.in_service < self.phase.capacity do
    local x = first_of_line(self)
    self.world:cancel(x)
    serve(self, x)
  end
end

--- From now on it has so many places; who has one keeps it.
---@param capacity number
function upstream:resize(capacity)
  self.phase.capacity = capacity
  self:let_in()
end

--- The caller has gone, wherever its request stands.
function upstream:leave(x)
  self.world:cancel(x)
  if x.waits then
    self.line[x.waits] = nil -- those behind it stay where they are
    self.waiting = self.waiting - 1
    x.waits = nil
  end
  if x.place then release(x) end
end

-- }========================================================================

-- {== Making ==============================================================

local function failure_of(given, draw)
  return { play = plays.failure(given.status, given.retry_after), share = given.share,
    cut = given.cut, latency = chance.sampler(given.latency, draw) }
end

-- A phase of the trace, ready for use.
local function compiled(phase, draw, draw_failure)
  local faults
  for i, fault in ipairs(phase.faults) do
    faults = faults or {}
    faults[i] = failure_of(fault, draw_failure)
  end
  return { capacity = phase.capacity or math.huge, queue = phase.queue,
    queue_sign = phase.queue_sign, keepalive_every = phase.keepalive_every, faults = faults,
    weak = phase.weak or 0,
    refusal = failure_of(phase.when_full, draw_failure),
    latency = chance.sampler(phase.latency, draw), writing = chance.sampler(phase.writing, draw) }
end

-- It enters a phase at its time.
local function change(self, phase)
  return { act = function()
    self.phase = phase
    self:let_in()
  end }
end

--- A server.
---@param world table
---@param target table of the trace: name, phases, price
---@param o table { seed =, usage = { prompt_tokens =, completion_tokens = } }
function upstream.new(world, target, o)
  -- Streams of their own, so that what one client is refused does not change another's answers.
  local draw = chance.stream(o.seed, "latency", target.name)
  local draw_failure = chance.stream(o.seed, "failure", target.name)
  local self = setmetatable({ name = target.name, world = world, answers = plays.answers(o.usage),
    in_service = 0, waiting = 0, line = {}, first = 1, last = 0,
    received = 0, answered = 0, refused = 0, faulted = 0, cost = 0,
    price = cost.of(o.usage, target.price) or 0, is_priced = target.price ~= nil,
    draw_fault = chance.stream(o.seed, "fault", target.name),
    draw_weak = chance.stream(o.seed, "weak", target.name) }, upstream)
  for i, phase in ipairs(target.phases) do
    local ready = compiled(phase, draw, draw_failure)
    if i == 1 then self.phase = ready else world:at(phase.at, change(self, ready)) end
  end
  return self
end

--- A request has come.
---@param way table { kind =, streams = }
---@param body string?
---@return table exchange
function upstream:open(way, body)
  local x = setmetatable({ upstream = self, event = self.world.loop.event(), kind = way.kind,
    streams = way.streams, body = body, play = nil, ready = 0, taken = 0, closed = false,
    cut = nil, weak = false, due = nil, place = nil, waits = nil, act = nil }, exchange)
  self.received = self.received + 1
  if not way.kind then
    x.play = plays.unknown
    show_all(x)
  elseif self.waiting == 0 and self.in_service < self.phase.capacity then
    serve(self, x)
  elseif self.waiting < self.phase.queue then
    line_up(self, x)
  else
    refuse(self, x)
  end
  return x
end

-- }========================================================================

return upstream
