--- Answers kept in a Redis server, for many machines: the far level of `unbusy.caching.levels`.
--
--     get ──► link ──► Redis          whoever asks waits for `clock` seconds at most
--     set ──► link                    nobody waits; what finds no room is not sent
--
-- The link (`unbusy.core_redis`) does its work in C, behind one descriptor, which all hosts watch
-- as they watch that of a region (`unbusy.loops.wire`): where no host runs, nothing moves. What the
-- server does never fails a call. When it is in trouble it is left alone for a growing pause, and
-- then asked again (`unbusy.caching.health`); trouble with writing alone (no room, read only) rests
-- writing only. Trouble is told once, until it is over.
local collect = require "unbusy.collect"
local core = require "unbusy.core"
local health = require "unbusy.caching.health"
local loops = require "unbusy.loops"
local now = require "unbusy.clock"
local sweep = require "unbusy.caching.redis_sweep"
local wire = require "unbusy.loops.wire"

local redis = {}
redis.__index = redis

local SILENCE = 1 -- seconds without a word, while something is under way, are trouble
local LOOK = 0.1  -- seconds between two looks whether an idle connection has ended
local SKEW = 5    -- seconds that the clocks of two machines may differ

-- {== What is heard =======================================================

-- What the wire knows of a level: the level itself may be collected.
local ear = {}
ear.__index = ear

function ear:descriptor()
  return self.link:descriptor()
end

function ear:heard()
  if not self.link:owned() then return end
  self.link:step()
  local level = self.of.level
  if level then level:dispatch() end
end

--- Something is under way, and not for too long.
function ear:busy()
  if not self.link:owned() then return false end
  local waiting, _, silent = self.link:look()
  return waiting > 0 and silent < SILENCE
end

local function closer(own_ear)
  return function()
    wire.ignore(own_ear)
    own_ear.link:close()
  end
end

-- }========================================================================

local counted = { "hits", "stale", "misses", "late", "skipped", "torn", "stored", "removed",
  "dropped", "large", "refused", "lost", "faults" }

