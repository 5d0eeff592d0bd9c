--- `allow`, `started` and `report` of the limiter through LuaJIT's FFI.
local ffi = require "unbusy.ffi"

local types = {
  allow = "double (*)(void *, double)",
  started = "int (*)(void *, double, double, double)",
  report = "int (*)(void *, double, int, double, double)",
}

local outcomes = { ok = 0, fail = 1, neutral = 2 } -- as ub_limiter_outcome

ffi.install("limiter", types, function(metatable, slow, call)
  local metatable_of, type = debug.getmetatable, type
  local seconds_of, CLOCK = ffi.seconds, ffi.CLOCK
  local slow_allow, slow_started, slow_report = slow.allow, slow.started, slow.report
  local c_allow, c_started, c_report = call.allow, call.started, call.report
  local message = ffi.message("limiter", "full")

  local function allow(self, now)
    local at = seconds_of(now, CLOCK)
    if metatable_of(self) ~= metatable or not at then return slow_allow(self, now) end
    local ticket = c_allow(self, at)
    if ticket > 0 then return ticket end
    local wait = -ticket -- NaN: only a report makes room
    return nil, message, "full", { retry_after = wait == wait and wait or nil }
  end

  local function started(self, ticket, seconds, now)
    local took, at = seconds_of(seconds), seconds_of(now, CLOCK)
    if metatable_of(self) ~= metatable or type(ticket) ~= "number" or not took or not at then
      return slow_started(self, ticket, seconds, now)
    end
    return c_started(self, ticket, took, at) ~= 0
  end

  local function report(self, ticket, outcome, seconds, now)
    local number, took, at = outcomes[outcome], seconds_of(seconds, -1), seconds_of(now, CLOCK)
    if metatable_of(self) ~= metatable or type(ticket) ~= "number" or not number or not took
        or not at then
      return slow_report(self, ticket, outcome, seconds, now)
    end
    return c_report(self, ticket, number, took, at) ~= 0
  end

  return { allow = allow, started = started, report = report }
end)
