--- This process's engine, and who waits for which of its transfers.
--
-- An exchange is one request under way: `event` is set when it has news, `take()` gives the news
-- piece by piece (see `e:take` of the core), `close()` ends it. There is one engine per process,
-- made when first needed; after a fork the child gets one of its own, and exchanges of the
-- parent's answer `"end", "closed"` there.
local core = require "unbusy.core"

local wire = {}

local engine          -- of this process, or nil
local exchanges = {}  -- id -> exchange, for those under way

local listeners, listening = {}, 0  -- see `wire.listen`; and how many
local deaf = false                  -- one of them could not be watched

local after_take = nil -- see `wire.host`

local exchange = {} -- { engine, event, secrets, id = of its transfer; false when it is over }
exchange.__index = exchange

-- The process has forked: nothing of the parent's will ever come here.
local function abandon_parents()
  local lost = exchanges
  exchanges = {}
  for _, x in pairs(lost) do
    x.id = false
    x.event:set()
  end
  engine:close()
  engine = nil
end

-- The descriptor that a listener has in this process is watched, now or from the next step on.
local function attach(listener)
  local fd = listener:descriptor()
  if fd and not engine:listen(fd) then deaf = true end
end

local function attach_all()
  deaf = false
  for listener in pairs(listeners) do attach(listener) end
end

--- This process's engine, or nil and a failure.
local function own_engine()
  if engine and not engine:owned() then abandon_parents() end
  if not engine then
    local made, message, code = core.engine()
    if not made then return nil, message, code end
    engine = made
    attach_all()
  end
  return engine
end

-- One of the listeners' descriptors was readable, perhaps: each of them looks.
local function hear()
  for listener in pairs(listeners) do listener:heard() end
  return true
end

-- Sets the event of transfer `id`; false when nobody waits for that.
local function tell(id)
  local x = exchanges[id]
  if x then x.event:set() end
  return x ~= nil
end

-- Sets the events of transfer `id` and of all others that have news; true when there were some.
-- Mostly there is one or none, and no loop is entered, through which LuaJIT would not compile.
local function dispatch_from(id)
  if not id then return false end
  local any = tell(id)
  id = engine:next()
  while id do
    any = tell(id) or any
    id = engine:next()
  end
  return any
end

--- Starts a request. `event` is set whenever there is news.
---@param request table { url, method, headers = {"Name: value", …}, connect, most, …; `secrets`, of
--- `core.secrets`, that the answer's header may repeat }
---@param body string?
---@param event table anything with `set()`
---@return table? exchange, string? message, string? code
function wire.open(request, body, event)
  local e, message, code = own_engine()
  if not e then return nil, message, code end
  local id
  id, message, code = e:submit(request, body)
  if not id then return nil, message, code end
  local x = setmetatable({ engine = e, id = id, event = event, secrets = request.secrets },
    exchange)
  exchanges[id] = x
  dispatch_from(e:next()) -- submitting lets other transfers move too
  return x
end

--- Sets the events of all transfers that have news; true when there were some.
function wire.dispatch()
  return engine ~= nil and dispatch_from(engine:next())
end

-- Lets this process's engine do what is due.
local function step()
  engine:step()
  if deaf then attach_all() end
  if listening > 0 and engine:heard() then hear() end
  wire.dispatch()
end

--- Does what is due, without waiting, and sets the events of all transfers that have news.
function wire.step()
  if engine and not engine:owned() then return abandon_parents() end
  if engine then step() end
end

--- Something outside may have news for us too: `listener:descriptor()` gives a descriptor of this
--- process to watch (or nil), and `listener:heard()` is called when one was readable: it reads it
--- empty, at the latest when it is called. Where it has `listener:busy()`, that says whether
--- something is under way there.
---@param listener table
function wire.listen(listener)
  if not listeners[listener] then listening = listening + 1 end
  listeners[listener] = true
  if engine and engine:owned() then attach(listener) end
end

--- It is not to be told any more.
---@param listener table
function wire.ignore(listener)
  if listeners[listener] then listening = listening - 1 end
  listeners[listener] = nil
  local fd = engine and engine:owned() and listener:descriptor()
  if fd then engine:ignore(fd) end
end

--- For a host that waits for the engine's descriptor itself: the descriptor, or nil and a failure.
--- From now on whatever a taken piece of news has moved is dispatched at once, since this host does
--- not come by before it waits.
---@return integer? descriptor, string? message, string? code
function wire.host()
  local e, message, code = own_engine()
  if not e then return nil, message, code end
  after_take = wire.dispatch
  return e:fd()
end

-- There is no engine yet: one is made where there is to be waited.
local function idle_without(seconds)
  if seconds == nil then return false end
  if seconds == 0 then return true end
  if not own_engine() then return false end
  engine:wait(seconds)
  step()
  return true
end

--- Lets the engine work, waiting at most `seconds` (nil: as long as it takes) for something to
--- do. Gives false when there is nothing it could wait for.
function wire.idle(seconds)
  if not engine then return idle_without(seconds) end
  if not engine:owned() then
    abandon_parents()
    return true
  end
  if dispatch_from(engine:next()) then seconds = 0 end -- a call between two steps brought news
  if seconds == nil and engine:active() == 0 then return false end
  if seconds ~= 0 then engine:wait(seconds) end
  step()
  return true
end

local function over()
  return "end", "closed", "the transfer is over", { phase = "connect" }
end

--- The next piece of news, or nil when there is none now; a good end says no more.
function exchange:take()
  local id = self.id
  if not id then return over() end
  local kind, a, b, c, echoes = self.engine:take(id, self.secrets, true)
  if after_take then after_take() end
  if kind ~= "end" then return kind, a, b, c, echoes end
  if a == "cancelled" then return over() end -- in a forked child: it is the parent's
  exchanges[id], self.id = nil, false
  return kind, a, b, c
end

--- Gives back all that was taken of the body: it comes in one piece with the rest, when it has
--- ended well. So a large one is in no more places than it must be, and wakes nobody on its way.
---@param bytes string
---@return boolean? done
function exchange:gather(bytes)
  if not self.id then return false end
  local done = self.engine:gather(self.id, bytes)
  if after_take then after_take() end
  return done
end

--- Ends the exchange; the server sees its connection or stream closed. May be called twice.
function exchange:close()
  local id = self.id
  if not id then return end
  exchanges[id], self.id = nil, false
  if self.engine:owned() then self.engine:cancel(id) end
  if after_take then after_take() end
end

--- Ends it and wakes whoever waits for it: `take` says "end", "closed".
function exchange:abort()
  self:close()
  self.event:set()
end

--- Is any exchange under way, or something of a listener's?
function wire.busy()
  if next(exchanges) ~= nil then return true end
  for listener in pairs(listeners) do
    if listener.busy and listener:busy() then return true end
  end
  return false
end

--- Is there anything that somebody who waits could hear from the engine?
function wire.expects()
  return next(exchanges) ~= nil or next(listeners) ~= nil
end

--- Exchanges under way.
function wire.active()
  local n = 0
  for _ in pairs(exchanges) do n = n + 1 end
  return n
end

--- Closes the engine when nothing is under way, so that a test can see that nothing is left.
function wire.close_idle()
  if engine and next(exchanges) == nil then
    engine:close()
    engine = nil
  end
end

return wire
