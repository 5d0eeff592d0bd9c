--- A policy's file: loaded at once, or watched and loaded anew when it has changed.
--
-- A new version is loaded when two looks, a second or more apart, have found the same stamp, and
-- the stamp has stayed while it was read: so no file is loaded that is still being written. One
-- that cannot be loaded changes nothing, and is told once; nor does a file that is gone.
local core = require "unbusy.core"
local source = require "unbusy.policy.source"

local file = {}
file.__index = file

local LOOK = 1    -- seconds between two looks
local SETTLED = 1 -- seconds; a file that was written since may be written again with the same stamp
local READS = 3   -- how often a file is read that changes meanwhile
local LOST = 60   -- seconds after which a look outside of a request will not come any more

---@param guest table see `unbusy.policy.guest`
function file.new(guest)
  return setmetatable({ guest = guest, path = guest.path, stamp = false, seen = false,
    failed = false, gone = false, looked_at = nil, looking = false }, file)
end

local function note(self, text, stamp)
  local _, written = core.stamp(self.path)
  local settled = type(written) == "number" and core.wall() - written > SETTLED
  self.text, self.stamp, self.seen = text, settled and stamp or false, false
  self.failed, self.gone = false, false
end

-- Its bytes, read in one state of the file if that can be had.
local function read(path)
  local text, stamp
  for _ = 1, READS do
    text, stamp = source.read(path)
    if not text or stamp then break end
  end
  return text, stamp
end

--- Reads it now: what `accept` wants, or nil and what is wrong with it. Nothing has changed yet.
---@return table? version, string? message
function file:prepare()
  local text, stamp = read(self.path)
  if not text then return nil, stamp end
  local functions, message = source.of_text(text, self.path, self.guest.world)
  if not functions then return nil, message end
  return { text = text, stamp = stamp, functions = functions }
end

--- The version that was prepared is the one that runs.
---@param version table
function file:accept(version)
  local known = self.text
  note(self, version.text, version.stamp)
  if known ~= version.text then self.guest:install(version.functions, version.text) end
  return known ~= version.text
end

local function report(self, what, message)
  local guest = self.guest
  if message then guest.last_fault = message end
  if not guest.report then return end
  guest.report { what = what, policy = guest.name, version = guest.version, message = message }
end

local function load_changed(self, stamp)
  local text, read_stamp = source.read(self.path)
  if text and read_stamp ~= stamp then -- still moving
    self.seen = false
    return
  elseif text and text == self.text then
    return note(self, text, stamp)
  end
  local functions, message = nil, read_stamp
  if text then functions, message = source.of_text(text, self.path, self.guest.world) end
  if not functions then
    self.failed = stamp
    return report(self, "broken", message)
  end
  self:accept { text = text, stamp = stamp, functions = functions }
  report(self, "reload")
end

--- Looks whether it has changed, and loads what has.
function file:look()
  local stamp, message = core.stamp(self.path)
  if not stamp then
    self.seen = false
    if not self.gone then report(self, "broken", message) end
    self.gone = true
    return
  end
  self.gone = false
  if stamp == self.stamp or stamp == self.failed then
    self.seen = false
  elseif stamp ~= self.seen then
    self.seen = stamp
  else
    load_changed(self, stamp)
  end
end

local function look_safely(self)
  local ok, message = pcall(self.look, self)
  self.looking = false
  if not ok then self.guest.last_fault = "it could not be looked at: " .. tostring(message) end
end

--- A call begins: look, unless somebody has just looked. Where a request must not read files (its
--- loop has a nursery) that is done outside of it.
---@param loop table
---@param now number
function file:begin(loop, now)
  local looked_at = self.looked_at
  if looked_at and math.abs(now - looked_at) < (self.looking and LOST or LOOK) then return end
  self.looked_at = now
  if not looked_at then return end -- it has just been loaded
  self.looking = true
  if not loop.nursery then return look_safely(self) end
  local ok, begun = pcall(loop.nursery, function() look_safely(self) end)
  if not (ok and begun) then self.looking = false end
end

return file
