--- Ends calls from outside.
--
--     local c = unbusy.canceller()
--     client:chat(request, { cancel = c })  -- any number of calls, of any clients
--     c:cancel()          -- from any coroutine: each of them fails with "cancelled"
--
-- A call that is waiting, asleep or reading ends at once, its upstream transfer too; one that is
-- begun afterwards fails before anything is sent.
local call = require "unbusy.call"

---@class unbusy.canceller
local canceller = {}
canceller.__index = canceller
canceller.__name = "unbusy.canceller"

--- Makes a canceller.
---@return unbusy.canceller
function canceller.new()
  local self = setmetatable({ cancelled = false, calls = {} }, canceller)
  return self -- no tail call: see `unbusy.clock`
end

--- Is the value a canceller?
---@param value any
---@return boolean
function canceller.is(value)
  return getmetatable(value) == canceller
end

--- A call begins; it is held here until it has ended.
---@param c table
---@package
function canceller:add(c)
  self.calls[c] = true
end

--- A call has ended.
---@param c table
---@package
function canceller:remove(c)
  self.calls[c] = nil
end

--- Ends all calls that have this canceller, now and from now on. May be called twice.
function canceller:cancel()
  if self.cancelled then return end
  self.cancelled = true
  local calls = self.calls
  self.calls = {}
  call.abort_all(calls, "cancelled")
end

return canceller
