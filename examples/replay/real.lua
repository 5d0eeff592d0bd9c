--- The same over HTTP: each target is a busy upstream (spec/support/busyd) that does what the
--- piece says, and the calls are made when they are due.
local busyd = require "spec.support.busyd"
local tasks = require "unbusy.loops.tasks"
local unbusy = require "unbusy"

local real = {}

-- {== The servers =========================================================

-- A failure as busyd's programme writes it.
local function answer_of(given)
  return { status = given.status, latency = given.latency, retry_after = given.retry_after }
end

local function fields_of(phase)
  local faults = {}
  for i, fault in ipairs(phase.faults) do
    faults[i] = { share = fault.share, answer = answer_of(fault) }
  end
  return { capacity = phase.capacity or busyd.null, queue = phase.queue,
    queue_sign = phase.queue_sign, keepalive_every = phase.keepalive_every,
    when_full = answer_of(phase.when_full), latency = phase.latency,
    faults = #faults > 0 and faults or busyd.null }
end

--- What a target does, as a programme. It begins when it is set.
---@param target table of a piece
---@param seed integer
function real.programme(target, seed)
  local programme = fields_of(target.phases[1])
  for name, value in pairs(programme) do
    if value == busyd.null then programme[name] = nil end
  end
  programme.seed = seed
  for i = 2, #target.phases do
    local entry = fields_of(target.phases[i])
    entry.at = target.phases[i].at
    programme.schedule = programme.schedule or {}
    table.insert(programme.schedule, entry)
  end
  return programme
end

local function start_all(made)
  local servers = {}
  local ok, message = pcall(function()
    for i in ipairs(made.targets) do servers[i] = busyd.start { workers = 1 } end
  end)
  return servers, not ok and message or nil
end

-- }========================================================================

-- {== The calls ===========================================================

local function ask(self, i, due)
  self.late = math.max(self.late, self.loop.now() - due)
  local reply, _, code = self.client:chat({ model = "m",
    messages = { { role = "user", content = "question " .. i } } }, { deadline = self.deadline })
  if reply and reply.source == "upstream" then
    self.answered = self.answered + 1
  else
    local why = code or reply.source
    self.failures[why] = (self.failures[why] or 0) + 1
  end
end

local function loop_of_this_task()
  return tasks.enter(function(loop) return loop end)
end

-- Makes every call when it is due, and waits for the last to end.
local function make_calls(self, calls)
  self.loop = loop_of_this_task()
  local began, asking = self.loop.now(), {}
  for i = 1, calls.n do
    local due = began + calls.at[i]
    local wait = due - self.loop.now()
    if wait > 0 then self.loop.sleep(wait) end
    asking[i] = unbusy.spawn(ask, self, i, due)
  end
  for _, task in ipairs(asking) do task:join() end
end

-- }========================================================================

local function measure(made, options, calls, servers)
  for i, server in ipairs(servers) do
    options.targets[i].url, options.targets[i].proxy = server.url, false
  end
  local self = { client = unbusy.new(options), answered = 0, failures = {}, late = 0,
    deadline = made.calls.deadline }
  for i, server in ipairs(servers) do
    server:programme(real.programme(made.targets[i], made.seed + i))
  end
  unbusy.run(make_calls, self, calls)
  self.client:close()
  local received = 0
  for _, server in ipairs(servers) do received = received + server:settled_counts().received end
  return { availability = self.answered / calls.n, calls_each = received / calls.n,
    failures = self.failures, late = self.late }
end

--- Makes the calls of a piece over HTTP.
---@param made table a piece
---@param options table of `piece.options`; its URLs are set here
---@param calls table of `unbusy.simulate.run`'s `calls`
---@return table result { availability =, calls_each =, failures = code -> how many, late = seconds
--- that a call was made behind its time, at most }
function real.run(made, options, calls)
  local servers, message = start_all(made)
  local ok, result = true, nil
  if not message then ok, result = pcall(measure, made, options, calls, servers) end
  for _, server in ipairs(servers) do server:stop() end
  if message then error(message, 0) end
  if not ok then error(result, 0) end
  return result
end

return real
