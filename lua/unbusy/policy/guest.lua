--- A policy that is loaded: its functions, run within limits, and what has come of them.
--
--     decide(call, name, …) ──► guarded ──► checked ──► true, what it decided
--                                  │           │
--                                  └─► fault ◄─┘   counted, told once ──► false: the built-in one
--
-- A guest may be given new functions while it is used (`install`): a decision runs in one version.
local core = require "unbusy.core"
local decisions = require "unbusy.policy.decisions"
local faults = require "unbusy.policy.faults"
local source = require "unbusy.policy.source"

local guest = {}
guest.__index = guest
guest.__name = "unbusy.policy"

--- Instructions of Lua that one decision may take; those over many requests may take more.
guest.INSTRUCTIONS = 1e6
local instructions = { merge = 1e7, split = 1e7, normalise = 1e7 }

--- Bytes that the heap may grow by meanwhile.
guest.BYTES = 32 * 1024 * 1024

local TOLD = 64 -- different faults of one version that are told

local guarded = core.guarded

---@param name string for messages, events and the status
---@param path string? of its file
function guest.new(name, path)
  return setmetatable({ name = name, path = path, version = 0, asked = 0, faults = {},
    world = { clock = core.wall, chance = math.random }, functions = {}, told = {}, told_count = 0,
    last_fault = nil, report = nil }, guest)
end

function guest:__tostring()
  return "unbusy policy: " .. self.name
end

--- It runs these functions from now on.
---@param functions table<string, function>
---@param text string? the script that they come from
function guest:install(functions, text)
  self.functions, self.source = functions, text
  self.version = self.version + 1
  self.told, self.told_count = {}, 0
end

-- The watcher hears of each fault of a version once.
local function tell(self, call, name, message)
  local key = name .. "\0" .. message
  if self.told[key] or self.told_count >= TOLD or not self.report then return end
  self.told[key], self.told_count = true, self.told_count + 1
  self.report({ what = "fault", policy = self.name, version = self.version, decision = name,
    message = message }, call)
end

-- A decision came to nothing.
local function fault(self, call, name, message)
  self.faults[name] = (self.faults[name] or 0) + 1
  self.last_fault = ("%s: %s"):format(name, message)
  local meter = call and call.client and call.client.meter
  if meter then meter:note("unbusy_policy_faults_total", 1, self.name) end
  tell(self, call, name, message)
  return false, nil, message
end

-- Where a function stands: its file, and "policies/mine.lua:12: ", where it begins.
local function place_of(f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return info.short_src, "" end
  return info.short_src, ("%s:%d: "):format(info.short_src, info.linedefined)
end

-- What it has kept may be what was too much: its script begins anew, and forgets.
local function forget(self)
  if not self.source then return end
  self.functions = source.of_text(self.source, self.path or self.name, self.world)
    or self.functions
end

local function describe(self, f, thrown, why)
  local file, place = place_of(f)
  return faults.describe(thrown, why, { file = file, place = place, source = self.source,
    raised = self.world.raised })
end

-- What a checked decision gives, or its fault. The check may have raised: what was decided can have
-- metamethods, which it runs.
local function outcome(self, call, name, f, checked, ok, a, b)
  if not checked then return fault(self, call, name, describe(self, f, ok)) end
  if ok == nil then return fault(self, call, name, select(2, place_of(f)) .. a) end
  return ok, a, b
end

-- Time and chance are those of the call's loop, where it has its own.
local function enter_world(world, call)
  local loop = call and call.loop
  world.clock, world.chance = loop and loop.wall or core.wall, loop and loop.random or math.random
  world.raised = false
end

--- Asks one of its functions; `…` is what that is given, and stays with it.
---@param call table? nil where no call asks
---@param name string
---@return boolean decided false: the built-in decision is to be taken
---@return any a what was decided, or nil; any b behind a false: the fault's message
function guest:decide(call, name, ...)
  local f = self.functions[name]
  if not f then return false end
  self.asked = self.asked + 1
  enter_world(self.world, call)
  local ok, a, b = guarded(instructions[name] or guest.INSTRUCTIONS, guest.BYTES, f, ...)
  if not ok then
    if b == "memory" then forget(self) end
    return fault(self, call, name, describe(self, f, a, b))
  end
  return outcome(self, call, name, f, pcall(decisions.check[name], a, b, call, ...))
end

--- What an operator wants to know; no prompts.
---@return table { name =, version =, asked =, faults = { retry = 2, … }, last_fault =, path = }
function guest:status()
  local counts = {}
  for name, count in pairs(self.faults) do counts[name] = count end
  return { name = self.name, path = self.path, version = self.version, asked = self.asked,
    faults = counts, last_fault = self.last_fault }
end

return guest
