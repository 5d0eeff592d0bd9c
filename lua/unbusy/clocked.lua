--- Parts with a clock of the caller's own.
--
-- A part's methods read the monotonic clock themselves when no time is given; that is the fast
-- way, and then the part is the C object itself. With `clock =` (a function giving seconds) the
-- object is
-- wrapped: each method in `arity` gets the clock's time behind its arguments.
local clocked = {}

local unpack = table.unpack or unpack -- luacheck: ignore

-- A method that passes exactly n arguments and then the time.
local function timed(name, n)
  if n == 0 then
    return function(self) local o = self.object return o[name](o, self.clock()) end
  elseif n == 1 then
    return function(self, a) local o = self.object return o[name](o, a, self.clock()) end
  end
  return function(self, ...)
    local args = { ... }
    args[n + 1] = self.clock()
    local o = self.object
    return o[name](o, unpack(args, 1, n + 1))
  end
end

--- The class that wraps a C object: `arity` says how many arguments stand before the time in each
--- method that takes one; `plain` lists the methods that take none.
---@param arity table<string, integer>
---@param plain string[]
---@return table class
function clocked.class(arity, plain)
  local methods = {}
  for name, n in pairs(arity) do methods[name] = timed(name, n) end
  for _, name in ipairs(plain or {}) do
    methods[name] = function(self, ...) local o = self.object return o[name](o, ...) end
  end
  return { __index = methods, __metatable = false }
end

--- The object itself, or wrapped when a clock is given.
function clocked.wrap(class, object, clock)
  if not clock then return object end
  return setmetatable({ object = object, clock = clock }, class)
end

return clocked
