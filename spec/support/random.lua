--- Chance for tests: the same on every Lua, and repeatable.
--
--     local random = require "spec.support.random"
--     local r = random.new(random.seed(7))
--     r:int(6)  r:float()  r:pick { "a", "b" }  r:chance(0.1)  r:leap()
--     random.walk(r, 100000, function(step) … end)
--
-- A test names its seed, and the environment variable UNBUSY_SEED overrules it. What fails in
-- `walk` says the seed and the step.
local random = {}

local PRIME = 2147483647

local methods = {}
local class = { __index = methods }

--- The seed of a test: UNBUSY_SEED, or `default`.
---@param default integer
---@return integer
function random.seed(default)
  local given = os.getenv "UNBUSY_SEED"
  if not given then return default end
  return tonumber(given) or error("UNBUSY_SEED: a whole number expected, got " .. given, 0)
end

--- A generator: Lehmer's, with the numbers of Park and Miller ("Random number generators: good ones
--- are hard to find", 1988). math.random differs between the Luas.
---@param seed integer
function random.new(seed)
  local r = setmetatable({ seed = seed, state = (seed * 48271 + 11) % (PRIME - 1) + 1 }, class)
  for _ = 1, 4 do r:float() end -- seeds that are near each other part here
  return r
end

--- A number x with 0 <= x < 1, of 53 random bits.
function methods:float()
  local high = self.state * 16807 % PRIME
  local low = high * 16807 % PRIME
  self.state = low
  return ((high - 1) * 4194304 + math.floor((low - 1) / 512)) / 9007199254740992
end

--- A whole number of 1 to n.
function methods:int(n)
  return math.floor(self:float() * n) + 1
end

--- One of the list.
function methods:pick(list)
  return list[self:int(#list)]
end

--- True once in 1/p times.
function methods:chance(p)
  return self:float() < p
end

--- How far time moves before a step, in microseconds: often not at all, mostly a little, at times
--- by seconds; seldom back (50 ms at most) or by years.
function methods:leap()
  local kind = self:int(1000)
  if kind <= 400 then return 0 end
  if kind <= 850 then return self:int(300000) end
  if kind <= 940 then return self:int(4000000) end
  if kind <= 970 then return -self:int(50000) end
  if kind <= 999 then return self:int(20000000) end
  return self:int(2) * 31557600e6
end

--- Does `steps` steps; an error in one of them is raised with the seed and the step in front.
---@param r table of `random.new`
---@param steps integer
---@param f fun(step: integer)
---@param what string? which of several walks it is
function random.walk(r, steps, f, what)
  local at
  local ok, message = pcall(function()
    for step = 1, steps do
      at = step
      f(step)
    end
  end)
  if ok then return end
  error(("%sstep %d: %s (UNBUSY_SEED=%d repeats it)"):format(what and what .. ", " or "", at,
    tostring(message), r.seed), 0)
end

return random
