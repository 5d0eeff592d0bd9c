--- Which target the next call goes to.
--
--     local balancer = require "unbusy.balancer"
--     local b = balancer.new { kind = "p2c", targets = { { name = "east" }, { name = "west" } } }
--     local name, ticket, code = b:pick()
--     if name then
--       local outcome, seconds = ask(name)          -- to the first token
--       b:report(ticket, outcome, seconds)
--     end
--
-- Three kinds:
--
-- - `weighted` shares calls out by `weight`, exactly and evenly, whatever the targets do: smooth
--   weighted round robin.
-- - `p2c` draws two targets by chance and takes the one with less load, which is what its calls
--   take × those pending there / `weight`: the power of two choices, over a peak-EWMA.
-- - `priority` takes the lowest number, and shares out by `weight` among equal ones.
--
-- A target of weight 0 is a spare for every kind: it is asked only when no other is left. Of
-- `priority` only the kind of that name takes note. csrc/parts/balancer.h has the rules, their
-- reasons and sources.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"

local balancer = {}

--- Every option of `new`.
balancer.schema = {
  kind = { type = "string", default = "weighted", one_of = { "weighted", "p2c", "priority" },
    doc = "how the target is found" },
  targets = { type = "list", required = true, min = 1, max = 1024, doc = "where a call may go",
    each = { type = "table", fields = {
      name = { type = "string", required = true, doc = "no two are the same" },
      weight = { type = "number", default = 1, min = 0, max = 1e6,
        doc = "its share, in millionths at the finest; 0 is a spare, asked when no other is left" },
      priority = { type = "whole", default = 1, min = -1e9, max = 1e9,
        doc = "the lowest is asked first (priority)" },
    } } },
  decay = { type = "number", default = 10, min = 0.001, max = 1e9, unit = "s",
    doc = "after so long without a sample, a third (1/e) of an old cost is left" },
  slots = { type = "whole", default = 4096, min = 1, max = 65534,
    doc = "tickets that are out at once (32 bytes each); beyond, the oldest is given up as lost" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock" },
  seed = { type = "whole", doc = "repeats the draws of p2c; by default from the system's entropy" },
}

local class = clocked.class { pick = 1, report = 3, stats = 0 }

-- The name that two targets have, or nil.
local function twice(targets)
  local seen = {}
  for _, target in ipairs(targets) do
    if seen[target.name] then return target.name end
    seen[target.name] = true
  end
end

--- Makes a balancer.
--
-- `b:pick(except) -> name, ticket`, or nil, message, "open": where to send the next call. `except`
-- names the targets that are not wanted now (`{ east = true }`: its breaker is open, it was tried);
-- other names in it are passed over. "open" means that it names them all, and leaves everything as
-- it was.
--
-- `b:report(ticket, "ok" / "fail" / "neutral", seconds) -> boolean`: the call is over. `seconds` is
-- the time to its first token; left out, it is counted from `pick`. "fail" counts as twice the
-- target's cost at least, and 1 s: a quick failure is no quick answer. "neutral" says nothing of
-- the target and leaves its cost. False for a ticket that is not out (reported before, given up, or
-- unknown).
--
-- `b:stats() -> { name = { picks =, pending =, cost =, load = }, … }`: calls sent there, those
-- not yet reported, the smoothed seconds to the first token (nil before the first), and the load
-- by which p2c compares.
---@param given table see `balancer.schema`
---@return table|userdata b
function balancer.new(given)
  local o = options.check(balancer.schema, given, "balancer")
  local name = twice(o.targets)
  if name then error(("balancer: targets: two are named '%s'"):format(name), 2) end
  return clocked.wrap(class, core.balancer(o), o.clock)
end

return balancer
