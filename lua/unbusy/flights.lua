--- Who asks a question for all processes of a region, while the others wait.
--
--     local flights = require "unbusy.flights"
--     local f = assert(flights.new { region = r, name = "questions" })
--     local part, ticket, kept = f:claim(key, 2, 300)
--     if part == "lead" then
--       local answer = ask()                        -- and put it where the others find it
--       f:finish(ticket, answer and "kept" or "failed")
--     elseif part == "follow" then
--       local state = f:look(ticket)                -- when woken, and now and then
--     end
--
-- Only the hash of a key is kept here: who has followed takes the answer from where it is kept by
-- its own whole key. csrc/parts/flights.h has the rest.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"

local flights = {}

--- Every option of `new`.
flights.schema = {
  flights = { type = "whole", default = 1024, min = 8, max = 32768,
    doc = "questions that may be asked at once; a multiple of 8, and 112 bytes each" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock" },
  region = region.fields.region,
  name = region.fields.name,
}

local class = clocked.class({ claim = 3, look = 1, finish = 2 }, { "stats" })

--- Makes a table of flights.
--
-- `f:claim(key, priority, seconds) -> "lead", ticket, kept`: this process asks, for at most so many
-- seconds (`kept`: but somebody else's answer was kept just now). Or "follow", ticket: another one
-- asks it, at least as urgently (1 to 3, the most urgent first), and will wake this one. Or
-- "alone": nobody is to be waited for, or there is no room.
--
-- `f:look(ticket) -> "led"`: somebody asks. "kept": the answer is where it was to be put. "failed":
-- or its process has died, or its time is up. "apart": its answer is of no use to others. "gone":
-- it is long ago.
--
-- `f:finish(ticket, "kept" / "failed" / "apart") -> boolean`: one's own claim ends, and those who
-- follow are woken. False where it was over.
--
-- `f:stats() -> { open =, led =, followed =, refused =, orphaned = }`: claims under way; of all
-- claims those that led, that followed and that were told "alone"; leaders that died.
--
-- With `region` and `name` it is one table for all processes that open it with the same options;
-- the claims of one that dies have failed.
---@param given table? see `flights.schema`
---@return table|userdata? f, string? message, string? code
function flights.new(given)
  local o = options.check(flights.schema, given, "flights")
  local wrong = region.contradiction(o)
  if wrong then error("flights: " .. wrong, 2) end
  if o.flights % 8 ~= 0 then error("flights: a multiple of 8 expected, got " .. o.flights, 2) end
  local f, message, code = core.flights(o, nil, o.region, o.name)
  if not f then return nil, message, code end
  return clocked.wrap(class, f, o.clock)
end

return flights
