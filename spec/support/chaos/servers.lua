--- Servers of a run of chaos: each has so many places, and a weather that changes.
--
--     request ──► places left? ──► what comes of it, by the weather: an answer, whole or in pieces,
--                   └─ no: 503       or one of a dozen troubles
--
-- They look at what reaches them, as a provider would: whose key it is, how many calls of one
-- account and model are open at once, and how many there were in a minute; and what was asked for
-- and never fetched or called off is found at the end.
local words = require "spec.support.chaos.words"

local servers = {}
servers.__index = servers

-- {== Exchanges ===========================================================

local exchange = {}
exchange.__index = exchange

-- It takes no place and no call is open any more.
local function over(x)
  if x.is_over then return end
  local server = x.server
  x.is_over = true
  server.open = server.open - 1
  server.all:count(server.account, x.model, -1)
end

-- Gives what is due by now, and comes back for the rest.
function exchange:act(now)
  local plan, i = self.plan, self.given
  repeat i = i + 1 until not plan[i + 1] or plan[i + 1][1] > 0
  self.given = i
  if plan[i + 1] then self.server.all.world:at(now + plan[i + 1][1], self) end
  self.event:set()
end

function exchange:take()
  if self.closed then return "end", "closed", "the transfer is over", { phase = "connect" } end
  local i = self.taken + 1
  if i > self.given then return nil end
  self.taken = i
  local item = self.plan[i]
  if item[2] == "end" then
    self.closed = true
    over(self)
  end
  return item[2], item[3], item[4], item[5], false
end

function exchange:close()
  if self.closed then return end
  self.closed = true
  self.server.all.world:cancel(self)
  over(self)
end

function exchange:abort()
  self:close()
  self.event:set()
end

-- }========================================================================

