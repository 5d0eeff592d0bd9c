--- Asks questions ahead of time, so that their answers are in the cache when somebody wants them.
--
--     question ──► cache: fresh? ──► gate: has a target room to spare? ──► one try ──► cache
--                   └► done           └ no: waits, and asks nobody
--
-- It must never be in anybody's way. A question goes only to a target that is well (its breaker is
-- closed, it does not rest, nobody stands in its own queue) and has at most half of its places
-- taken, and only while no call waits in line. It takes a place that is free at once, never one in
-- the line; it has one try, of which the budget of second tries knows nothing; nothing stands in
-- for its answer. After a busy answer nothing is asked for a while, longer each time.
local calls = require "unbusy.call"
local codes = require "unbusy.codes"
local config = require "unbusy.config"
local crew = require "unbusy.crew"
local loops = require "unbusy.loops"
local options = require "unbusy.options"
local questions = require "unbusy.caching.questions"

local warm = {}

--- Every option of `client:warm`.
warm.schema = {
  model = { type = "string", doc = "for the questions that name none" },
  at_once = { type = "whole", default = 4, min = 1, max = 1000, doc = "questions asked at a time" },
  deadline = { type = "number", above = 0, max = 1e7, unit = "s",
    doc = "for each question, from when it is sent; the clock `total` by default" },
  patience = { type = "number", default = 60, min = 0, max = 1e7, unit = "s",
    doc = "that a question waits for a target with room to spare" },
  attempts = { type = "whole", default = 3, min = 1, max = 100,
    doc = "how often a question is asked that fails for a while, each time behind all others" },
  priority = { type = "string", default = "batch", one_of = { "interactive", "normal", "batch" },
    doc = "what scripts are told; it stands in no line" },
  refresh = { type = "boolean", default = false,
    doc = "ask also what is in the cache and still fresh" },
  before = { type = "number", default = 0, min = 0, max = 1e7, unit = "s",
    doc = "ask also what is fresh for no longer than that" },
  off_peak = { type = "boolean", default = false,
    doc = "wait while the policy's `peak` says that these are busy hours" },
  cancel = { type = "table", doc = "ends it from outside: an `unbusy.canceller()`" },
  on_progress = { type = "function",
    doc = "is given `{ all =, done =, asked =, fresh =, failed =, waiting = }` at each step" },
}

local LOOK = 0.25    -- seconds between two looks whether there is room
local REST = 1       -- seconds for which nothing is asked after a busy answer, the first time …
local MOST_REST = 60 -- … and at most

local job = {}
job.__index = job

-- {== The gate ============================================================

-- Is it well, and does it use no more than half of what it may?
local function has_room_to_spare(target, model, now)
  if target:is_away(now) or target.queue_calls > 0 or not target:is_free(model, now) then
    return false
  end
  local limiter = target:limiter(model)
  return not limiter or limiter:in_flight() + 1 <= math.max(1, limiter:limit() / 2)
end

-- Rules out the targets that are not to be asked now, beside those that are `out` in any case (as
-- where another one is to make up for a weak answer): is one left?
local function choose(call, now, out)
  local only, any = call.options.target, false
  call.ruled_out = nil
  for name in pairs(out) do call:rule_out(name) end
  for _, t in ipairs(only and call.client.targets or call:targets()) do
    local meant = (not only or only == t.name) and call:may_ask(t.name)
    if meant and has_room_to_spare(t, t:model(call.model), now) then
      any = true
    else
      call:rule_out(t.name)
    end
  end
  return any
end

local function is_peak(call)
  local policy = call.policy
  if not policy or not policy:decides "peak" then return false end
  local decided, peak = policy:ask(call, "peak", nil, call:shown_request())
  return decided and peak
end

-- Why the question is not to be asked now; nil when it may.
local function obstacle(self, call, out)
  local now = call.loop.now()
  if now < self.rest_until then return "rest" end
  if self.options.off_peak and is_peak(call) then return "peak" end
  if call.client.queue.count > 0 then return "line" end
  return not choose(call, now, out) and "busy" or nil
end

local reasons = { rest = "a target was busy not long ago", peak = "these are busy hours",
  line = "other calls wait in line", busy = "no target has room to spare" }

-- Seconds that it may still wait for room. One that waits for nobody waits for its own others.
local function patience_left(self, call, limit)
  if self.stopped then return 0 end
  if self.hasty then return self.under_way > 0 and LOOK or 0 end
  return limit - call.loop.now()
end

-- Waits until the question may be asked; gives why it may not, when that takes too long.
local function wait(self, call)
  local limit, out = call.loop.now() + self.options.patience, call.ruled_out or {}
  local why = obstacle(self, call, out)
  while why do
    self:tell(why)
    local left = patience_left(self, call, limit)
    if left <= 0 then return why end
    call:sleep(math.min(LOOK, left))
    if call.stopped then return nil end
    why = obstacle(self, call, out)
  end
  self:tell(nil)
end

-- What the call meets in place of second tries: see `unbusy.stages.retry`.
local function gate_of(self)
  return function(call, next)
    local why = wait(self, call)
    if call.stopped then return call:refusal() end
    if why then return nil, "not asked: " .. reasons[why], "full", { obstacle = why } end
    call.at_once = true
    call.deadline = call.loop.now() + (self.options.deadline or call:clock "total")
    self.under_way = self.under_way + 1
    local reply, message, code, detail = next(call)
    self.under_way = self.under_way - 1
    return reply, message, code, detail
  end
end

-- }========================================================================

