--- The clients that are compared: a policy's, and two that do without unbusy's help.
--
-- | name | what it does |
-- |---|---|
-- | a policy's | a client as it would run, with the configuration that was given |
-- | `naive` | asks once, and whatever comes of it is its answer |
-- | `retry loop` | asks up to five times, after busy answers only, 1, 2, 4 and 8 s apart (+ 10 %) |
--
-- The last two ask the target that stands in the trace's row: somebody without unbusy has one.
local chance = require "unbusy.simulate.chance"
local providers = require "unbusy.providers"
local unbusy = require "unbusy"

local setup = {}

--- The names of the clients that do without unbusy.
setup.NAIVE, setup.LOOP = "naive", "retry loop"

-- {== Targets =============================================================

-- Of a configuration's target, what is left of it where there is no network.
local function simulated(given, index)
  local out = {}
  for name, value in pairs(given) do out[name] = value end
  out.keys, out.tls, out.proxy, out.headers = nil, nil, nil, nil
  out.url, out.key = ("http://target-%d.invalid/v1"):format(index), "simulated"
  local known, provider = pcall(providers.of, given)
  if not known then return out end -- `unbusy.new` says what is wrong with it
  out.provider = given.provider or provider.name
  if out.prefix == nil and provider.prefix then out.prefix = provider.prefix(given.url) end
  return out
end

local function of_trace(trace)
  local out = {}
  for i, target in ipairs(trace.targets) do
    out[i] = { name = target.name, url = ("http://target-%d.invalid/v1"):format(i),
      key = "simulated", price = target.price, pool = target.pool, prefix = "flag" }
  end
  return out
end

local function of_config(trace, given)
  local out = {}
  if type(given) ~= "table" or #given == 0 then return nil, "targets: a list expected" end
  for i, t in ipairs(given) do
    if type(t) ~= "table" then return nil, ("targets[%d]: a table expected"):format(i) end
    local index = trace.by_name[t.name]
    if not index then
      return nil, ("targets[%d]: '%s' does not stand in the trace: a header line says what it does")
        :format(i, tostring(t.name))
    end
    out[i] = simulated(t, index)
    out[i].price = out[i].price or trace.targets[index].price
  end
  return out
end

-- Of a configuration's cache, what is left of it where there is neither a file nor a server.
local function in_memory(cache)
  if type(cache) ~= "table" then return cache end
  local out = {}
  for name, value in pairs(cache) do out[name] = value end
  out.path, out.redis = nil, nil
  return out
end

--- The options of a client, without its loop: those of the configuration, or of the trace alone.
---@param trace table
---@param config table? options of `unbusy.new`
---@return table? options, string? message
function setup.options(trace, config)
  if not config then return { targets = of_trace(trace) } end
  local out = {}
  for name, value in pairs(config) do out[name] = value end
  out.loop, out.region, out.gateway, out.on_event, out.seed = nil, nil, nil, nil, nil
  out.cache = in_memory(out.cache)
  local message
  out.targets, message = of_config(trace, config.targets)
  if not out.targets then return nil, message end
  return out
end

--- The price of each target of the configuration, for those the trace gives none.
function setup.prices(options)
  local out = {}
  for _, t in ipairs(options.targets) do out[t.name] = t.price end
  return out
end

-- }========================================================================

