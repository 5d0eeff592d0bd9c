--- Whose turn it is, where three priorities share one way.
--
--     local turns = require "unbusy.turns"
--     local t = turns.new()
--     t:join(3)                 -- somebody of the third waits, and nobody did
--     local p = t:next(1 + 4)   -- of the first and the third: whose turn is it?
--     t:take(p)                 -- it has had it
--
-- Of 21 turns the first priority has 16, the second 4 and the third 1, where all of them wait; one
-- that waits alone has all turns. csrc/base/turns.h has the source. A region has an account of
-- turns of its own, for all its processes.
local core = require "unbusy.core"

local turns = {}

--- The priorities' names, the most urgent first.
turns.names = { "interactive", "normal", "batch" }

--- Of 21 turns.
turns.shares = { 16, 4, 1 }

--- Name -> number, from 1.
turns.number = {}
for i, name in ipairs(turns.names) do turns.number[name] = i end

--- A new account.
--
-- `t:join(priority)`: somebody of this priority waits, and nobody did: it has no claim from before.
--
-- `t:next(mask) -> priority`: the one whose turn it is, of a set of them: 1 for the first, 2 for
-- the second and 4 for the third, added up.
--
-- `t:take(priority)`: it has had a turn.
---@return userdata t
function turns.new()
  return core.turns()
end

return turns