-- {== Asking ==============================================================

local function new_call(self, question)
  local o, own = self.options, question.options
  local c = calls.new(self.client, question.kind, question.request, config.trusted {
    priority = o.priority, cancel = o.cancel, cache = o.refresh and "refresh" or true,
    stale = false, hedge = false, batch = false, target = own.target, pool = own.pool,
    headers = own.headers })
  c.ahead = self.ahead
  return c
end

-- Makes the call, as a client makes one.
local function perform(self, loop, c)
  local client = self.client
  if c.options.headers then
    local message = c:add_headers()
    if message then return nil, message, "invalid" end
  end
  client.calls[c] = true
  local good = c:begin(loop)
  c.deadline = c.deadline + self.options.patience
  local mark = loop.own and loop.own(c)
  local ok, reply, message, code, detail = pcall(good and client.flow or c.refusal, c)
  if loop.own then loop.disown(mark) end
  c:finish()
  if not ok then error(reply, 0) end
  return reply, message, code, detail
end

-- A target has said that it is busy: nobody else is asked for a while.
local function rest(self, loop, detail)
  local asked = detail and detail.retry_after or 0
  self.rest_until = loop.now() + math.max(self.pause, asked)
  self.pause = math.min(self.pause * 2, MOST_REST)
end

local function failed(self, loop, i, message, code, detail)
  local kind = codes[code]
  if kind.busy then rest(self, loop, detail) end
  if self.hasty and detail and detail.obstacle then self:stop() end
  local tries = self.tries[i] or 1
  if kind.retry and tries < self.options.attempts and not self.client.closed then
    self.tries[i], self.last = tries + 1, self.last + 1
    self.order[self.last] = i
    return
  end
  self.failures[#self.failures + 1] = { index = i, message = message, code = code }
end

local function answered(self, i, reply)
  self.pause = REST
  if reply.source == "cache" then
    self.fresh = self.fresh + 1
    return
  end
  self.asked = self.asked + 1
  if not reply.stored then self.unkept[#self.unkept + 1] = i end
end

local function ask(self, loop, i)
  local reply, message, code, detail = perform(self, loop, new_call(self, self.list[i]))
  if not reply then return failed(self, loop, i, message, code, detail) end
  if reply.weak then return failed(self, loop, i, "a weak answer, which is not kept", "policy") end
  answered(self, i, reply)
end

local TURN = 20 -- questions, all of them fresh perhaps, after which others get their turn

-- Asks one question after the other, as long as there are some.
local function work(self, loop)
  local count = 0
  while not self.stopped and self.first <= self.last do
    local i = self.order[self.first]
    self.order[self.first] = nil
    self.first, count = self.first + 1, count + 1
    ask(self, loop, i)
    self:tell(nil)
    if count % TURN == 0 then loop.sleep(0) end
  end
end

-- }========================================================================

-- {== Jobs ================================================================

--- A job that asks these questions.
---@param client table with a cache
---@param list table[] see `unbusy.caching.questions`
---@param o table checked options
---@param hasty boolean? it ends with the first question that is not to be asked now
---@return table job
function warm.job(client, list, o, hasty)
  local self = setmetatable({ client = client, list = list, options = o, order = {}, first = 1,
    last = #list, tries = {}, asked = 0, fresh = 0, failures = {}, unkept = {}, stopped = false,
    waiting = nil, told = false, hasty = hasty, under_way = 0, owner = nil, ended = false,
    rest_until = 0, pause = REST }, job)
  for i = 1, #list do self.order[i] = i end
  self.ahead = { pass = gate_of(self), before = o.before }
  return self
end

--- How far it is.
---@return table progress { all =, done =, asked =, fresh =, failed =, waiting = "busy", "line",
--- "rest", "peak" or nil }
function job:progress()
  local count = #self.failures
  return { all = #self.list, done = self.asked + self.fresh + count, asked = self.asked,
    fresh = self.fresh, failed = count, waiting = self.waiting }
end

--- Something has come of it, or it waits: whoever watches is told, of what is new.
---@param waiting string?
function job:tell(waiting)
  local watch, done = self.options.on_progress, self.asked + self.fresh + #self.failures
  local same = done == self.told and waiting == self.waiting
  self.waiting, self.told = waiting, done
  if watch and not same then watch(self:progress()) end
end

--- The numbers of those that it has not come to.
---@return integer[]
function job:untouched()
  local out = {}
  for at = self.first, self.last do out[#out + 1] = self.order[at] end
  return out
end

--- It asks nothing more.
function job:stop()
  self.stopped = true
end

-- What has come of all jobs of a client.
local function count(warming, self)
  warming.asked, warming.fresh = warming.asked + self.asked, warming.fresh + self.fresh
  warming.failed = warming.failed + #self.failures
end

--- It is over, once.
function job:finish()
  local warming = self.client.warming
  if not warming.jobs[self] then return end
  warming.jobs[self] = nil
  if self.owner then self.owner[self] = nil end
  count(warming, self)
  if self.ended then self.ended() end
  self.client:warms("end", self:progress())
end

--- Whoever runs it is gone, and will never be resumed.
function job:leave()
  self:stop()
  self:finish()
end

job.close = job.leave -- as whatever ends a call knows it

local function run(loop, self)
  if loop.adopt then self.owner = loop.adopt(self) end
  local mark = loop.own and loop.own(self)
  local ok, raised = pcall(crew.run, loop, math.min(self.options.at_once, #self.list),
    function() work(self, loop) end, function() self:stop() end)
  if loop.own then loop.disown(mark) end
  if not ok then error(raised, 0) end
end

--- Runs it to its end, in the loop of whoever calls, or in `loop`.
---@param loop table?
---@return table result { asked =, fresh =, failures = { { index =, message =, code = }, … },
--- unkept = numbers of those whose answers are not kept, if there are some }
function job:run(loop)
  local client, warming = self.client, self.client.warming
  warming.jobs[self] = true
  client:warms("begin", self:progress())
  local ok, raised
  if loop then ok, raised = pcall(run, loop, self)
  else ok, raised = pcall(loops.enter, client.loop, run, self) end
  self:finish()
  if not ok then error(raised, 0) end
  return { asked = self.asked, fresh = self.fresh, failures = self.failures,
    unkept = self.unkept[1] and self.unkept or nil }
end

--- What a client knows of its jobs.
function warm.new_state()
  return { jobs = {}, asked = 0, fresh = 0, failed = 0 }
end

--- What is under way, and what has come of all that is over.
---@param warming table
---@param warmer table? see `unbusy.caching.warmer`
function warm.status(warming, warmer)
  local out = { asked = warming.asked, fresh = warming.fresh, failed = warming.failed,
    warmer = warmer and warmer:status() }
  for one in pairs(warming.jobs) do
    out.running = out.running or {}
    table.insert(out.running, one:progress())
  end
  return out
end

-- }========================================================================

-- What is to be asked, of a list, a file's path, or the number of the hottest; or nil, a message,
-- and is it the caller's mistake?
local function read(client, what, model)
  if type(what) == "string" then
    local list, message = questions.of_file(what, model)
    return list, message, false
  elseif type(what) ~= "number" then
    local list, message = questions.of_list(what, model)
    return list, message, true
  elseif not client.hot then
    return nil, "questions: the option cache.top is off", true
  elseif what < 1 or what ~= math.floor(what) then
    return nil, "questions: a whole number above 0 expected", true
  end
  return client.hot:questions(what, client)
end

--- Asks what is not yet in the cache: `{ asked =, fresh =, failures = { { index =, message =,
--- code = }, … }, unkept = { index, … } or nil }`. `asked` were answered by a target, `fresh` were
--- there already, and the answers of `unkept` are not kept.
---@param client table with a cache
---@param what table|string|number texts and requests; or a file of them; or how many of the hottest
---@param given table? see `warm.schema`
---@return table? result, string? message, string? code of a file that cannot be read: "invalid"
function warm.all(client, what, given)
  local o = options.check(warm.schema, given, "warm", 3)
  if not client.cache then error("warm: the client has no cache", 2) end
  local list, message, mistake = read(client, what, o.model)
  if mistake and not list then error("warm: " .. message, 2) end
  if not list then return nil, "warm: " .. message, "invalid" end
  return warm.job(client, list, o):run()
end

return warm
