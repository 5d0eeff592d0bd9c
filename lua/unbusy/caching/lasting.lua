--- A client's cache in a file; where that cannot be had, in memory of this process.
local cache = require "unbusy.cache"

local lasting = {}

--- Opens it. What is wrong with the file is no failure: the second result says it, as the event
--- `cache` does.
---@param o table options of `unbusy.cache`, with a `path`
---@return table|userdata? cache, table|string|nil fault_or_message, string? code "nomem"
function lasting.open(o)
  local near, message, code = cache.new(o)
  if near then return near end
  o.path = nil
  local instead, why, how = cache.new(o)
  if not instead then return nil, why, how end
  return instead, { what = "fault", level = "file", code = code, message = message }
end

return lasting
