--- One client meets a trace, in simulated time.
--
--     arrivals ──► a caller ──► client: every stage and part ──► loop.open ──► simulated servers
--                     └── what became of the call: written down under its number
--
-- Callers are tasks that take one call after the other, so that a call costs no new coroutine.
local chance = require "unbusy.simulate.chance"
local observed = require "unbusy.simulate.observed"
local setup = require "unbusy.simulate.setup"
local upstream = require "unbusy.simulate.upstream"
local world = require "unbusy.simulate.world"

local run = {}

-- {== What arrives ========================================================

-- The questions' numbers: all different, or the n-th of so many in 1/n of the cases (Zipf).
local function question_numbers(n, count, seed)
  if count == 0 then return nil end
  local draw, sums, sum, out = chance.stream(seed, "questions"), {}, 0, {}
  for i = 1, count do
    sum = sum + 1 / i
    sums[i] = sum
  end
  for i = 1, n do
    local u, low, high = draw() * sum, 1, count
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < u then low = middle + 1 else high = middle end
    end
    out[i] = low
  end
  return out
end

-- Which of n calls are among a share of them; nil for none.
local function shares(n, share, seed, what)
  if share == 0 then return nil end
  local draw, out = chance.stream(seed, what), {}
  for i = 1, n do out[i] = draw() < share end
  return out
end

--- The calls of a trace: when each arrives, at which target a client without unbusy asks, whether
--- it wants a stream, which question it is, and whether a hard one. The same for every client that
--- is compared.
---@param trace table
---@param seed integer
function run.calls(trace, seed)
  local at, of, n = {}, {}, 0
  for i = 1, trace.rows do
    for _ = 1, trace.arrivals[i] do
      n = n + 1
      at[n], of[n] = trace.times[i], trace.of[i]
    end
  end
  return { n = n, at = at, of = of, streams = shares(n, trace.calls.stream, seed, "streams"),
    hard = shares(n, trace.calls.hard, seed, "hard"),
    questions = question_numbers(n, trace.calls.questions, seed) }
end

local bodies = {}

function bodies.chat(model, text)
  return { model = model, messages = { { role = "user", content = text } } }
end

function bodies.complete(model, text)
  return { model = model, prompt = text }
end

function bodies.embed(model, text)
  return { model = model, input = text }
end

-- }========================================================================