-- {== What comes of a request: a plan, { seconds after the last, what, … } =

local JSON = { ["content-type"] = "application/json" }
local EVENTS = { ["content-type"] = "text/event-stream" }
local GOOD_END = { 0, "end" }
local RESET = { 0, "end", "network", "reset by the server", { phase = "body" } }
local ALIVE = { 0.5, "data", ": keep-alive\n\n" }
local BLANK = { 0.5, "data", "\n" }

local function refusal(after, status, headers, text)
  return { { after, "head", status, headers or JSON }, { 0, "data", text or "{}" }, GOOD_END }
end

local function answer(server, x, after, say)
  local now = server.all.world.now() + after
  local plan = { { after, "head", 200, x.streams and EVENTS or JSON } }
  if not x.streams then
    plan[2] = { 0, "data", words.whole(x.kind, x.asked, x.body, say, now) }
  else
    local gap = server.weather.gap
    for _, event in ipairs(words.events(x.kind, x.asked, x.body, say, now)) do
      plan[#plan + 1] = { gap, "data", event }
    end
  end
  plan[#plan + 1] = GOOD_END
  return plan
end

local fates = {}

function fates.good(server, x, after)
  return answer(server, x, after, words.good)
end

-- Those of the edge alone: others are not judged.
function fates.weak(server, x, after)
  local is_weak = server.name:find "^e" and not words.goes_on(x.body)
  return answer(server, x, after, is_weak and words.weak or words.good)
end

function fates.busy() return refusal(0.01, 503) end

function fates.busy_for(server)
  return refusal(0.01, 503, { ["retry-after"] = tostring(server.all.r:int(2)) })
end

function fates.limited(server)
  return refusal(0.01, 429, { ["retry-after"] = server.all.r:pick { "0.2", "1" } })
end

function fates.busy_body()
  return refusal(0.05, 200, JSON,
    '{"error":{"message":"The server is busy, please try again later"}}')
end

function fates.broken() return refusal(0.02, 500, nil, "oops") end

function fates.refused() return refusal(0.01, 400, nil, '{"error":{"message":"no"}}') end

function fates.garbage() return refusal(0.02, 200, nil, "<html>") end

function fates.empty() return { { 0.02, "head", 200, JSON }, GOOD_END } end

function fates.lost()
  return { { 0.01, "end", "network", "gone", { phase = "connect" } } }
end

function fates.silent() return { { 1000, "end", "network", "gone", { phase = "headers" } } } end

function fates.stalls(_, x)
  return { { 0.05, "head", 200, x.streams and EVENTS or JSON },
    { 1000, "end", "network", "gone", { phase = "body" } } }
end

function fates.late(server, x, after)
  return answer(server, x, after * 20, words.good)
end

-- It breaks off within what it says.
function fates.cut(server, x, after)
  local plan, r = answer(server, x, after, words.good), server.all.r
  local last = 1 + r:int(#plan - 2)
  for i = #plan, last + 1, -1 do plan[i] = nil end
  plan[last] = { plan[last][1], "data", plan[last][3]:sub(1, r:int(#plan[last][3]) - 1) }
  plan[last + 1] = RESET
  if plan[last][3] == "" then table.remove(plan, last) end
  return plan
end

-- It stands in the server's queue first.
function fates.queued(server, x, after)
  local plan, n = answer(server, x, after, words.good), server.all.r:int(5)
  for _ = 1, n do table.insert(plan, 2, x.streams and ALIVE or BLANK) end
  return plan
end

function fates.headers(server, x, after)
  local plan = answer(server, x, after, words.good)
  plan[1][4] = { ["content-type"] = plan[1][4]["content-type"],
    ["x-ratelimit-limit-requests"] = "60000", ["x-ratelimit-remaining-requests"] = "20",
    ["x-ratelimit-reset-requests"] = "1s" }
  return plan
end

-- }========================================================================

-- {== The weather =========================================================

local fair = { good = 93, weak = 2, busy = 1, broken = 0.5, cut = 1, queued = 1, late = 0.5,
  headers = 0.5, refused = 0.5 }

-- Name -> { shares of fates, places, seconds of an answer, and between the pieces of a stream }.
local weathers = {
  { fair, 400, 0.1, 0.01 }, { fair, 1000, 0.05, 0 }, { fair, 60, 0.2, 0.05 }, { fair, 8, 0.3, 0 },
  { { good = 40, busy = 30, busy_for = 10, limited = 10, busy_body = 10 }, 200, 0.1, 0.01 },
  { { good = 50, broken = 15, lost = 15, garbage = 10, empty = 10 }, 200, 0.1, 0.01 },
  { { good = 60, cut = 30, stalls = 5, late = 5 }, 200, 0.2, 0.02 },
  { { good = 50, queued = 40, silent = 10 }, 100, 0.2, 0.02 },
  { { good = 60, weak = 40 }, 300, 0.1, 0 },
  { { lost = 100 }, 1, 0, 0 }, { { busy = 60, limited = 40 }, 1, 0, 0 },
  { { silent = 50, stalls = 20, broken = 30 }, 50, 0.1, 0 },
}

local function ready(weather)
  local names, sum = {}, 0
  for name in pairs(weather[1]) do names[#names + 1] = name end
  table.sort(names)
  local sums = {}
  for i, name in ipairs(names) do
    sum = sum + weather[1][name]
    sums[i] = sum
  end
  return { names = names, sums = sums, sum = sum, places = weather[2], seconds = weather[3],
    gap = weather[4] }
end

for i, weather in ipairs(weathers) do weathers[i] = ready(weather) end

local CALM = ready { { good = 100 }, 1000, 0.05, 0 }
local FAIR = 4 -- of the list, from its beginning

local function fate_of(weather, r)
  local u = r:float() * weather.sum
  for i, sum in ipairs(weather.sums) do
    if u < sum then return fates[weather.names[i]] end
  end
  return fates.good
end

local function change(server, now)
  local r, all = server.all.r, server.all
  server.weather = weathers[r:int(r:chance(0.8) and FAIR or #weathers)]
  all.world:at(now + r:float() * 2 * all.spell, server)
end

-- }========================================================================

-- {== What they see =======================================================

local function complain(all, text, ...)
  all.faults[#all.faults + 1] = ("at %.3f s: " .. text):format(all.world.now(), ...)
end

--- So many more calls of the account are open for the model.
function servers:count(account, model, by)
  local open = self.open_of[account]
  open[model] = (open[model] or 0) + by
end

local function check_key(server, request)
  for _, line in ipairs(request.headers) do
    local key = line:lower():match "^authorization:%s*bearer (.*)$"
    if key then
      if key == "key-of-" .. server.name then return end
      return complain(server.all, "%s got %s", server.name, key)
    end
  end
  complain(server.all, "%s: no key", server.name)
end

local kinds = { ["/chat/completions"] = "chat", ["/completions"] = "complete",
  ["/embeddings"] = "embed" }

local function open(self, request, body)
  local host, path = request.url:match "^http://(%w+)%.test/v1(/[^?]*)"
  local server = self.by_name[host]
  local asked = words.read(body)
  local x = setmetatable({ server = server, event = self.world.loop.event(), kind = kinds[path],
    asked = asked, streams = asked.streams, model = asked.model, body = body, plan = false,
    given = 0, taken = 0, closed = false, is_over = false, due = nil }, exchange)
  self.requests, server.open = self.requests + 1, server.open + 1
  check_key(server, request)
  self:count(server.account, x.model, 1)
  self.look(server, x, self.open_of[server.account][x.model])
  local weather, r = server.weather, self.r
  if server.open > weather.places then
    x.plan = fates.busy()
  else
    local after = weather.seconds * (0.5 + r:float())
    x.plan = fate_of(weather, r)(server, x, after)
  end
  self.world:at(self.world.now() + x.plan[1][1], x)
  x.body = false
  return x
end

-- }========================================================================

--- Servers of those names; `open(request, body)` is what the loop asks. The world is set later.
---@param list table[] { name =, account = }
---@param o table { r = chance, spell = mean seconds of a weather, look = fun(server, exchange,
--- open) called at each request with the calls of its account and model that are open }
function servers.new(list, o)
  local self = setmetatable({ r = o.r, spell = o.spell, look = o.look, by_name = {}, list = {},
    open_of = {}, requests = 0, faults = {}, world = false }, servers)
  for i, given in ipairs(list) do
    local server = { all = self, name = given.name, account = given.account, open = 0, act = change,
      weather = weathers[1] }
    self.list[i], self.by_name[given.name] = server, server
    self.open_of[given.account] = self.open_of[given.account] or {}
  end
  self.open = function(request, body) return open(self, request, body) end
  return self
end

--- They live in this world from now on.
function servers:begin(world)
  self.world = world
  for _, server in ipairs(self.list) do change(server, world.now()) end
end

--- The weather stays as it is, and all is well.
function servers:calm()
  for _, server in ipairs(self.list) do
    self.world:cancel(server)
    server.weather = CALM
  end
end

--- Calls that are open.
function servers:still_open()
  local n = 0
  for _, server in ipairs(self.list) do n = n + server.open end
  return n
end

return servers