-- {== Asking ==============================================================

-- Puts a question: a reply, or a failure; and when the caller saw the first of the answer.
local function asker(client, loop, kind)
  local plain = client[kind]
  return function(request, given, streams)
    if not streams then
      local reply, message, code, detail = plain(client, request, given)
      return reply, loop.now(), message, code, detail
    end
    local stream, message, code, detail = client:stream(request, given)
    if not stream then return nil, loop.now(), message, code, detail end
    local first = loop.now()
    local reply, why, how, more = stream:reply()
    return reply, first, why, how, more
  end
end

-- A client, or what `unbusy.new` has against its options.
local function new_client(given)
  local ok, client, message = pcall(unbusy.new, given)
  if ok then return client, message end
  local told = type(client) == "string" and client:match "^unbusy: (.*)$"
  if not told then error(client, 0) end
  return nil, told
end

local function copy(t)
  local out = {}
  for name, value in pairs(t) do out[name] = value end
  return out
end

-- Of a target's limits those that say how much is read; how much may be asked nobody minds.
local function bare_limits(limits)
  if type(limits) ~= "table" then return limits end
  local out = copy(limits)
  out.requests_per_minute, out.tokens_per_minute = nil, nil
  return out
end

-- Targets without scripts and limits.
local function bare_targets(options)
  local out = {}
  for i, t in ipairs(options.targets) do
    out[i] = copy(t)
    out[i].policy, out[i].limits = nil, bare_limits(t.limits)
  end
  return out
end

local function nothing() return false end

-- Who asks in a loop remembers nothing: neither how long a server wants to be left alone, nor that
-- it refused the key or the account.
local function forget_refusals(client)
  for _, t in ipairs(client.targets) do
    local admit = t.admit
    t.rest, t.rest_for, t.is_away = nothing, nothing, nothing
    function t.admit(self, ...)
      self.account.broke_until = 0
      for _, key in ipairs(self.keys) do key.aside_until, key.scopes = 0, nil end
      return admit(self, ...)
    end
  end
end

-- One try and nothing else, at the target that the row names, where the client has it.
local function bare(options, o)
  local client, message = new_client { loop = o.loop, targets = bare_targets(options),
    clocks = options.clocks, retry = false, limiter = false, budget = false, breaker = false }
  if not client then return nil, message end
  forget_refusals(client)
  local ask, by_target, has = asker(client, o.loop, o.kind), {}, {}
  for _, t in ipairs(options.targets) do has[t.name] = true end
  local function given_for(name, deadline)
    local key = has[name] and name or options.targets[1].name
    local given = by_target[key]
    if not given or given.deadline ~= deadline then
      given = { deadline = deadline, target = key, cache = false }
      by_target[key] = given
    end
    return given
  end
  return client, ask, given_for
end

local function naive(options, o)
  local client, ask, given_for = bare(options, o)
  if not client then return nil, ask end
  return { client = client, ask = function(request, name, streams)
    return ask(request, given_for(name, o.deadline), streams)
  end }
end

local TRIES, BASE, FACTOR, CAP, JITTER = 5, 1, 2, 30, 0.1

local is_busy = { busy = true, limited = true }

-- The pause before the next try; nil where there is none any more.
local function next_pause(o, code, try, deadline)
  if not is_busy[code] or try == TRIES then return nil end
  local seconds = math.min(BASE * FACTOR ^ (try - 1), CAP) * (1 + JITTER * o.draw())
  return o.loop.now() + seconds < deadline and seconds or nil
end

local function retry_loop(options, o)
  local client, ask, given_for = bare(options, o)
  if not client then return nil, ask end
  local chances = { loop = o.loop, draw = chance.stream(o.seed, "retry loop") }
  local function ask_again(request, name, streams, deadline, try)
    local given = given_for(name, deadline - o.loop.now())
    local reply, first, message, code, detail = ask(request, given, streams)
    local seconds = not reply and next_pause(chances, code, try, deadline)
    if not seconds then return reply, first, message, code, detail end
    o.loop.sleep(seconds)
    return ask_again(request, name, streams, deadline, try + 1)
  end
  return { client = client, ask = function(request, name, streams)
    return ask_again(request, name, streams, o.loop.now() + o.deadline, 1)
  end }
end

local function with_policy(options, o, policy)
  local given = {}
  for name, value in pairs(options) do given[name] = value end
  given.loop, given.seed, given.policy = o.loop, o.seed, policy
  local client, message = new_client(given)
  if not client then return nil, message end
  local ask, call = asker(client, o.loop, o.kind), { deadline = o.deadline }
  return { client = client, ask = function(request, _, streams)
    return ask(request, call, streams)
  end }
end

--- Makes a client that is compared: `ask(request, target, streams)` gives a reply or nil, the time
--- of the first of it, and of a failure message, code and detail. Its client is `client`.
---@param what table { name =, policy = } a policy's; without `policy` the built-in decisions, or
--- one of the two names above
---@param options table of `setup.options`
---@param o table { loop =, seed =, deadline = seconds, kind = }
---@return table? contestant, string? message
function setup.contestant(what, options, o)
  if what.name == setup.NAIVE then return naive(options, o) end
  if what.name == setup.LOOP then return retry_loop(options, o) end
  return with_policy(options, o, what.policy)
end

-- }========================================================================

return setup
