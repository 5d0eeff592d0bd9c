--- Server-sent events, out of chunks cut anywhere.
--
--     local sse = require "unbusy.sse"
--     local p = sse.new {}
--     for _, event in ipairs(assert(p:feed(chunk))) do print(event.data) end
--
-- The format is WHATWG HTML, "9.2 Server-sent events".
local core = require "unbusy.core"
local options = require "unbusy.options"
require "unbusy.ffi.sse"

local sse = {}

--- Every option of `new`.
sse.schema = {
  limit = { type = "whole", default = 64 * 1024 * 1024, min = 1, max = 2 ^ 30, unit = "bytes",
    doc = "the most one event may hold: data, type, id and the line under way" },
}

local defaults = options.check(sse.schema, nil, "sse") -- each stream has a parser

--- Makes a parser.
---
--- `p:feed(bytes) -> events` gives the events that these bytes completed, {} when none. An event is
--- a table of `data`, its lines joined with "\n", and of what else was named:
---
--- - `event`: its type; nil where the standard says "message"
--- - `id`: the last one the stream named, in this event or before
--- - `retry`: seconds (the wire has milliseconds), if named since the event before
---
--- An event over `limit` gives `nil, message, "upstream"`; no memory gives `nil, message, "nomem"`.
--- Either is for good: every later call gives the same. Events completed before the failure are
--- given first, and the failure then by the next call.
---
--- `p:comments() -> count` of comment lines so far: servers send them to keep a connection alive.
---
--- `p:finish() -> bytes` ends the stream: how many bytes belonged to a last event that no blank
--- line ended, and that the standard drops; 0 is a clean end. It may be called twice; `feed` then
--- gives `nil, message, "closed"`.
---@param given unbusy.options_of.sse? see `sse.schema`
---@return unbusy.core.sse p
function sse.new(given)
  local o = given == nil and defaults or options.check(sse.schema, given, "sse")
  local parser = core.sse(o)
  return parser -- no tail call: see `unbusy.clock`
end

return sse
