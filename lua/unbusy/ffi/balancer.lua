--- `choose`, `begin` and `report` of the balancer through LuaJIT's FFI.
local ffi = require "unbusy.ffi"

local types = {
  choose = "double (*)(void *, double, double, int, double)",
  begin = "double (*)(void *, double, double)",
  report = "int (*)(void *, double, int, double, double)",
}

local outcomes = { ok = 0, fail = 1, neutral = 2 } -- as ub_balancer_outcome

local MASK_MOST = 2 ^ 52

ffi.install("balancer", types, function(metatable, slow, call)
  local metatable_of, type = debug.getmetatable, type
  local seconds_of, CLOCK = ffi.seconds, ffi.CLOCK
  local slow_choose, slow_begin, slow_report = slow.choose, slow.begin, slow.report
  local c_choose, c_begin, c_report = call.choose, call.begin, call.report

  -- A whole number from 0 on; `otherwise` for nil; nil for all else.
  local function whole(value, otherwise, most)
    if value == nil then return otherwise end
    if type(value) == "number" and value >= 0 and value < most and value % 1 == 0 then
      return value
    end
  end

  local function choose(self, except, key, late, now)
    local mask, hash, at = whole(except, 0, MASK_MOST), whole(key, -1, 2 ^ 53),
      seconds_of(now, CLOCK)
    if metatable_of(self) ~= metatable or not mask or not hash or not at then
      return slow_choose(self, except, key, late, now)
    end
    local place = c_choose(self, mask, hash, late and 1 or 0, at)
    if place > 0 then return place end
    return slow_choose(self, except, key, late, now) -- nobody; it says so
  end

  local function begin(self, place, now)
    local at = seconds_of(now, CLOCK)
    if metatable_of(self) == metatable and whole(place, nil, 2 ^ 53) and at then
      local ticket = c_begin(self, place, at)
      if ticket > 0 then return ticket end
    end
    return slow_begin(self, place, now)
  end

  local function report(self, ticket, outcome, seconds, now)
    local number, took, at = outcomes[outcome], seconds_of(seconds, -1), seconds_of(now, CLOCK)
    if metatable_of(self) ~= metatable or type(ticket) ~= "number" or not number or not took
        or not at then
      return slow_report(self, ticket, outcome, seconds, now)
    end
    return c_report(self, ticket, number, took, at) ~= 0
  end

  return { choose = choose, begin = begin, report = report }
end)
