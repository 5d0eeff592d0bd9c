--- Callers of a run of chaos: what they ask, and how they go.
--
-- Each looks at what it was given: its own answer, whole, for itself, in time, no older than it may
-- be; or a clear failure. Some leave in the midst of it, in every way there is.
local codes = require "unbusy.codes"
local json = require "unbusy.json"
local scheduler = require "unbusy.loops.scheduler"
local unbusy = require "unbusy"
local words = require "spec.support.chaos.words"

local callers = {}
callers.__index = callers

local SLACK = 0.25 -- seconds behind a deadline: the graces for what is called off
local NEAR = 1e-4  -- seconds: a cache counts microseconds

--- Callers of these clients.
---@param o table { r = chance, loop =, options = of the clients, clients = list that may change,
--- fault = fun(text) }
function callers.new(o)
  return setmetatable({ r = o.r, loop = o.loop, options = o.options, clients = o.clients,
    fault = o.fault, begun = 0, ended = 0, met = {},
    per_user = o.options.cache and o.options.cache.per == "user" }, callers)
end

local function note(self, what)
  self.met[what] = (self.met[what] or 0) + 1
end

local function complain(self, one, text, ...)
  self.fault(("call %d (%s%s of %s, %s): " .. text):format(one.number, one.kind,
    one.reads and ", streamed" or "", one.user, one.n, ...))
end

-- {== What came of a call =================================================

-- Whose words may they be?
local function check_user(self, one, user, source)
  if not user or user == one.user then return end
  local cache, asked = self.options.cache, source == "upstream" or source == "batch"
  -- (The oldest who is left of those who share a call has its answer as from there.)
  if asked and cache and cache.coalesce and not self.per_user then return end
  if self.per_user or source == "upstream" or source == "batch" then
    complain(self, one, "the answer of %s, from %s", user, source)
  end
end

-- Policies that keep answers for as long as they think fit.
local own_times = { frugal = true, degrade = true }

local function check_age(self, one, at, source)
  local cache = self.options.cache
  if source == "upstream" and at < one.began - NEAR and not (cache and cache.coalesce) then
    complain(self, one, "an answer of %.3f s, asked for at %.3f s", at, one.began)
  end
  if not cache or own_times[self.options.policy] then return end
  if source ~= "cache" and source ~= "stale" then return end
  local most = cache.ttl * (1 + cache.jitter) + (source == "stale" and cache.stale or 0)
    + self.options.clocks.total -- it is kept when it has come to its end
  if self.loop.now() - at > most then
    complain(self, one, "from %s, %.1f s old", source, self.loop.now() - at)
  end
end

local function check_reply(self, one, reply)
  if one.kind == "post" and reply.source ~= "fallback" then
    if type(reply.body) ~= "table" or not reply.body.choices then return end -- whatever came
    local said = reply.body.choices[1].message.content
    if said ~= words.good(one.n, one.user) and said ~= words.weak(one.n, one.user) then
      complain(self, one, "not its own: %s", said)
    end
    return
  end
  local user, at, how = words.judge(one, reply)
  if user == nil then return complain(self, one, "not its own: %s", at) end
  if how == "weak" and (reply.source == "cache" or reply.source == "stale")
      and self.options.escalate then
    complain(self, one, "a weak answer was kept")
  end
  check_user(self, one, user, reply.source)
  if at then check_age(self, one, at, reply.source) end
end

local function check_time(self, one)
  local took = self.loop.now() - one.began
  if took > one.deadline + SLACK then
    complain(self, one, "%.2f s instead of %g", took, one.deadline)
  end
end

-- The end of a call: a reply, or a failure; never both, never neither.
local function check_end(self, one, reply, message, code)
  if reply then
    if code ~= nil and type(reply) == "table" and not reply.source then
      complain(self, one, "a reply without a source")
    end
    note(self, reply.source)
    return check_reply(self, one, reply)
  end
  if not (codes[code] and type(message) == "string") then
    return complain(self, one, "neither a reply nor a failure: %s, %s", tostring(message),
      tostring(code))
  end
  note(self, code)
end

-- }========================================================================

