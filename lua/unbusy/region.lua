--- Memory that processes share, for the parts that live in it.
--
--     local region = require "unbusy.region"
--     local r = assert(region.new { name = "shop" })
--     local b = breaker.new { region = r, name = "deepseek" } -- one breaker for all processes
--
-- Without `name` and `path` the memory belongs to this process and to those forked from it later,
-- as the workers of nginx are when `init_by_lua` makes it. With `name` any process of this user
-- opens the same memory, and it goes away when the last one has closed it in order. With `path` it
-- is a file, which stays; what it holds begins anew after a reboot of the machine, and when nobody
-- uses it and it is opened in another size or by another version.
--
-- A part is found by its kind, name and options: with other options it is another part, and the old
-- one's room is used again once no process uses it. Parts keep their region open.
--
-- Processes may be killed at any moment: what one was writing is undone by the next, and what it
-- held (tickets, permits) is given back within a second or so, at the next use of any part. One
-- that is only stopped while it writes is waited for. All processes must be of one machine and one
-- pid namespace (container). The memory is as safe as this user's own processes: keep others from
-- cutting its file short, which would kill all who use it.
local core = require "unbusy.core"
local options = require "unbusy.options"

local region = {}

--- Every option of `new`.
region.schema = {
  name = { type = "string",
    doc = "memory of this name, for all processes of this user; letters, digits, `-`, `_`, `.`" },
  path = { type = "string",
    doc = "memory in this file, which stays; not on a network's file system" },
  bytes = { type = "whole", min = 256 * 1024, max = 2 ^ 40, unit = "bytes",
    doc = "size; what is there by default, or 8 MiB; all of a file's space is taken at once" },
}

--- The options that bring a part into a region, for the part's own schema.
region.fields = {
  region = { type = "any",
    doc = "the region that the part lives in, shared by its processes; private by default" },
  name = { type = "string", doc = "of the part in its region" },
}

--- What is wrong about a part's `region` and `name`: a message, or nothing.
---@param o table the part's options
---@return string? message
function region.contradiction(o)
  if o.region == nil and o.name == nil then return nil end
  if o.region == nil then return "name: belongs to a region, but none is given" end
  if not core.is_region(o.region) then return "region: an open region expected" end
  if not o.name then return "name: missing, which tells it from others in the region" end
  if #o.name < 1 or #o.name > 255 then
    return ("name: 1 to 255 bytes expected, got %d"):format(#o.name)
  end
end

--- What is wrong with checked options of `new`: a message, or nothing.
---@param o table
---@return string? message
function region.wrong(o)
  if o.name and o.path then return "name or path expected, got both" end
  if o.name and (#o.name > 64 or not o.name:find "^[%w_-][%w_.-]*$") then
    return "name: 1 to 64 letters, digits, '-', '_' or '.' expected, no '.' first"
  end
  if o.path and (o.path == "" or o.path:find "%z") then return "path: a file's name expected" end
end

--- Opens a region, or makes it. Within one process the same name or file is the same region.
--
-- `r:stats() -> { bytes =, used =, parts =, processes =, waiting = }`: size, and how much of it is
-- taken; parts in it; processes that have used one; their waiting callers (see below).
--
-- `r:process()`: this process's number in the region, 1 or more; 0 when there is no number left:
-- then what this process holds is not given back when it dies.
--
-- `r:close()`; may be called twice, and is done by the collector. Other methods raise then. Its
-- parts go on. What a client needs anew afterwards (the limits of another model) is its own alone.
--
-- How processes tell each other that a place came free:
--
-- `r:wake_fd() -> descriptor`, which becomes readable when another process wakes this one, or
-- `nil, message, code`. `r:drain() -> boolean` reads it empty, and says whether somebody had.
--
-- `r:waiting(n, since, priority)`: so many callers of this process wait with this priority (1 to 3,
-- the most urgent first; 2 by default), the oldest since that time (seconds of the monotonic clock;
-- now by default).
--
-- `r:yields() -> boolean`: is it the turn of another process's caller, before those of this one?
--
-- `r:next(mask) -> priority` and `r:take(priority)`: whose turn it is, and that it has had it; one
-- account for all processes (`unbusy.turns`).
--
-- `r:wake() -> boolean` wakes one other process: of the priority whose turn it is the one whose
-- oldest caller waits longest, of those that have more callers waiting than wake-ups on their way.
-- False when there is none, which costs next to nothing. Who was woken and has no use for it wakes
-- the next one in turn.
--
-- Failures: `invalid`, no region or not this user's; `full` and `nomem`, no space.
---@param given unbusy.options.region? see `region.schema`
---@return unbusy.core.region? r, string? message, string? code
function region.new(given)
  local o = options.check(region.schema, given, "region")
  local message = region.wrong(o)
  if message then error("region: " .. message, 2) end
  return core.region(o)
end

return region
