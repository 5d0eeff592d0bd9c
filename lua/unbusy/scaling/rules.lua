--- What a rule of scaling wishes for, from what is seen. Pure: no clock, no I/O.
--
-- | rule | it goes by |
-- |---|---|
-- | `cpu` | the CPU in use on the nodes, as a share of what they have: over the line, `step` more |
-- | `load` | the calls under way and waiting in the gateway: replicas with places for them |
--
-- Both have two lines, one to grow and a lower one to shrink, so that a value between them moves
-- nothing (hysteresis). What is missing is never taken for zero: without a figure there is no wish.
local rules = {}

local ceil, max = math.ceil, math.max

-- {== Options =============================================================

--- The options of both rules; also read by the command line.
rules.schema = {
  step = { type = "whole", default = 3, min = 1, max = 100,
    doc = "replicas more when the CPU is over its line, or calls wait too long" },
  cpu = { type = "number", default = 0.8, above = 0, max = 1,
    doc = "share of the nodes' CPU over which there are more replicas" },
  cpu_down = { type = "number", default = 0.5, min = 0, max = 1,
    doc = "share under which there may be fewer" },
  millicores = { type = "number", above = 0, max = 1e9,
    doc = "instead of the share: so many millicores in all, whatever the nodes have" },
  places = { type = "number", default = 8, above = 0, max = 1e6,
    doc = "calls that one replica serves at once" },
  full = { type = "number", default = 0.9, above = 0, max = 1,
    doc = "share of the places in use over which there are more replicas" },
  full_down = { type = "number", default = 0.8, min = 0, max = 1,
    doc = "share under which there may be fewer" },
  wait = { type = "number", default = 5, above = 0, max = 1e6, unit = "s",
    doc = "that calls may wait in line; over it there are more replicas at once" },
}

--- What is wrong with options that are well each for itself; nil where they fit each other.
---@param o table
---@return string? message
function rules.fault(o)
  if o.cpu_down >= o.cpu then return "cpu_down: less than cpu expected" end
  if o.full_down >= o.full then return "full_down: less than full expected" end
end

-- }========================================================================

local function missing(what)
  return { missing = what }
end

local function is_amount(n)
  return type(n) == "number" and n >= 0 and n - n == 0
end

-- {== CPU =================================================================

local function share_text(seen)
  if not seen.cpu_whole then return ("CPU %.0fm"):format(seen.cpu) end
  return ("CPU %.0fm of %.0fm (%.0f %%)"):format(seen.cpu, seen.cpu_whole,
    100 * seen.cpu / seen.cpu_whole)
end

--- Over the line `step` replicas more; under the lower line one less, if the rest would then stay
--- under the upper one. With `millicores` the lower line is as far below as that of the shares.
---@param seen table { replicas =, cpu = millicores in use, cpu_whole = millicores that there are }
---@param o table options
---@return table vote { wish = replicas, why = } or { missing = what }
function rules.cpu(seen, o)
  if not is_amount(seen.cpu) then return missing(seen.lacks or "the nodes' CPU") end
  local line, whole = o.millicores, seen.cpu_whole
  if not line then
    if not is_amount(whole) or whole == 0 then return missing(seen.lacks or "the nodes' size") end
    line = o.cpu * whole
  end
  local low, text, n = line * o.cpu_down / o.cpu, share_text(seen), seen.replicas
  if seen.cpu > line then
    return { wish = n + o.step, why = ("%s: over %.0fm"):format(text, line) }
  end
  local rest = n > 1 and seen.cpu * n / (n - 1) or math.huge -- if the nodes shrink with the pods
  if seen.cpu < low and rest < line then
    return { wish = n - 1, why = ("%s: under %.0fm"):format(text, low) }
  end
  return { wish = n, why = text }
end

-- }========================================================================

-- {== Calls under way and waiting =========================================

local function load_text(seen, o)
  local text = ("%.0f under way, %.0f waiting, %.0f places"):format(seen.in_flight, seen.waiting,
    seen.replicas * o.places)
  if is_amount(seen.wait) then text = ("%s, %.1f s in line"):format(text, seen.wait) end
  return text
end

--- So many replicas that what is under way and waiting fills `full` of their places; fewer only
--- where it would fill no more than `full_down` of the places that are left. Where calls wait
--- longer than `wait`, at least `step` more. Who wait count, so the wish does not grow by itself
--- while new replicas start.
---@param seen table { replicas =, in_flight =, waiting =, wait = seconds in line, or nil }
---@param o table options
---@return table vote as of `rules.cpu`
function rules.load(seen, o)
  if not is_amount(seen.in_flight) then return missing(seen.lacks or "calls under way") end
  if not is_amount(seen.waiting) then return missing(seen.lacks or "calls waiting") end
  local demand, n, text = seen.in_flight + seen.waiting, seen.replicas, load_text(seen, o)
  local up = ceil(demand / (o.places * o.full))
  if is_amount(seen.wait) and seen.wait > o.wait and seen.waiting > 0 then
    return { wish = max(up, n + o.step), why = ("%s: over %g s"):format(text, o.wait) }
  end
  if up > n then return { wish = up, why = ("%s: over %g of them"):format(text, o.full) } end
  local down = max(1, o.full_down > 0 and ceil(demand / (o.places * o.full_down)) or n)
  if down < n then
    return { wish = down, why = ("%s: under %g of them"):format(text, o.full_down) }
  end
  return { wish = n, why = text }
end

-- }========================================================================

return rules