--- A level over what `unbusy.caching.redis_options` has made.
---@param o table
---@param more table { ttl =, stale = (seconds, of the client's cache), tell = function(event),
--- loop = (of the client), wall =, chance = (of specs) }
---@return table
function redis.new(o, more)
  local counts = {}
  for _, name in ipairs(counted) do counts[name] = 0 end
  local self = setmetatable({
    link = o.link, place = o.place, prefix = o.prefix, tags_of = o.tags_of,
    clock = o.clock, most = o.most,
    queue = o.queue, most_life = o.ttl or math.huge, ttl = more.ttl, stale = more.stale,
    tell = more.tell, loop = more.loop, wall = more.wall or core.wall,
    counts = counts, pending = {}, idle = {}, looks_at = 0,
    health = health.new(more.chance), writes = health.new(more.chance), jobs = 0,
  }, redis)
  self.ear = setmetatable({ link = o.link, of = setmetatable({ level = self }, { __mode = "v" }) },
    ear)
  self.watch = collect.watch(closer(self.ear))
  return self
end

-- {== Trouble =============================================================

local sentences = {
  timeout = "nothing has come in time", network = "there is no connection, or it was lost",
  upstream = "what has come makes no sense", auth = "the password was refused",
  invalid = "the database was refused", nomem = "not enough memory", full = "no room",
  busy = "it takes no more clients",
}

local function report(self, what, code, message)
  if not self.tell then return end
  self.tell { what = what, level = "redis", code = code, message = message }
end

-- Asked no more for a while. Whatever is under way is given up where the connection is no good.
-- Whoever is told may close the client: that comes last.
local function trouble(self, code, message, keep)
  self.counts.faults = self.counts.faults + 1
  message = "redis: " .. (message or sentences[code] or code)
  self.fault = { code = code, message = message }
  local news = self.health:bad(now())
  if not keep then
    self.link:drop()
    self.link:lost() -- which we know of
    self:dispatch()
  end
  if news then report(self, "fault", code, message) end
end

local not_let_in = { NOAUTH = "auth", WRONGPASS = "auth", NOPERM = "auth",
  ["ERR max number of clients"] = "busy" }

-- Writes are not taken, but reads are answered.
local function write_trouble(self, kind)
  self.counts.refused = self.counts.refused + 1
  local code, message = not_let_in[kind] or "full", ("redis: %s: it takes no writes"):format(kind)
  self.fault = { code = code, message = message }
  if self.writes:bad(now()) then report(self, "fault", code, message) end
end

local function well(self)
  if self.health:good() then report(self, "well") end
end

local no_writes = { OOM = true, READONLY = true, MISCONF = true, NOREPLICAS = true }

-- The server has said that it does not do it.
local function refused(self, kind)
  if no_writes[kind] then return write_trouble(self, kind) end
  trouble(self, not_let_in[kind] or "upstream", kind .. ": it does not answer as asked", true)
end

-- A connection that was lost: after it has served it may be a restart, and the next command finds
-- out; one that never has is trouble.
local function note_loss(self)
  local code, served = self.link:lost()
  if not code then return end
  if served and code == "network" and self.health:is_well() then return end
  trouble(self, code, nil, true)
end

-- }========================================================================

-- {== Asking ==============================================================

-- A read under way, which its call holds.
local read = {}
read.__index = read

function read:arrived()
  self.event:set()
end

read.abort = read.arrived

function read:close()
  local level = self.level
  if level.pending[self.id] ~= self then return end
  level.pending[self.id] = nil
  if level.link:owned() then level.link:forget(self.id) end
end

--- Of a listener's turn: whatever has ended is told to whoever sent it.
function redis:dispatch()
  local link = self.link
  if not link:owned() then return end
  local id = link:next()
  while id do
    local who = self.pending[id]
    self.pending[id] = nil
    if who then who:arrived(self, id) end
    id = link:owned() and link:next()
  end
  if self.closed then return end
  note_loss(self)
  if self.idle[1] and not self:is_busy() then
    local idle = self.idle
    self.idle = {}
    for _, event in ipairs(idle) do event:set() end
  end
end

-- What a parent of this process has under way ends for us: nothing of it comes here.
local function begin(self)
  local lost = self.pending
  self.pending = {}
  local ok = self.link:begin()
  for id, who in pairs(lost) do who:arrived(self, id) end
  if ok then wire.listen(self.ear) end
  return ok
end

-- May something be sent? Finds out that nothing has come for long.
local function may_send(self)
  local link = self.link
  if self.closed then return false end
  if not link:owned() then
    if not begin(self) then return false end
  else
    local waiting, _, silent = link:look()
    if waiting == 0 and now() > self.looks_at or silent >= SILENCE then
      self.ear:heard() -- what has come while nobody looked: replies, an end
      self.looks_at = now() + LOOK
      waiting, _, silent = link:look()
      if waiting > 0 and silent >= SILENCE then trouble(self, "timeout") end
    end
  end
  return self.health:may_ask(now())
end

-- What was sent, or failed to be.
local function sent(self, who, id, _, code)
  if id then
    self.pending[id] = who
    return id
  end
  if code ~= "full" and code ~= "invalid" then trouble(self, code, nil, true) end
  return nil, code
end

-- Sends a command of a job's; false when that is not possible.
function redis:command(who, words)
  if self.closed or not self.link:owned() and not begin(self) then return false end
  return sent(self, who, self.link:command(words)) ~= nil
end

-- Waits for the reply, and gives what `link:entry` says of it.
local function await(self, call, key, waited, limit)
  local loop = call.loop
  if loop.attend then loop.attend() end
  call:hold(waited)
  local woken = loop.wait({ waited.event }, limit)
  call:release(waited)
  if self.closed or not self.link:owned() then return nil, "gone" end
  if not woken then self.ear:heard() end -- it may be there, and we were slow
  self.pending[waited.id] = nil
  return self.link:entry(waited.id, key)
end

-- How old it is, and whether it is still good for anything.
local function judge(self, stored, ttl)
  local age = self.wall() - stored
  if age < -SKEW then return 0, "stale" end -- from the future: a clock was wrong
  age = math.max(age, 0)
  if age < ttl then return age, "fresh" end
  return age, age < ttl + self.stale and "stale" or nil
end

-- What it means that there is no value.
local function no_value(self, waited, kind, why, limit)
  local counts = self.counts
  if kind == "late" then
    self.link:forget(waited.id)
    if now() < limit then return end -- its caller has ended it
    counts.late = counts.late + 1
    if waited.whole and self.health:late() then trouble(self, "timeout") end
  elseif kind == "miss" or kind == "torn" or kind == "other" then
    local name = kind == "torn" and "torn" or "misses"
    counts[name] = counts[name] + 1
    well(self)
  elseif kind == "error" then
    counts.misses = counts.misses + 1
    refused(self, why)
  elseif kind == "nonsense" then
    counts.misses = counts.misses + 1
    trouble(self, "upstream")
  else
    counts.lost = counts.lost + 1
  end
end

--- What is kept under the key, as `levels:get` gives it, and what else is known of it.
---@param call table who asks, and waits
---@param key userdata
---@return string? value, "fresh"|"stale"|nil state, number? age, number? ttl, string[]? tags
function redis:get(call, key)
  if not may_send(self) then
    self.counts.skipped = self.counts.skipped + 1
    return nil
  end
  local began = now()
  local limit = began + self.clock
  local whole = limit <= call.deadline
  if not whole then limit = call.deadline end
  if limit <= began then return nil end
  local waited = setmetatable({ level = self, event = call.loop.event(), whole = whole }, read)
  waited.id = sent(self, waited, self.link:get(key))
  if not waited.id then return nil end
  self:dispatch()
  local value, stored, ttl, tags = await(self, call, key, waited, limit)
  if not value then return no_value(self, waited, stored, ttl, limit) end
  well(self)
  local age, state = judge(self, stored, ttl)
  local name = state == "fresh" and "hits" or state or "misses"
  self.counts[name] = self.counts[name] + 1
  if state then return value, state, age, ttl, tags end
end

-- }========================================================================

-- {== Keeping =============================================================

-- What has come of a write: nil where it was done, else why it was not.
local function hear(level, id)
  local ok, kind, why = level.link:take(id)
  local counts = level.counts
  if ok then
    if kind == "OK" then counts.stored = counts.stored + 1
    elseif type(kind) == "number" then counts.removed = counts.removed + kind end
    if kind == "OK" and level.writes:good() then report(level, "well") end
    well(level)
    return nil
  elseif why == "NOPERM" then -- who we are there may not write: perhaps it may read
    write_trouble(level, why)
  elseif kind == "error" then
    refused(level, why)
  else
    counts.lost = counts.lost + 1
  end
  return why or kind
end

-- Whoever hears of writes: they have no one who waits for them.
local writer = {}

function writer:arrived(level, id) -- luacheck: ignore 212
  if not level.closed and level.link:owned() then hear(level, id) end
end

-- An entry was to be taken out, and is perhaps still there: `settle` says so.
local function not_removed(self, why)
  local code = no_writes[why] and "full" or not_let_in[why] or sentences[why] and why or "upstream"
  self.job_fault = self.job_fault or { code = code,
    message = "redis: removing an entry: " .. (sentences[why] or why) }
end

-- Whoever hears of removals.
local remover = {}

function remover:arrived(level, id) -- luacheck: ignore 212
  if level.closed or not level.link:owned() then return end
  local why = hear(level, id)
  if why then not_removed(level, why) end
end

--- Keeps bytes under the key, some time soon and if it can be done. Nobody waits for it.
---@param key userdata
---@param value string
---@param about table? { ttl = seconds, tags = list of strings, age = seconds }
function redis:set(key, value, about)
  local counts, ttl, age = self.counts, about and about.ttl or self.ttl, about and about.age or 0
  local life = math.min(ttl + self.stale - age, self.most_life)
  if life <= 0 then return end
  if #value + #key > self.most then
    counts.large = counts.large + 1
    return
  end
  local may = may_send(self) and self.writes:may_ask(now())
  local _, bytes = 0, 0
  if may then _, bytes = self.link:look() end
  if not may or bytes + #value + #key > self.queue then
    counts.dropped = counts.dropped + 1
    return
  end
  local id, code = sent(self, writer, self.link:set(key, value, ttl, life, self.wall() - age,
    about and about.tags))
  if code == "invalid" then counts.large = counts.large + 1
  elseif not id then counts.dropped = counts.dropped + 1 end
  self:dispatch()
end

--- Takes the entry out, some time soon and if it can be done.
function redis:delete(key)
  if self.closed then return end
  local id, code = nil, self.fault and self.fault.code or "network"
  if may_send(self) then
    id, code = sent(self, remover, self.link:delete(key))
  else
    self.counts.dropped = self.counts.dropped + 1
  end
  if not id then return not_removed(self, code) end
  self:dispatch()
end

-- }========================================================================

-- {== Removing many, and ending ===========================================

--- Takes all entries out, in the background; with a tag those that have it.
---@param tag string?
---@param on_end function? called when that is over, however it went
function redis:remove_all(tag, on_end)
  if self.closed then return end
  sweep.begin(self, tag, on_end)
  self:dispatch() -- what was refused as it was sent has ended by now, and nothing more comes of it
end

--- A job has ended.
---@param removed integer
---@param fault table? { code =, message = }
function redis:job_done(removed, fault)
  self.jobs = self.jobs - 1
  self.counts.removed = self.counts.removed + removed
  self.job_fault = self.job_fault or fault
end

--- Is something under way?
function redis:is_busy()
  return not self.closed and (self.jobs > 0 or next(self.pending) ~= nil)
end

local function settle(loop, job)
  local self, limit = job.level, loop.now() + job.seconds
  if loop.attend then loop.attend() end
  while self:is_busy() and loop.now() < limit do
    local event = loop.event()
    self.idle[#self.idle + 1] = event
    loop.wait({ event }, limit)
  end
  local fault = self.job_fault
  self.job_fault = nil
  if fault then return nil, fault.message, fault.code end
  if self:is_busy() then return nil, "redis: it takes too long", "timeout" end
  if not self.health:is_well() then return nil, self.fault.message, self.fault.code end
  return true
end

--- Waits, in the loop of whoever calls, until all that was sent has been answered, and all jobs are
--- done.
---@param seconds number at most
---@return boolean? true, string? message, string? code
function redis:settle(seconds)
  return loops.enter(self.loop, settle, { level = self, seconds = seconds })
end

--- Counts, and how it is: `state` is "up", "down" (it is not asked for `rest` seconds) or "refuses"
--- (it takes no writes); `fault` is the last one.
function redis:stats()
  local out = { place = self.place, fault = self.fault }
  for name, n in pairs(self.counts) do out[name] = n end
  out.state = not self.health:is_well() and "down"
    or not self.writes:is_well() and "refuses" or "up"
  out.rest = math.max(self.health:rest(now()), 0)
  out.waiting = self.link:owned() and self.link:look() or 0
  return out
end

--- The client is closed: whoever waits goes on without.
function redis:close()
  if self.closed then return end
  self.closed = true
  self.watch:disarm()
  local lost = self.pending
  self.pending = {}
  wire.ignore(self.ear)
  self.link:close()
  for id, who in pairs(lost) do who:arrived(self, id) end
  for _, event in ipairs(self.idle) do event:set() end
  self.idle = {}
end

-- }========================================================================

return redis
