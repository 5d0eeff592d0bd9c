--- Asks again, in the background, what has just been answered out of the cache though it is stale.
--
-- For each question one such call at a time: of the lowest priority, under the retry budget as any,
-- with the whole time that the client's clocks give. It belongs to the loop, not to the caller,
-- whose leaving does not end it; closing the client does. When it has failed, the question rests
-- for a while (PAUSE), and the stale answer goes on being given as long as it may.
local calls = require "unbusy.call"
local keeping = require "unbusy.caching.keeping"
local plain = require "unbusy.policy.plain"
local stream = require "unbusy.stream"

local refreshing = {}

local MOST = 16      -- under way at a time, of one client
local PAUSE = 5      -- seconds
local REMEMBERED = 1000 -- questions at rest

-- Under way, and at rest until then: client -> { count =, rests = { [hash] = seconds } }.
local of_client = setmetatable({}, { __mode = "k" })

local function state_of(client)
  local state = of_client[client]
  if not state then
    state = { count = 0, kept = 0, rests = {} }
    of_client[client] = state
  end
  return state
end

-- May the question be asked again now? It is taken then.
local function take(state, id, now)
  local rest = state.rests[id]
  if state.count >= MOST or rest and now < rest then return false end
  if not rest then
    if state.kept >= REMEMBERED then state.rests, state.kept = {}, state.count end
    state.kept = state.kept + 1
  end
  state.rests[id], state.count = math.huge, state.count + 1
  return true
end

local function give_back(state, id, good, now)
  state.count = state.count - 1
  if not good then
    state.rests[id] = now + PAUSE
  elseif state.rests[id] then
    state.rests[id], state.kept = nil, state.kept - 1
  end
end

-- A call of its own, as `call` was made; its caller may change what it holds meanwhile.
local function new_call(call)
  local o = call.options
  local c = calls.new(call.client, call.kind, plain.lenient(call.request), { target = o.target,
    pool = o.pool, priority = "batch", headers = o.headers, upstream_stream = o.upstream_stream,
    raw = o.raw, raw_is_sound = o.raw_is_sound }, { streaming = call.streaming })
  c.policy = call.policy
  keeping.adopt(c, call)
  if o.headers then c:add_headers() end
  return c
end

-- Reads the answer to its end, which keeps it.
local function read(c, answer)
  keeping.watch(c, answer)
  if not answer.pieces then return true end
  return stream.new(c, answer):reply() ~= nil
end

local function ask(c, next)
  local answer = next(c)
  return answer ~= nil and read(c, answer)
end

-- Makes the call, as a client makes one: did it come to a good end?
local function perform(c, next, loop)
  c.client.calls[c] = true
  local good = c:begin(loop)
  local mark = loop.own and loop.own(c)
  local ok, result = pcall(good and ask or c.refusal, c, next)
  if loop.own then loop.disown(mark) end
  c:finish()
  return ok, result
end

local function run(job)
  local ok, result = perform(job.call, job.next, job.loop)
  give_back(job.state, job.id, ok and result, job.loop.now())
  if not ok then error(result, 0) end
end

--- Begins to ask again what `call` has asked, unless somebody does so already.
---@param call table that has been given a stale answer
---@param key userdata its question's
---@param next function the rest of a call's way, below the cache
function refreshing.begin(call, key, next)
  local client, loop = call.client, call.loop
  if client.flights then return client.flights:refresh(call, key, next) end
  local state, id = state_of(client), tostring(key)
  if not take(state, id, loop.now()) then return end
  local job = { call = new_call(call), next = next, loop = loop, state = state, id = id }
  local ok, begun = pcall(loop.nursery or loop.spawn, function() run(job) end)
  if not (ok and begun) then give_back(state, id, false, loop.now()) end -- the host has no room
end

return refreshing
