--- Simulated time: the same tasks, and a clock that jumps to the next deadline.
--
--     local loop = virtual.new { serve = function(request, answer, loop) … end }
--     local client = unbusy.new { loop = loop, targets = … }
--     local reply = loop.run(function() return client:chat(…) end)
--
-- There is no network: each request is handed to `serve`, which runs as a task of its own, may
-- sleep, and answers by `answer:head(status, headers)`, `answer:data(bytes)` and
-- `answer:finish(code, message)`; what it does not finish is finished when it returns.
-- `answer.closed` says that the caller has gone.
--
-- Where a task for each request is too dear, `open(request, body)` gives the exchange itself
-- (`event`, `take`, `close` and `abort`, as those here), and a `world` of its own moves without
-- tasks: when its next time has come, it is told, and may set events of exchanges and of tasks.
local scheduler = require "unbusy.loops.scheduler"

local virtual = {}

-- {== Exchanges without a wire ============================================

local exchange = {}
exchange.__index = exchange

local function add(self, ...)
  if self.closed or self.finished then return false end
  self.last = self.last + 1
  self.news[self.last] = { ... }
  self.event:set()
  return true
end

function exchange:head(status, headers)
  return add(self, "head", status, headers or {})
end

function exchange:data(bytes)
  if bytes == "" then return not (self.closed or self.finished) end -- no wire brings nothing
  return add(self, "data", bytes)
end

function exchange:finish(code, message, phase)
  local told = add(self, "end", code, message, { phase = phase or "body" })
  self.finished = true
  return told
end

function exchange:take()
  if self.done then return "end", "closed", "the transfer is over", { phase = "connect" } end
  local item = self.news[self.first]
  if not item then return nil end
  self.news[self.first] = nil
  self.first = self.first + 1
  self.done = item[1] == "end"
  return item[1], item[2], item[3], item[4]
end

function exchange:close()
  self.closed, self.done = true, true
end

function exchange:abort()
  self:close()
  self.event:set()
end

-- A request of its own for the server, with the body in it.
local function with_body(request, body)
  if body == nil then return request end
  local out = { body = body }
  for name, value in pairs(request) do out[name] = value end
  return out
end

local function open(loop, serve, request, body)
  local x = setmetatable({ event = scheduler.event(), news = {}, first = 1, last = 0 }, exchange)
  loop.spawn(function()
    serve(with_body(request, body), x, loop)
    if not x.finished then x:finish() end
  end)
  return x
end

-- }========================================================================

--- A loop of its own with its own time.
---@param given table? { start = seconds (0); serve = function(request, answer, loop), or
--- open = function(request, body): exchange; world = { next = function(self): seconds? of what it
--- does next, step = function(self, now) that does what is due }; wall = Unix seconds at the start
--- (0), random = function giving a number in [0, 1): what scripts go by }
function virtual.new(given)
  given = given or {}
  local start, world = given.start or 0, given.world
  local time, wall = start, given.wall or 0
  local function idle(seconds)
    local at = world and world:next()
    if at and (seconds == nil or at <= time + seconds) then
      time = math.max(time, at)
      world:step(time)
      return true
    end
    if seconds == nil then return false end
    time = time + seconds
    return true
  end
  local s = scheduler.new { now = function() return time end, idle = idle }
  local loop = { name = "virtual", now = s.now, random = given.random }
  function loop.wall() return wall + time - start end
  loop.event, loop.cancel = scheduler.event, scheduler.cancel
  function loop.sleep(seconds) return s:sleep(seconds) end
  function loop.wait(events, deadline) return s:wait(events, deadline) end
  function loop.spawn(f, ...) return s:spawn(f, ...) end
  function loop.nurse(f) return s:nurse(f) end
  function loop.lonely() return s:is_lonely() end
  local function is_inside()
    local task = scheduler.current()
    return task and task.scheduler == s
  end
  function loop.run(f, ...)
    if is_inside() then return f(...) end
    return s:run_all(f, ...)
  end
  loop.open = given.open
    or function(request, body) return open(loop, given.serve, request, body) end
  function loop.enter(f, value)
    local task = is_inside() and scheduler.current()
    if not task then return s:run_one(f, loop, value) end
    if task.told then scheduler.pass(task) end
    return f(loop, value)
  end
  return loop
end

return virtual
