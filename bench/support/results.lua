--- What benches have found out, for a program to read: a line of JSON for each fact, in the file
--- that UNBUSY_BENCH_RESULTS names; nowhere where it names none. tools/bench.sh names one for each
--- bench and Lua, and tools/performance.lua makes docs/performance.md of them.
---
---     { kind = "row",   title =, name =, value =, unit =, ratio = }  of a race; ratio to the first
---     { kind = "goal",  what =, limit =, value =, unit =, at_least =, met = }
---     { kind = "peer",  peer =, what =, ratio = }       what ours takes, of what the peer takes
---     { kind = "point", curve =, line =, x =, y =, of =, unit = }    of a curve; of: what x counts
local encode = require("unbusy.json").encode -- (a bench may put another in its place)

local results = {}

-- JSON has no word for them: such a figure is left out.
local function is_finite(value)
  return type(value) ~= "number" or value == value and value < math.huge and value > -math.huge
end

--- Tells a fact.
---@param fact table<string, string|number|boolean> `kind` and what belongs to it, as above
function results.tell(fact)
  local path = os.getenv "UNBUSY_BENCH_RESULTS"
  if not path or path == "" then return end
  local line = {}
  for name, value in pairs(fact) do
    if is_finite(value) then line[name] = value end
  end
  local file = assert(io.open(path, "a"))
  file:write(encode(line), "\n")
  file:close()
end

return results
