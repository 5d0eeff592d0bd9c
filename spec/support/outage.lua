--- A client meets modelled servers in simulated time: for specs of what a policy is good for.
--
--     local seen = outage.run {
--       seed = 1, policy = "interactive",
--       servers = { { name = "main", phases = { { capacity = 20, latency = 1 },
--         { at = 60, latency = 6 } } } },
--       calls = { { rate = 5, from = 0, to = 300, deadline = 30, priority = "batch" } },
--     }
--     seen.answered, seen.mean, seen.servers.main.received
--
-- A server's phases are those of a trace (see `unbusy.simulate.schema`); `options` and a server's
-- `target` are those of the client. Calls of one kind have a `name` under which they are counted;
-- their questions begin with `words`.
local chance = require "unbusy.simulate.chance"
local simulated = require "unbusy.simulate.world"
local trace = require "unbusy.simulate.trace"
local unbusy = require "unbusy"
local upstream = require "unbusy.simulate.upstream"

local outage = {}

local USAGE = { prompt_tokens = 200, completion_tokens = 300 }

-- {== The servers and the client ==========================================

local function declared(servers)
  local made = trace.new "spec"
  for _, server in ipairs(servers) do
    for i, phase in ipairs(server.phases) do
      local line = { target = server.name }
      for name, value in pairs(phase) do line[name] = value end
      if i == 1 then line.price = server.target and server.target.price end
      assert(not trace.declare(made, line))
    end
  end
  return made
end

local function streams(request)
  for _, line in ipairs(request.headers) do
    if line == "accept: text/event-stream" then return true end
  end
  return false
end

local function open_of(ups)
  return function(request, body)
    local name = request.url:match "^http://([^./]+)"
    return ups[name]:open({ upstream = ups[name], kind = "chat", streams = streams(request) }, body)
  end
end

local function targets_of(servers)
  local out = {}
  for i, server in ipairs(servers) do
    local t = { name = server.name, url = ("http://%s.invalid/v1"):format(server.name), key = "k" }
    for name, value in pairs(server.target or {}) do t[name] = value end
    out[i] = t
  end
  return out
end

local function build(given)
  local ups, made = {}, declared(given.servers)
  local w = simulated.new(open_of(ups), { wall = given.wall,
    random = chance.stream(given.seed, "policy") })
  for i, server in ipairs(given.servers) do
    ups[server.name] = upstream.new(w, { name = server.name, phases = made.targets[i].phases,
      price = made.targets[i].price }, { seed = given.seed, usage = USAGE })
  end
  local o = { loop = w.loop, targets = targets_of(given.servers), policy = given.policy,
    seed = given.seed }
  for name, value in pairs(given.options or {}) do o[name] = value end
  return w.loop, ups, unbusy.new(o)
end

-- }========================================================================

-- {== The calls ===========================================================

-- When they come, at random: as often as the rate says, whatever came before.
local function arrivals(kind, seed, i)
  local draw, at, out = chance.stream(seed, "arrivals", tostring(i)), kind.from or 0, {}
  while true do
    at = at - math.log(draw()) / kind.rate
    if at >= kind.to then return out end
    out[#out + 1] = at
  end
end

local function request_of(kind, draw)
  local number = math.floor(draw() * (kind.questions or 1e9))
  local text = (kind.words or "question ") .. number
  return { model = "m", messages = { { role = "user", content = text } } }
end

local real = { upstream = true, cache = true, stale = true, batch = true, coalesced = true }

local function note(count, reply, code, seconds)
  count.calls = count.calls + 1
  if reply then
    count.sources[reply.source] = (count.sources[reply.source] or 0) + 1
  else
    count.codes[code] = (count.codes[code] or 0) + 1
  end
  if reply and real[reply.source] then
    count.answered = count.answered + 1
    count.times[#count.times + 1] = seconds
    if not count.first then count.first = seconds end
  end
end

-- A call; of a stream the time of its first word counts.
local function one(loop, client, kind, request, count)
  local began = loop.now()
  local given = { deadline = kind.deadline, priority = kind.priority, target = kind.target }
  local reply, _, code = client[kind.stream and "stream" or "chat"](client, request, given)
  local seconds = loop.now() - began
  if reply and kind.stream then reply, _, code = reply:reply() end
  note(count, reply, code, seconds)
end

local function begin(loop, client, kind, seed, i, counts)
  local draw = chance.stream(seed, "questions", tostring(i))
  local name = kind.name or "all"
  counts[name] = counts[name]
    or { calls = 0, answered = 0, times = {}, sources = {}, codes = {} }
  for _, at in ipairs(arrivals(kind, seed, i)) do
    local request = request_of(kind, draw)
    loop.spawn(function()
      loop.sleep(at - loop.now())
      one(loop, client, kind, request, counts[name])
    end)
  end
end

-- }========================================================================

local function sum(list)
  local s = 0
  for _, value in ipairs(list) do s = s + value end
  return s
end

local function figures(count)
  table.sort(count.times)
  count.share = count.answered / count.calls
  count.mean = sum(count.times) / math.max(1, count.answered)
  count.median = count.times[math.max(1, math.ceil(count.answered / 2))]
  count.p99 = count.times[math.max(1, math.ceil(count.answered * 0.99))]
  return count
end

--- Runs it to the end of the last call; gives what came of all calls (or, where they have names, of
--- each name), what the servers saw, and the client's `status` at the end.
---@param given table
---@return table seen
function outage.run(given)
  local loop, ups, client = build(given)
  local counts, cost, received, refused = {}, 0, 0, 0
  loop.run(function()
    for i, kind in ipairs(given.calls) do begin(loop, client, kind, given.seed, i, counts) end
  end)
  for _, count in pairs(counts) do figures(count) end
  for _, up in pairs(ups) do
    cost, received, refused = cost + up.cost, received + up.received, refused + up.refused
  end
  for _, state in ipairs(client:status().policy or {}) do
    assert(next(state.faults) == nil, state.last_fault)
  end
  local seen = counts.all or {}
  seen.by_name, seen.servers, seen.cost, seen.received, seen.refused =
    counts, ups, cost, received, refused
  seen.took, seen.status = loop.now(), client:status()
  client:close()
  return seen
end

--- The same with the built-in decisions.
function outage.without(given)
  local copy = {}
  for name, value in pairs(given) do copy[name] = value end
  copy.policy = nil
  return outage.run(copy)
end

--- The figures of a policy's page, as its rows of cells. What they say is repeated by a spec.
---@param name string of the policy
---@param which string? of several tables, as its comment names it
---@return string[][] rows without the head
function outage.page(name, which)
  local file = assert(io.open(("docs/policies/%s.md"):format(name), "rb"))
  local text = file:read "*a"
  file:close()
  local rows = {}
  local comment = ("<!-- figures%s -->"):format(which and " " .. which or "")
  local _, start = text:find(comment, 1, true)
  local table_ = text:sub(start + 1):match "^\n|[^\n]*\n|[^\n]*\n(.-)\n\n"
  for line in (table_ .. "\n"):gmatch "| (.-) |\n" do
    local cells = {}
    for cell in (line .. " | "):gmatch "(.-) | " do cells[#cells + 1] = cell end
    rows[#rows + 1] = cells
  end
  return rows
end

return outage
