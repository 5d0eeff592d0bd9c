--- A script's functions, asked as calls would ask them: on samples, within the usual limits.
--
-- A function that took too long or too much memory is not asked again; of one that gives the same
-- fault again and again, the first is told.
local decisions = require "unbusy.policy.decisions"
local plain = require "unbusy.policy.plain"
local samples = require "unbusy.policy.samples"

local trial = {}

local MOST = 5 -- different faults of one function that are told

-- Chance, but the same each time.
local function chance_of(seed)
  local state = seed
  return function()
    state = (state * 16807) % 2147483647
    return state / 2147483647
  end
end

-- What stands for the call that asks: its time, its chance, and what it may name.
local function caller(known)
  local loop, targets = { random = chance_of(1) }, {}
  function loop.wall() return loop.time end
  for _, t in ipairs(known.targets or {}) do targets[#targets + 1] = t end
  for _, name in ipairs(samples.targets) do targets[#targets + 1] = { name = name } end
  return { is_sample = true, loop = loop, client = { targets = targets, pools = known.pools } }
end

local stops = { "it ran too long", "it took too much memory" }

local function is_stop(message)
  for _, words in ipairs(stops) do
    if message:sub(-#words) == words then return true end
  end
end

-- Asks once, and tells the fault. Gives whether to go on, and what was decided.
local function ask(self, name, about, ...)
  local decided, value, message = self.guest:decide(self.call, name, ...)
  if decided or not message then return true, value end
  if self.skips(message) then return true end
  local stop = is_stop(message)
  if not self.told[message] then
    self.told[message], self.count = true, self.count + 1
    self.tell(name, message, about, name == "split" and not stop and "made_up" or nil)
  end
  return not stop and self.count < MOST
end

-- Copies, as calls hand them in.
local function copies(one)
  return plain.lenient(one[1]), plain.lenient(one[2])
end

local function ask_all(self, name)
  self.told, self.count = {}, 0
  for _, time in ipairs(samples.times) do
    self.call.loop.time = time
    for _, one in ipairs(samples.of[name]) do
      if not ask(self, name, one.about, copies(one)) then return end
    end
  end
end

-- {== Batches =============================================================

-- Three that go together: those that the rule itself gave one key, here the same one three times.
local function three_of(request)
  return { plain.lenient(request), plain.lenient(request), plain.lenient(request) }
end

-- Merges three requests, and splits the answer that a server might give to that.
local function try_batch(self, one)
  local requests = three_of(one[1])
  local go_on, merged = ask(self, "merge", one.about, three_of(one[1]))
  if not go_on or type(merged) ~= "table" then return go_on end
  return ask(self, "split", one.about, samples.batch_body(#requests), requests)
end

-- Of two that are missing another layer's may be meant; of one, see `inspect`.
local LONELY = "calls that go together, and neither merge nor split: each is made alone, "
  .. "unless another policy has them"

local function ask_batches(self)
  self.told, self.count, self.call.loop.time = {}, 0, samples.times[1]
  local functions = self.guest.functions
  if not functions.batch then return end
  local merge, split = functions.merge, functions.split
  local whole, lonely = merge and split, not (merge or split)
  for _, one in ipairs(samples.of.batch) do
    local decided, value = self.guest:decide(self.call, "batch", copies(one))
    local own = decided and type(value) == "table" and not value.rule
    if own and lonely then return self.tell("batch", LONELY, one.about, "note") end
    if own and whole and not try_batch(self, one) then return end
  end
end

-- }========================================================================

--- Asks all functions of a guest.
---@param guest table see `unbusy.policy.guest`
---@param known table { targets =, pools = } that may be named; without `targets` any may
---@param tell function(decision, message, about, how) hears of each fault, and on what; with
--- `how` it is none for sure: "made_up", on an answer which no server has given; or "note"
function trial.run(guest, known, tell)
  local self = { guest = guest, call = caller(known), tell = tell }
  local unknown = not known.targets
  function self.skips(message)
    return unknown and message:sub(-#decisions.NO_TARGET) == decisions.NO_TARGET
  end
  for _, name in ipairs(decisions.names) do
    if guest.functions[name] and samples.of[name] then ask_all(self, name) end
  end
  ask_batches(self)
end

return trial
