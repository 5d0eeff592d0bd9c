-- Prints what comes of right and wrong uses of the methods that the FFI may serve, for ffi_spec.lua
-- to compare: each use alone, and as the last of many right ones (compiled by then, on LuaJIT).
-- First word of a line: the use's number. Times are given, so that all runs print the same; only an
-- argument left out is "no value" to a C method and nil to one in Lua.
local breaker = require "unbusy.breaker"
local budget = require "unbusy.budget"
local core = require "unbusy.core"
require "unbusy.limiter"
local options = require "unbusy.options"
local sse = require "unbusy.sse"

local HOT = 300

local function breaker_at_0(given)
  local o = options.check(breaker.schema, given, "breaker")
  o.min_calls = o.min_calls or 20
  return core.breaker(o, 0)
end

local function limiter_at_0(initial)
  return core.limiter({ initial = initial, min = 1, max = 100, ratio = 0.9 }, 0)
end

local function balancer_at_0()
  return core.balancer { kind = "p2c", decay = 10, hold = 5, slots = 100, seed = 1, targets = {
    { name = "a", weight = 1, priority = 1 }, { name = "b", weight = 2, priority = 1 } } }
end

local function show(value)
  if type(value) == "table" then
    local out = {}
    for k, v in pairs(value) do out[#out + 1] = tostring(k) .. "=" .. show(v) end
    table.sort(out)
    return "{" .. table.concat(out, " ") .. "}"
  end
  return type(value) == "number" and ("%.17g"):format(value)
    or (tostring(value):gsub("got no value", "got nil"))
end

local number = 0

local function tell(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = show((select(i, ...))) end
  print(number, table.concat(out, "\t"))
end

local function try(use, ...)
  number = number + 1
  tell(pcall(use, ...))
end

local b, l, p, g = breaker_at_0 { seed = 1 }, limiter_at_0(50), sse.new {}, budget.new {}
local proxy = newproxy and newproxy(true) -- luacheck: ignore 113
if proxy then
  getmetatable(proxy).__index = getmetatable(b)
  getmetatable(proxy).__metatable = getmetatable(b)
end

local strangers = {
  false, 0, "b", {}, setmetatable({}, { __index = b, __metatable = false }), print, io.stdout,
  coroutine.create(print), proxy or io.stdout, b, l, p, g, (core.backoff { kind = "constant",
    base = 1, factor = 1, cap = 1, jitter = 0 }),
}

-- {== Wrong objects =======================================================

local function ask(method, self) local a, c = method(self, 1) return a, c end
local function tell_ok(method, self) local a = method(self, 1, "ok", 0.5, 1) return a end
local function start(method, self) local a = method(self, 1, 0.5, 1) return a end
local function begin(method, self) return method(self) end
local function finish(method, self) local a = method(self, "ok") return a end
local function feed(method, self) local a, c = method(self, "data: x\n\n") return a, c end

local function mixed(use, method, self, stranger)
  local object, fine, message = self, nil, nil
  for i = 1, HOT do
    if i == HOT then object = stranger end
    fine, message = pcall(use, method, object)
  end
  return fine, message
end

local bal = balancer_at_0()
local function choose(method, self) local a = method(self, nil, nil, true, 1) return a end

for _, case in ipairs { { choose, bal, "choose" }, { tell_ok, bal, "report" },
  { ask, b, "allow" }, { tell_ok, b, "report" }, { ask, l, "allow" },
  { tell_ok, l, "report" }, { start, l, "started" }, { feed, p, "feed" }, { begin, g, "begin" },
  { finish, g, "finish" } } do
  local use, self, method = case[1], case[2], case[2][case[3]]
  try(use, method, nil)
  try(mixed, use, method, self, nil)
  for _, stranger in ipairs(strangers) do
    if stranger ~= self then
      try(use, method, stranger)
      try(mixed, use, method, self, stranger)
    end
  end
end

-- }========================================================================

-- {== Wrong arguments =====================================================

local nan = 0 / 0

-- The times a part may be given.
for _, now in ipairs { nan, "x", "7", {}, true, 1 / 0, -1 / 0, -5, 1e300, 0.1234567 } do
  local fresh, other = breaker_at_0 { seed = 1 }, limiter_at_0(50)
  try(function() local t = fresh:allow(now) return t end)
  try(function() local t = other:allow(now) return t end)
  try(function() local r = fresh:report(65536, "ok", nil, now) return r, fresh:stats(1) end)
  try(function() local r = other:report(65536, "ok", nil, now) return r, other:stats(1) end)
end

local function report_in_turn(make, ...)
  local o = make()
  for _ = 1, HOT do o:report(o:allow(2), "ok", 0.1, 2) end
  o:allow(2)
  local ok, got = pcall(o.report, o, ...)
  return ok, got, o:stats(3)
end

local first = HOT + 1 -- of one slot in use at a time: its ticket's sequence
for _, make in ipairs { function() return breaker_at_0 { seed = 1 } end,
  function() return limiter_at_0(50) end } do
  for _, ticket in ipairs { first * 65536, tostring(first * 65536), 1, 0, -1, 1.5, nan, 1 / 0,
    1e300, 2 ^ 53, "x", {}, false, print } do
    try(report_in_turn, make, ticket, "ok", 0.1, 2)
    try(report_in_turn, make, ticket, "fail", 0.1, 2)
  end
  for _, word in ipairs { "ok", "fail", "neutral", "busy", "OK", "", "ok\0", 1, 0, {}, false } do
    try(report_in_turn, make, first * 65536, word, 0.1, 2)
  end
  try(report_in_turn, make)
  try(report_in_turn, make, first * 65536)
  for _, seconds in ipairs { nan, "0.5", "x", {}, true, -1, 0, 1e300, 1 / 0, -1 / 0, 1e-9 } do
    try(report_in_turn, make, first * 65536, "ok", seconds, 2)
  end
  try(report_in_turn, make, first * 65536, "ok", nil, 2)
  try(report_in_turn, make, first * 65536, "ok", 0.1, nan)
end

local function start_in_turn(...)
  local o = limiter_at_0(50)
  for _ = 1, HOT do
    local ticket = o:allow(2)
    o:started(ticket, 0.1, 2)
    o:report(ticket, "ok", 0.1, 2)
  end
  o:allow(2)
  local ok, got = pcall(o.started, o, ...)
  return ok, got, o:stats(3)
end

for _, ticket in ipairs { first * 65536, tostring(first * 65536), 1, 0, -1, 1.5, nan, "x", {} } do
  for _, seconds in ipairs { 0.1, -1, nan, "0.5", "x", {}, 1 / 0 } do
    try(start_in_turn, ticket, seconds, 2)
  end
end
try(start_in_turn, first * 65536, nil, 2)
try(start_in_turn, first * 65536, 0.1, nan)

for _, word in ipairs { "ok", "fail", "OK", "", "neutral", 1, {}, false } do
  g:begin()
  try(function() local was = g:finish(word) return was, g:stats() end)
end
try(function() local was = g:finish() return was end)
for _ = 1, 20 do try(function() local was = g:finish "ok" return was, g:stats() end) end

for _, bytes in ipairs { 5, {}, false, "", "data: x\n\n", ": c\n",
  "data: x\0y\nid: 7\nretry: 5\n\n" } do
  try(function() local got, message = p:feed(bytes) return got, message end)
end
try(function() local got = p:feed() return got end)

-- The balancer.
local function choices(...)
  local own = balancer_at_0()
  for _ = 1, HOT do own:report(own:begin(own:choose(nil, nil, false, 2), 2), "ok", 0.1, 2) end
  local ok, place, message, code = pcall(own.choose, own, ...)
  return ok, place, message, code, own:stats(3)
end
for _, except in ipairs { 0, 1, 2, 3, 4, -1, 0.5, 2 ^ 52, nan, 1 / 0, "1", "x", true, { a = true },
  { a = true, b = true }, { c = true } } do
  try(choices, except, nil, false, 2)
  try(choices, nil, except, true, 2)
end
for _, now in ipairs { nan, "x", {}, -5, 1e300 } do try(choices, 0, 7, true, now) end
for _, place in ipairs { 1, 2, 3, 0, -1, 1.5, nan, 1e300, "2", "x", {}, false } do
  try(function()
    local own = balancer_at_0()
    for _ = 1, HOT do own:report(own:begin(1, 2), "ok", 0.1, 2) end
    local ok, ticket = pcall(own.begin, own, place, 2)
    return ok, ticket, own:stats(3)
  end)
end
for _, ticket in ipairs { 65536, 65537, 0, -1, 1.5, nan, "65536", "x", {} } do
  for _, outcome in ipairs { "ok", "fail", "neutral", "busy", 1 } do
    try(function()
      local own = balancer_at_0()
      own:begin(1, 1)
      local ok, was = pcall(own.report, own, ticket, outcome, 0.25, 2)
      return ok, was, own:stats(3)
    end)
  end
end
for _, seconds in ipairs { nan, "0.5", "x", -1, 0, 1e300, 1 / 0 } do
  try(function()
    local own = balancer_at_0()
    local ok, was = pcall(own.report, own, own:begin(1, 1), "ok", seconds, 2)
    return ok, was, own:stats(3)
  end)
end

-- }========================================================================

-- {== Refusals and failures ===============================================

local function refusals(o, now)
  local ticket, message, code, detail
  for _ = 1, HOT do ticket, message, code, detail = o:allow(now) end
  return ticket, message, code, detail, o:stats(now)
end

for _, force in ipairs { { "open", 3 }, { "forced_open", 3 }, { "forced_open" }, { "disabled" } } do
  b:force(force[1], force[2], 10)
  try(refusals, b, 11)
end
b:force("open", 1, 20)
try(refusals, b, 21.5) -- half-open, the one probe out

local full = limiter_at_0(2)
try(refusals, full, 1) -- only a report makes room
full:report(65536, "fail", 0.1, 1)
try(refusals, full, 1.05) -- one rests
full:freeze(10, 2)
full:restore(3)
try(refusals, full, 3.5) -- the ramp

local small = sse.new { limit = 10 }
try(function() return small:feed "data: 1\n\ndata: 0123456789a\n\n" end)
for _ = 1, 2 do try(function() return small:feed "data: 1\n\n" end) end
p:finish()
try(function()
  local got, message, code
  for _ = 1, HOT do got, message, code = p:feed "data: x\n\n" end
  return got, message, code
end)

-- }========================================================================