-- {== The callers =========================================================

local POOL = 4096 -- questions, where nobody can tell a repeated one

local HARD = "explain why " -- how a hard question begins

-- A function that gives the request of a question's number. The text differs from others all
-- along: LuaJIT looks at a few bytes of a long string when it makes one, and those that are alike
-- there get in each other's way.
local function requests_of(kind, model, forget)
  local make, kept = bodies[kind], { [false] = {}, [true] = {} }
  return function(number, hard)
    if forget then number = number % POOL end
    local request = kept[hard][number]
    if request then return request end
    request = make(model, (hard and HARD or "") .. ("%07d "):format(number):rep(8))
    if forget then kept[hard][number] = request end
    return request
  end
end

-- One call, from the question to what became of it.
local function ask(self, i)
  local calls, record = self.calls, self.record
  local number = calls.questions and calls.questions[i] or i
  local began, target = self.now(), self.targets[calls.of[i]]
  local request = self.request(number, calls.hard ~= nil and calls.hard[i])
  local reply, first, _, code, detail = self.ask(request, target and target.name,
    calls.streams ~= nil and calls.streams[i])
  local now = self.now()
  record.totals[i], record.firsts[i] = now - began, first - began
  record.sources[i] = reply and reply.source or "failed"
  record.codes[i] = code or reply.failure and reply.failure.code or false
  if self.ended then self.ended(i, reply, code, detail) end
end

local function end_callers(self)
  for _, place in ipairs(self.idle) do
    place.call = false
    place.event:set()
  end
end

-- A caller takes calls as long as there are any.
local function caller(self, place)
  while place.call do
    ask(self, place.call)
    self.open = self.open - 1
    if self.arrived == self.calls.n then
      if self.open == 0 then self.over:set() end
      return
    end
    self.idle[#self.idle + 1] = place
    place.event:clear()
    self.loop.wait(place.events)
  end
end

local function begin_call(self, i)
  local idle = self.idle
  local place = idle[#idle]
  self.open = self.open + 1
  if place then
    idle[#idle] = nil
    place.call = i
    place.event:set()
  else
    place = { call = i, event = self.loop.event() }
    place.events = { place.event }
    self.loop.spawn(caller, self, place)
  end
end

-- Everybody whose time has come arrives.
local function arrive(self)
  self.world:arrive(self.calls.at, function(first, last)
    self.arrived = last
    for i = first, last do begin_call(self, i) end
    if last == self.calls.n then end_callers(self) end
  end)
end

-- }========================================================================

-- {== Looking on ==========================================================

-- Notes how things stand, at regular times until the end.
local function sampler(self, width)
  local samples, ups, targets = self.record.samples, self.ups, self.client.targets
  return { act = function(thing, now)
    local s = { at = now, waiting = self.client.queue.count, in_service = {}, in_line = {},
      states = {} }
    for i, up in ipairs(ups) do s.in_service[i], s.in_line[i] = up.in_service, up.waiting end
    for _, t in ipairs(targets) do s.states[t.name] = t.breaker and t.breaker:state() or nil end
    samples[#samples + 1] = s
    if self.arrived < self.calls.n or self.open > 0 then self.world:at(now + width, thing) end
  end }
end

-- }========================================================================

-- {== A run ===============================================================

local kinds = { ["/chat/completions"] = "chat", ["/completions"] = "complete",
  ["/embeddings"] = "embed" }

-- Which server a prepared request goes to, and what it asks for.
local function way_of(ups, request)
  local index, path = request.url:match "^http://target%-(%d+)%.invalid/v1(/[^?]*)"
  local streams = false
  for _, line in ipairs(request.headers) do
    if line == "accept: text/event-stream" then streams = true end
  end
  local kind = kinds[path]
  return { upstream = ups[tonumber(index)], kind = kind, streams = streams and kind ~= "embed" }
end

local function opener(ups)
  local ways = setmetatable({}, { __mode = "k" })
  return function(request, body)
    local way = ways[request]
    if not way then
      way = way_of(ups, request)
      ways[request] = way
    end
    return way.upstream:open(way, body)
  end
end

local function build(trace, what, options, o)
  local ups = {}
  local w = world.new(opener(ups),
    { wall = trace.start, random = chance.stream(o.seed, "scripts") })
  local contestant, message = setup.contestant(what, options,
    { loop = w.loop, seed = o.seed, deadline = trace.calls.deadline, kind = trace.calls.kind })
  if not contestant then return nil, message end
  local prices = setup.prices(options)
  for i, target in ipairs(trace.targets) do
    ups[i] = upstream.new(w, { name = target.name, phases = observed.phases(trace, i, o.observed),
      price = prices[target.name] or target.price }, { seed = o.seed, usage = trace.calls })
  end
  return { world = w, loop = w.loop, now = w.now, ups = ups, calls = o.calls, arrived = 0, open = 0,
    idle = {}, targets = trace.targets, client = contestant.client, ask = contestant.ask,
    ended = o.ended, beside = o.beside, request = requests_of(trace.calls.kind, trace.calls.model,
      not contestant.client.cache and trace.calls.questions == 0),
    record = { totals = {}, firsts = {}, sources = {}, codes = {}, samples = {} } }
end

local PAUSE = 1000 -- of the collector: a run leaves little behind and makes much

local function go(self, width)
  local before = collectgarbage("setpause", PAUSE)
  collectgarbage() -- or the pause would count from the next one on
  local ok, message = pcall(self.loop.run, function()
    self.over = self.loop.event()
    arrive(self)
    if width then self.world:at(0, sampler(self, width)) end
    if self.beside then self.beside(self) end
    self.loop.wait { self.over }
  end)
  collectgarbage("setpause", before)
  if not ok then error(message, 0) end
end

local function counts_of(up)
  return { name = up.name, received = up.received, answered = up.answered, refused = up.refused,
    faulted = up.faulted, cost = up.is_priced and up.cost or nil }
end

--- Lets a client meet a trace, to the end of every call.
---@param trace table
---@param what table see `setup.contestant`
---@param options table of `setup.options`
---@param o table { seed =, calls = of `run.calls`, width = seconds between looks or nil,
--- observed = go by the rows alone, ended = fun(i, reply, code, detail)?, beside = fun(run)? that
--- is called at the beginning, and may put things into `run.world` that change `run.ups` }
---@return table? record totals firsts sources codes (by the call's number) samples ups
--- took policies, string? message
function run.meet(trace, what, options, o)
  local self, message = build(trace, what, options, o)
  if not self then return nil, message end
  go(self, o.width)
  local record = self.record
  record.name, record.ups, record.took = what.name, {}, self.now()
  for i, up in ipairs(self.ups) do record.ups[i] = counts_of(up) end
  local status = self.client:status()
  record.policies, record.escalate, record.hedge = status.policy, status.escalate, status.hedge
  self.client:close()
  return record
end

-- }========================================================================

return run
