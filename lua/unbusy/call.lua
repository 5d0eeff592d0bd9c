--- One call of a client, from the request to its end.
--
-- A call carries the request, its deadline, the loop it runs in, its tries, and what it holds (a
-- place at a target, an exchange, a turn in the waiting line). Whatever way it ends,
-- `call:finish` gives all of that back.
local call = {}
call.__index = call

local priorities = { interactive = 1, normal = 2, batch = 3 }
call.priorities = priorities

local order = 0 -- of arrival, over all clients

--- A call that is about to begin.
---@param client table
---@param kind "chat"|"complete"|"embed"|"post"
---@param request any the body
---@param given table checked options of the call
function call.new(client, kind, request, given)
  order = order + 1
  return setmetatable({
    client = client, kind = kind, request = request, options = given, order = order,
    model = type(request) == "table" and request.model or nil,
    priority = priorities[given.priority or "normal"], streaming = given.streaming or false,
    path = given.path, tries = {}, ruled_out = {}, held = {}, queued = 0, state = "new",
  }, call)
end

--- The call begins: its clock runs from here.
function call:begin(loop)
  local clocks = self.client.clocks
  self.loop, self.started = loop, loop.now()
  self.clocks = self.options.clocks or clocks
  local seconds = math.min(self.options.deadline or self.clocks.total, self.clocks.total)
  self.short = seconds < clocks.total -- the caller's own limit: no fault of a target's
  self.deadline = self.started + seconds
  self.state = "running"
end

--- Tells the client's watcher; never the prompt, the answer or a key.
function call:emit(kind, fields)
  local watch = self.client.on_event
  if not watch then return end
  fields.type, fields.call, fields.at = kind, self.order, self.loop and self.loop.now()
  if not pcall(watch, fields) then self.client.event_faults = self.client.event_faults + 1 end
end

--- Something that must be closed when the call ends early.
function call:hold(thing)
  self.held[#self.held + 1] = thing
end

--- It is in other hands now.
function call:release(thing)
  for i = #self.held, 1, -1 do
    if self.held[i] == thing then
      table.remove(self.held, i)
      return
    end
  end
end

--- Did the caller set this clock shorter than the client's own?
---@param clock "total"|"headers"|"start"|"token"
function call:shortened(clock)
  if clock == "total" then return self.short end
  local given = self.options.given_clocks
  return given ~= nil and given[clock] ~= nil and given[clock] < self.client.clocks[clock]
end

--- Sleeps, unless the client is closed meanwhile.
function call:sleep(seconds)
  local nap = self.loop.event()
  local guard = { close = function() end, abort = function() nap:set() end }
  self:hold(guard)
  self.loop.wait({ nap }, self.loop.now() + seconds)
  self:release(guard)
end

--- Is there time to wait `seconds` and still try?
function call:can_wait(seconds)
  return self.loop.now() + seconds < self.deadline
end

--- A try begins at the place that was given.
---@return table try
function call:begin_try(place)
  local try = {
    number = #self.tries + 1, target = place.target.name, account = place.target.account_name,
    model = place.model, began = self.loop.now(), keep_alives = 0,
  }
  self.tries[try.number] = try
  self:emit("try", { target = try.target, number = try.number, model = try.model })
  return try
end

--- Completes a failure's detail with what the call knows.
function call:detail(detail)
  detail = detail or {}
  detail.tries = #self.tries
  return detail
end

--- The client is closed: what the call waits for fails, and so it ends soon.
function call:abort()
  for i = #self.held, 1, -1 do
    local thing = self.held[i]
    if thing.abort then thing:abort() end
  end
end

--- The end, once: closes what is still held, latest first.
function call:finish()
  if self.state == "ended" then return end
  self.state = "ended"
  for i = #self.held, 1, -1 do
    local thing = self.held[i]
    self.held[i] = nil
    thing:close()
  end
  self.client:forget(self)
end

return call
