--- Clients whose cache has a Redis server as second level, and calls that ask it, for specs.
local cache = require "unbusy.cache"
local now = require "unbusy.clock"
local tasks = require "unbusy.loops.tasks"
local unbusy = require "unbusy"

local redis_levels = {}

redis_levels.CLOCK = 10    -- seconds that an answer may take where it is expected
redis_levels.PATIENCE = 60 -- and all that was sent

--- A client whose events are in `client.seen`.
---@param url string
---@param more table? options of `redis`
---@param options table? of the client
function redis_levels.client(url, more, options)
  local redis, seen = { url = url, clock = redis_levels.CLOCK }, {}
  for k, v in pairs(more or {}) do redis[k] = v end
  local o = { targets = { { name = "a", url = "http://127.0.0.1:1" } },
    on_event = function(event) seen[#seen + 1] = event end }
  for k, v in pairs(options or {}) do o[k] = v end
  o.cache = type(o.cache) == "table" and o.cache or {}
  o.cache.redis = redis
  local client = assert(unbusy.new(o))
  client.seen = seen
  return client
end

local call = {}
call.__index = call

function call:hold(thing) self.held[thing] = true end
function call:release(thing) self.held[thing] = nil end

--- A call as the levels see it; it notes how long it would have waited, at most.
function redis_levels.call(loop, seconds)
  local self = setmetatable({ held = {}, deadline = now() + (seconds or 1000), most = 0 }, call)
  self.loop = setmetatable({ wait = function(events, limit)
    self.most = math.max(self.most, limit - loop.now())
    return loop.wait(events, limit)
  end }, { __index = loop })
  return self
end

--- Asks `client.cache` in the loop of plain Lua: what it gives, and the call.
function redis_levels.get(client, key, seconds)
  local made
  local out = { tasks.enter(function(loop)
    made = redis_levels.call(loop, seconds)
    return client.cache:get(made, key)
  end) }
  assert(next(made.held) == nil, "the call holds something")
  return out[1], out[2], out[3], made
end

--- Waits until all that was sent has been answered.
function redis_levels.settle(client)
  return client.cache:settle(redis_levels.PATIENCE)
end

--- Counts of the far level.
function redis_levels.stats(client)
  return client.cache:stats().redis
end

--- Events of the far level, as "what code".
function redis_levels.events(client)
  local out = {}
  for _, event in ipairs(client.seen) do
    if event.type == "cache" and event.level == "redis" then
      out[#out + 1] = event.what .. (event.code and " " .. event.code or "")
    end
  end
  return out
end

--- Lets the far level's next pause be over.
function redis_levels.forgive(client)
  local far = client.cache.far
  far.health.rests_until, far.writes.rests_until = 0, 0
end

--- A key that nobody else has.
local count = 0
function redis_levels.key()
  count = count + 1
  return cache.key("question", count)
end

return redis_levels
