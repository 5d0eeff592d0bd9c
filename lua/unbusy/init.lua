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

---@class unbusy
local unbusy = {}

--- Which unbusy this is: "MAJOR.MINOR.PATCH".
---@type string
unbusy.version = require "unbusy.version"

--- JSON's null.
---@type lightuserdata
unbusy.null = json.null

--- Marks a table as a list, so that an empty one is written as `[]`.
---@type fun(list: any[]): any[]
unbusy.array = json.array

--- Makes a client; docs/reference.md has all options. Raises at the caller's line for wrong ones.
--- Without the memory for a cache, or room in its region, it is nil, a message and a code.
---@type fun(options: unbusy.options|string): unbusy.client?, string?, unbusy.code?
unbusy.new = client.new

--- Makes what ends calls from outside: `client:chat(request, { cancel = c })`, and then
--- `c:cancel()` from any coroutine, at any time.
---@type fun(): unbusy.canceller
unbusy.canceller = canceller.new

--- Runs `f(...)` and all tasks it spawns, in this thread, until they have ended; gives what `f`
--- gives. Calls of clients inside wait without blocking each other. Inside nginx, cqueues or a
--- coroutine of Neovim it is a plain call: there the host runs what is spawned.
---@type fun(f: (fun(...: any): ...), ...: any): any
unbusy.run = loops.run

--- Begins a task that runs `f(...)` beside the others; `task:join()` waits for what it gives.
---@type fun(f: function, ...: any): unbusy.task
unbusy.spawn = loops.spawn

--- Sleeps for so many seconds; other tasks go on meanwhile.
---@param seconds number
function unbusy.sleep(seconds)
  if type(seconds) ~= "number" or seconds ~= seconds then
    error("sleep: seconds expected, got a " .. type(seconds), 2)
  end
  loops.enter(nil, function(loop) loop.sleep(seconds) end)
end

return unbusy
