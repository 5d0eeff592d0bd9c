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
-- Four kinds:
--
-- - `weighted` shares calls out by `weight`, exactly and evenly, whatever the targets do: smooth
--   weighted round robin.
-- - `p2c` draws two targets by chance and takes the one with less load, which is what its calls
--   take × those pending there / `weight`: the power of two choices, over a peak-EWMA.
-- - `priority` takes the lowest number, and shares out by `weight` among equal ones.
-- - `order` takes the first of the list.
--
-- With a key, each of them gives the target that the key belongs to (weighted rendezvous): one that
-- comes or goes moves its own share of the keys and no other. A target of weight 0 is a spare for
-- every kind: it is asked only when no other is left. Of `priority` only the kind of that name
-- takes note. csrc/parts/balancer.h has the rules, their reasons and sources.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"
require "unbusy.ffi.balancer"

local balancer = {}

--- Every option of `new`.
balancer.schema = {
  kind = { type = "string", default = "weighted",
    one_of = { "weighted", "p2c", "priority", "order" }, doc = "how the target is found" },
  targets = { type = "list", required = true, min = 1, max = 1024, doc = "where a call may go",
    each = { type = "table", fields = {
      name = { type = "string", required = true, doc = "no two are the same" },
      weight = { type = "number", default = 1, min = 0, max = 1e6,
        doc = "its share, in millionths at the finest; 0 is a spare, asked when no other is left" },
      priority = { type = "whole", default = 1, min = -1e9, max = 1e9,
        doc = "the lowest is asked first (priority)" },
      line = { type = "number", min = 0.001, max = 1e9, unit = "s",
        doc = "it takes no more calls than begin to be answered within this; none by default" },
    } } },
  decay = { type = "number", default = 10, min = 0.001, max = 1e9, unit = "s",
    doc = "after so long without a sample, a third (1/e) of an old cost is left" },
  hold = { type = "number", default = 5, min = 0.001, max = 1e9, unit = "s",
    doc = "how long nothing may be late, and nobody turned away, before a `line` is forgotten" },
  slots = { type = "whole", default = 4096, min = 1, max = 65534,
    doc = "tickets that are out at once (32 bytes each); beyond, the oldest is given up as lost" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock" },
  seed = { type = "whole", doc = "repeats the draws of p2c; by default from the system's entropy" },
  region = region.fields.region,
  name = region.fields.name,
}

local class = clocked.class {
  pick = 1, choose = 3, begin = 1, back = 1, started = 2, waits = 2, report = 3, stats = 0,
}

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
-- other names in it are passed over. "open" means that it names them all (or that what is left has
-- no room under its `line`), and leaves everything as it was.
--
-- In two steps: `b:choose(except, key, late) -> place`, or as above: the number of the target in
-- the list. `key` (`core.key_hash`, a whole number) gives the one that it belongs to; `late`: also
-- those without room. `except` may be a number too: 1 for the first target, 2 for the second, 4 for
-- the third, and so on, summed up. `b:begin(place) -> ticket`: a call is sent there.
--
-- `b:started(ticket, seconds) -> boolean`: its first token came after so long; `b:waits(ticket,
-- seconds)`: it has not come for so long. `b:report(ticket, "ok" / "fail" / "neutral", seconds) ->
-- boolean`: the call is over. `seconds` is the time to its first token, where it was not told
-- before; left out, it is counted from `pick`. "fail" counts as twice the target's cost at least,
-- and 1 s: a quick failure is no quick answer. "neutral" says nothing of the target and leaves its
-- cost. False for a ticket that is not out (reported before, given up, or unknown).
--
-- `b:back(place)`: the target has come back: for 2 s each it takes 10, 25 and 50 % of its share,
-- then all of it; what was known of its cost is forgotten.
--
-- `b:stats() -> { name = { picks =, pending =, cost =, load =, room =, share = }, … }`: calls sent
-- there, those not yet reported, the smoothed seconds to the first token (nil before the first),
-- the load by which p2c compares, the calls that it takes at once (nil while it is under its line)
-- and, while it comes back, the part of its share that it takes.
--
-- With `region` and `name` it is one for all processes that open it with the same options; calls of
-- a process that died come back as `neutral`.
---@param given table see `balancer.schema`
---@return unbusy.core.balancer? b, string? message, string? code nil: its region is full
function balancer.new(given)
  local o = options.check(balancer.schema, given, "balancer")
  local name = twice(o.targets)
  if name then error(("balancer: targets: two are named '%s'"):format(name), 2) end
  local wrong = region.contradiction(o)
  if wrong then error("balancer: " .. wrong, 2) end
  local b, message, code = core.balancer(o, nil, o.region, o.name)
  if not b then return nil, message, code end
  return clocked.wrap(class, b, o.clock)
end

return balancer
