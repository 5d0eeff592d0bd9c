--- What `unbusy diagnose` finds in a gateway's log: a spec says when its calls ended, and how.
--
--     local facts = diagnosed.facts { { 0, diagnosed.GOOD }, { 1, diagnosed.BUSY } }
local diagnose_log = require "unbusy.diagnose.log"

local diagnosed = {}

-- The fields of a call that target "a" has answered, or refused.
diagnosed.GOOD = '"target":"a","source":"upstream","tries":1,"queued":0,"start":0.1,"seconds":0.1'
diagnosed.BUSY = '"target":"a","code":"busy","tries":1,"seconds":0.1'

--- The facts of a log with these calls.
---@param calls table[] { second, fields }, in order
---@return table
function diagnosed.facts(calls)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  for _, call in ipairs(calls) do
    file:write(('{"time":"2026-01-31T12:%02d:%02d+00:00","kind":"chat",%s}\n'):format(
      math.floor(call[1] / 60), call[1] % 60, call[2]))
  end
  file:close()
  local facts = assert(diagnose_log.read(path))
  os.remove(path)
  return facts
end

return diagnosed
