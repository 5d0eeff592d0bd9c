-- A list of the most frequent with its notes, as a client's list of hot questions is, was closed by
-- a finalizer that ran while `top` made room for its copies: `top` then read how long a note may be
-- where the list had been. That memory was no longer the process's, which ended there.
local core = require "unbusy.core"
local when_collected = require "spec.support.when_collected"

-- Calls f with garbage about that runs `close`, if the collector comes by within f.
local function closing(close, f)
  collectgarbage "collect"
  collectgarbage "stop"
  if _VERSION == "Lua 5.4" then collectgarbage("incremental", 200, 100, 60) end -- all in one step
  when_collected(close)
  collectgarbage "restart"
  local ok, message = pcall(f)
  if _VERSION == "Lua 5.4" then collectgarbage("incremental", 200, 100, 13) end -- as by default
  return ok, message
end

describe("a list of the most frequent with notes", function()
  it("that a finalizer closes while it is read says so", function()
    for _ = 1, 10 do
      -- Large, so that what is given back is the system's at once.
      local t = core.topk { counters = 5000, key_bytes = 256, note_bytes = 200 }
      for i = 1, 100 do t:add("key " .. i) end
      local ok, message = closing(function() t:close() end, function() return t:top(100, true) end)
      if not ok then assert.matches("closed", message) end
      t:close()
    end
  end)
end)
