--- The demo's command line.
local options = {}

options.HELP = [[
Usage: lua5.4 examples/demo/demo.lua [options]        (or: make demo)

Four clients meet the same burst of questions at a busy server.

  --capacity N   questions a second the server can answer (20)
  --service S    seconds a question takes there, on average (1)
  --queue N      places in the server's own waiting line (0)
  --deadline S   seconds within which a question must be answered (4 × the burst)
  --seed N       other arrivals (1)
  --apart        one client after the other, not side by side
  --short        a few seconds: to see that it runs, not how it ends
  --json         the figures as JSON, and nothing else

Exit status: 0 when unbusy answered 99 % or more with fewer calls than the loop; 1 when it did
not, or a count does not agree; 2 for wrong options.
]]

local known = {
  capacity = { min = 1, max = 500, whole = true }, service = { min = 0.05, max = 10 },
  queue = { min = 0, max = 1e5, whole = true }, deadline = { min = 0.1, max = 600 },
  seed = { min = 1, max = 1e6, whole = true },
}
local switches = { apart = true, short = true, json = true, help = true }

local function number(name, text)
  local rule, value = known[name], tonumber(text)
  if not value or not (value >= rule.min and value <= rule.max)
    or rule.whole and value % 1 ~= 0 then
    return nil, ("--%s: %s from %g to %g expected"):format(name,
      rule.whole and "a whole number" or "a number", rule.min, rule.max)
  end
  return value
end

local function filled(o)
  o.capacity, o.queue, o.seed = o.capacity or 20, o.queue or 0, o.seed or 1
  o.service = o.service or (o.short and 0.2 or 1)
  o.burst, o.total = o.short and 1 or 5, o.short and 3 or 30
  return o
end

--- Reads arguments.
---@param args string[]
---@return table? o, string? message
function options.read(args)
  local o, i = {}, 1
  while args[i] do
    local name, value = args[i]:match "^%-%-(%a+)=?(.*)$"
    if switches[name] and value == "" then
      o[name] = true
    elseif known[name] then
      if value == "" then i = i + 1 end
      local message
      o[name], message = number(name, value ~= "" and value or args[i])
      if message then return nil, message end
    else
      return nil, ("unknown option %s"):format(args[i])
    end
    i = i + 1
  end
  return filled(o)
end

return options
