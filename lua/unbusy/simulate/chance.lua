--- Chance that comes out the same each time, in every Lua.
--
--     local draw = chance.stream(7, "latency", "deepseek")    -- draw() is in 0 … 1, without both
--     local seconds = chance.sampler({ kind = "lognormal", mean = 1, sigma = 0.5 }, draw)
--
-- Park and Miller's generator: products stay below 2^53, so that doubles and integers agree.
local chance = {}

local MODULUS, FACTOR = 2147483647, 16807

-- A number out of a text, in the way of Bernstein's hash.
local function number_of(text)
  local sum = 5381
  for i = 1, #text do sum = (sum * 33 + text:byte(i)) % MODULUS end
  return sum
end

--- A stream of numbers that depends on the seed and on what it is for.
---@param seed integer
---@param ... string what it is for
---@return fun(): number
function chance.stream(seed, ...)
  local state = (seed % MODULUS * 48271 + 11) % MODULUS
  for i = 1, select("#", ...) do
    state = (state * 69621 % MODULUS + number_of((select(i, ...)))) % MODULUS
  end
  if state == 0 then state = 1 end
  local function draw()
    state = state * FACTOR % MODULUS
    return state / MODULUS
  end
  for _ = 1, 8 do draw() end -- the first few of seeds that are near are near too
  return draw
end

-- {== Distributions =======================================================

local kinds = {}

function kinds.fixed(o)
  return function() return o.mean end
end

function kinds.uniform(o, draw)
  local low, width = o.min, o.max - o.min
  return function() return low + width * draw() end
end

function kinds.exponential(o, draw)
  return function() return -o.mean * math.log(draw()) end
end

-- `mean` is that of the times themselves, `sigma` that of their logarithms.
function kinds.lognormal(o, draw)
  local sigma = o.sigma or 1
  local shift, turn = -sigma * sigma / 2, 2 * math.pi
  return function()
    local normal = math.sqrt(-2 * math.log(draw())) * math.cos(turn * draw())
    return o.mean * math.exp(sigma * normal + shift)
  end
end

function kinds.bimodal(o, draw)
  return function() return draw() < o.p and o.slow or o.mean end
end

--- One of the values of a list, which has at least one.
function kinds.sampled(o, draw)
  local values, n = o.values, #o.values
  return function() return values[math.floor(draw() * n) + 1] end
end

--- What each kind cannot do without.
chance.needs = { fixed = { "mean" }, uniform = { "min", "max" }, exponential = { "mean" },
  lognormal = { "mean" }, bimodal = { "mean", "slow", "p" } }

local function bounded(sample, least, most)
  return function()
    local seconds = sample()
    return seconds < least and least or seconds > most and most or seconds
  end
end

--- A function that draws seconds; `min` and `max` bound every kind.
---@param what number|table seconds, or { kind =, mean =, … }
---@param draw fun(): number
---@return fun(): number
function chance.sampler(what, draw)
  if type(what) == "number" then return function() return what end end
  local sample = kinds[what.kind or "fixed"](what, draw)
  if what.min or what.max then return bounded(sample, what.min or 0, what.max or math.huge) end
  return sample
end

--- The value below which a share of what is drawn lies, from a thousand draws; always the same.
---@param what number|table
---@param share number
---@return number
function chance.quantile(what, share)
  local sample, values = chance.sampler(what, chance.stream(1, "quantile")), {}
  for i = 1, 1001 do values[i] = sample() end
  table.sort(values)
  return values[math.max(1, math.ceil(share * 1001))]
end

-- }========================================================================

return chance
