--- The policies that a call is under: its own, its try's target's, the client's.
--
--     call.policy:ask(call, "retry", target, facts)
--
-- The first layer that has the function decides; where that fails, the built-in decision is taken,
-- not the next layer's. A target's policy is asked about tries only.
local decisions = require "unbusy.policy.decisions"
local policy = require "unbusy.policy"

local stack = {}
stack.__index = stack

local KEPT = 64 -- policies of single calls that stay loaded

local of_try = decisions.of_try

local function add(self, loaded, watched)
  self.guests[#self.guests + 1] = loaded
  if watched then self.files[#self.files + 1] = watched end
  loaded.report = self.report
  return loaded
end

local function load(self, what, where)
  local loaded, watched = policy.load(what)
  if not loaded then return nil, ("%s: %s"):format(where, watched) end
  return add(self, loaded, watched)
end

--- The policies of a client and its targets; nil where there are none.
---@param given table { policy =, targets = { { name =, policy = }, … } }
---@param report function(fields, call) hears of faults and new versions
---@return table? self, string? message what is wrong with one of them
function stack.new(given, report)
  local self = setmetatable({ client = false, own = false, targets = {}, guests = {}, files = {},
    report = report, kept = {}, order = {} }, stack)
  local message
  if given.policy then
    self.client, message = load(self, given.policy, "policy")
    if message then return nil, message end
  end
  for i, t in ipairs(given.targets) do
    if t.policy then
      self.targets[t.name], message = load(self, t.policy, ("targets[%d].policy"):format(i))
      if message then return nil, message end
    end
  end
  return self
end

-- The layer that decides, if one does.
local function decider(self, name, target)
  local own, client = self.own, self.client
  if own and own.functions[name] then return own end
  if target and of_try[name] then
    local t = self.targets[target.name]
    if t and t.functions[name] then return t end
  end
  return client and client.functions[name] and client or nil
end

--- Would anybody decide this? So that nobody collects facts for nothing.
---@param name string
---@param target table? of the try
function stack:decides(name, target)
  return decider(self, name, target) ~= nil
end

--- Asks for a decision. What is given behind the target goes to the script, which may do with it
--- what it likes: hand in copies.
---@param call table
---@param name string see `unbusy.policy.decisions`
---@param target table? of the try
---@return boolean decided false: take the built-in decision
---@return any a, any b checked, and nobody else's
function stack:ask(call, name, target, ...)
  local layer = decider(self, name, target)
  if not layer then return false end
  return layer:decide(call, name, ...)
end

--- A call begins under them.
function stack:begin(loop, now)
  local files = self.files
  for i = 1, #files do files[i]:begin(loop, now) end
end

-- Room for one more: the oldest goes.
local function keep(self, what, layered)
  if #self.order >= KEPT then self.kept[table.remove(self.order, 1)] = nil end
  self.order[#self.order + 1], self.kept[what] = what, layered
end

--- The same with a policy of one call on top. It stays loaded for the next call that names it.
---@param what string|table
---@return table? stack, string? message
function stack:with(what)
  local known = self.kept[what]
  if known then return known end
  local made = setmetatable({ client = self.client, targets = self.targets, guests = {}, files = {},
    report = self.report }, stack)
  for i, watched in ipairs(self.files) do made.files[i] = watched end
  local message
  made.own, message = load(made, what, "policy")
  if message then return nil, message end
  keep(self, what, made)
  return made
end

--- Loads the files of the client's and the targets' policies anew, all of them or none.
---@return boolean? true, string? message, string? code
function stack:reload()
  local versions = {}
  for i, watched in ipairs(self.files) do
    local version, message = watched:prepare()
    if not version then return nil, "reload: " .. message, "policy" end
    versions[i] = version
  end
  for i, watched in ipairs(self.files) do
    local guest = watched.guest
    if watched:accept(versions[i]) then
      self.report { what = "reload", policy = guest.name, version = guest.version }
    end
  end
  return true
end

--- What has come of each of them.
---@return table[]? see `guest:status`; nil where there is none
function stack:status()
  local out = {}
  for i, guest in ipairs(self.guests) do out[i] = guest:status() end
  for _, what in ipairs(self.order) do out[#out + 1] = self.kept[what].own:status() end
  return out[1] and out or nil
end

return stack