-- {== Streams =============================================================

local function pieces_of(self, stream, most, pause)
  local parts, n = {}, 0
  while n < most do
    if pause then self.loop.sleep(pause) end
    local piece, message, code = stream:read()
    if code then return parts, message, code end
    if not piece then return parts, nil, nil, true end
    n, parts[#parts + 1] = n + 1, piece.text
  end
  return parts
end

local function check_begun(self, one, parts)
  local text = table.concat(parts)
  if not words.begins(one, text) then complain(self, one, "other text: %s", text) end
end

local function read_all(self, one, stream, pause)
  local parts, message, code = pieces_of(self, stream, math.huge, pause)
  check_begun(self, one, parts)
  if code then return nil, message, code end
  local again, _, why = stream:read()
  if again or why then complain(self, one, "something behind the end: %s", tostring(why)) end
  local reply, why_not, how = stream:reply()
  if reply and table.concat(parts) ~= reply.text then
    complain(self, one, "the pieces are not the answer: %s", table.concat(parts))
  end
  return reply, why_not, how
end

local leaves = {}

function leaves.close(stream)
  stream:close()
  stream:close()
end

function leaves.drop() end

function leaves.throw() error("the reader's own", 0) end

local readers = { read = read_all }

function readers.slow(self, one, stream) return read_all(self, one, stream, 0.05) end

for name, leave in pairs(leaves) do
  readers[name] = function(self, one, stream)
    local parts, message, code = pieces_of(self, stream, self.r:int(4))
    check_begun(self, one, parts)
    if code then return nil, message, code end
    leave(stream)
    return nil, "the reader has left", "closed"
  end
end

-- }========================================================================

-- {== Asking ==============================================================

local function client_of(self)
  return self.clients[self.r:int(#self.clients)]
end

local kinds = { "chat", "chat", "chat", "chat", "chat", "chat", "complete", "complete", "embed" }
local ways = { "read", "read", "read", "read", "read", "read", "close", "close", "slow" }

local DROPS = 0.01 -- of the streams: until a collection they are open

-- Asked again and again, or once.
local function number_of(self)
  local r = self.r
  if r:chance(0.4) then return r:int(r:pick { 5, 100, 2000 }) end
  return 10000 + self.begun
end

local function new_call(self)
  local r = self.r
  local kind = r:pick(kinds)
  local one = { number = self.begun, kind = kind, n = number_of(self), user = r:pick(words.USERS),
    model = r:chance(0.9) and "ma" or "mb", deadline = r:pick { 0.3, 2, 2, 5, 5, 30 }, began = 0,
    reads = kind ~= "embed" and r:chance(0.15) and r:pick(ways) or false }
  if one.reads and r:chance(DROPS) then one.reads = r:pick { "drop", "throw" } end
  return one
end

local function given_for(self, one)
  local r = self.r
  local given = { deadline = one.deadline }
  local u = r:float()
  if u < 0.3 then
    if u < 0.02 then given.cache = false
    elseif u < 0.04 then given.cache = "refresh"
    elseif u < 0.06 then given.target = r:pick { "e1", "c1" }
    elseif u < 0.08 then given.pool = "centre"
    elseif u < 0.1 then given.hedge = false
    elseif u < 0.12 then given.upstream_stream = true
    elseif u < 0.13 then given.trace = true
    elseif u < 0.15 then given.clocks = { try = 0.5 }
    elseif u < 0.17 then given.stale = false
    elseif u < 0.25 then given.priority = "interactive"
    else given.priority = "batch" end
  end
  return given
end

local function ask(self, one, client, given)
  local request = words.request(one.kind, one.n, one.user, one.model)
  if not one.reads then return client[one.kind](client, request, given) end
  local stream, message, code = client:stream(request, given)
  if not stream then return nil, message, code end
  return readers[one.reads](self, one, stream)
end

-- The end of it, once.
local function done(self, one)
  if one.is_over then return complain(self, one, "ends twice") end
  one.is_over = true
  self.ended = self.ended + 1
end

local function run(self, one, given)
  one.began = self.loop.now()
  check_end(self, one, ask(self, one, client_of(self), given))
  if one.reads ~= "slow" then check_time(self, one) end
end

local function plain(self, one)
  local ok, raised = pcall(run, self, one, given_for(self, one))
  if not ok and raised ~= "the reader's own" then
    if raised == scheduler.cancelled then
      done(self, one)
      error(raised, 0)
    end
    complain(self, one, "raised: %s", tostring(raised))
  end
  done(self, one)
end

-- Somebody ends it from outside.
local function cancelled(self, one)
  local cancel = unbusy.canceller()
  local given, client = given_for(self, one), client_of(self)
  given.cancel = cancel
  self.loop.spawn(function()
    self.loop.sleep(self.r:float())
    cancel:cancel()
    cancel:cancel()
  end)
  one.began, one.reads = self.loop.now(), one.reads and "read"
  check_end(self, one, ask(self, one, client, given))
  check_time(self, one)
  done(self, one)
end

-- Its task is ended in mid-call.
local function killed(self, one)
  local task = self.loop.spawn(function()
    self.loop.sleep(0)
    plain(self, one)
  end)
  self.loop.sleep(self.r:float() * 0.5)
  self.loop.cancel(task)
  pcall(task.join, task)
  note(self, "killed")
  if not one.is_over then done(self, one) end -- before it began
end

local function listed(self, one)
  local list, n = {}, self.r:int(6)
  for i = 1, n do
    list[i] = words.request(one.kind, one.n + i, one.user, one.model)
  end
  one.began = self.loop.now()
  local results = client_of(self):batch(list, { deadline = one.deadline, at_once = self.r:int(4) })
  if #results ~= n then complain(self, one, "%d results of %d", #results, n) end
  for i, result in ipairs(results) do
    local item = { number = one.number, kind = one.kind, n = one.n + i, user = one.user,
      began = one.began }
    if result.source then check_end(self, item, result)
    else check_end(self, item, nil, result.message, result.code) end
  end
  self.items = (self.items or 0) + n
  check_time(self, one)
  done(self, one)
end

local function posted(self, one)
  one.kind, one.reads, one.began = "post", false, self.loop.now()
  check_end(self, one, client_of(self):post("/chat/completions",
    json.encode(words.request("chat", one.n, one.user, words.POSTED)), { deadline = one.deadline }))
  check_time(self, one)
  done(self, one)
end

--- One call, to its end.
function callers:call()
  self.begun = self.begun + 1
  local one, u = new_call(self), self.r:float()
  if u < 0.01 then cancelled(self, one)
  elseif u < 0.015 then killed(self, one)
  elseif u < 0.02 then listed(self, one)
  elseif u < 0.03 then posted(self, one)
  else plain(self, one) end
end

-- }========================================================================

return callers
