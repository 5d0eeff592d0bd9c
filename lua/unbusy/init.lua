--- unbusy keeps an application answering when its LLM API says "server busy".
--
--     local unbusy = require "unbusy"
--     local client = unbusy.new {
--       targets = { { name = "deepseek", url = "https://api.deepseek.com" } },
--     }
--     local reply, message, code = client:chat {
--       messages = { { role = "user", content = "天气如何" } },
--     }
local canceller = require "unbusy.canceller"
local client = require "unbusy.client"
local json = require "unbusy.json"
local loops = require "unbusy.loops"

local unbusy = {}

unbusy.version = require "unbusy.version"

--- JSON's null.
unbusy.null = json.null

--- Marks a table as a list, so that an empty one is written as `[]`.
unbusy.array = json.array

--- Makes a client; see the README for the options. Raises at the caller's line for wrong ones.
---@param options table|string a table, or the path of a Lua file that returns one
---@return table client
unbusy.new = client.new

--- Makes what ends calls from outside: `client:chat(request, { cancel = c })`, and then
--- `c:cancel()` from any coroutine, at any time.
---@return table canceller
unbusy.canceller = canceller.new

--- Runs `f(...)` and all tasks it spawns, in this thread, until they have ended; gives what `f`
--- gives. Calls of clients inside wait without blocking each other. Inside nginx, cqueues or a
--- coroutine of Neovim it is a plain call: there the host runs what is spawned.
unbusy.run = loops.run

--- Begins a task that runs `f(...)` beside the others; `task:join()` waits for what it gives.
unbusy.spawn = loops.spawn

--- Sleeps for so many seconds; other tasks go on meanwhile.
function unbusy.sleep(seconds)
  if type(seconds) ~= "number" or seconds ~= seconds then
    error("sleep: seconds expected, got a " .. type(seconds), 2)
  end
  return loops.enter(nil, function(loop) loop.sleep(seconds) end)
end

return unbusy
