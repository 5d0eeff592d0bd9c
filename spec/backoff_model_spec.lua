local backoff = require "unbusy.backoff"
local random = require "spec.support.random"

-- Between what and what a delay must lie: the table of backoff.h, row by row.
local function bounds(o, n, previous)
  local low, high
  n = math.max(1, math.min(n, 1e15))
  if o.kind == "constant" then
    low = o.base
  elseif o.kind == "linear" then
    low = math.min(n * o.base, o.cap)
  elseif o.kind == "decorrelated" then
    low, high = o.base, 3 * math.max(o.base, previous or 0)
  elseif o.base == 0 then
    low = 0 -- however often it is doubled
  else
    low = math.min(o.base * o.factor ^ (n - 1), o.cap)
  end
  if o.kind == "full" then low, high = 0, low end
  if o.kind == "equal" then low, high = low / 2, low end
  return low, high or low * (1 + o.jitter)
end

describe("a backoff and its naive model", function()
  local kinds = { "exponential", "full", "equal", "decorrelated", "constant", "linear" }

  local function options_of(r, seed)
    local o = { kind = r:pick(kinds), seed = seed, jitter = r:pick { 0, 0.1, 1, r:float() } }
    o.base = r:pick { 0, 0.001, 1, 60, r:float() * 10 }
    o.factor = r:pick { 1, 1.5, 2, 10, 1e6 }
    o.cap = o.base + r:pick { 0, 1, 30, 1e6 }
    return o
  end

  local function times(r)
    return r:pick { r:int(6), r:int(6), r:int(100), r:int(2 ^ 50), 0, -r:int(9), 1e300, math.huge }
  end

  local function before(r)
    return r:pick { false, r:float() * 100, 0, -5, 1e300 } or nil
  end

  it("agree on the bounds of 100,000 delays, which are spread over all between", function()
    local r = random.new(random.seed(1))
    local parts, n, o, b, twin = {}, 0, nil, nil, nil
    for part = 1, 10 do parts[part] = 0 end
    random.walk(r, 100000, function(step)
      if step % 500 == 1 then
        o = options_of(r, step)
        b, twin = backoff.new(o), backoff.new(o)
      end
      local count, previous = times(r), before(r)
      local delay = b:delay(count, previous)
      local low, high = bounds(o, count, previous)
      local least, most = math.min(low, o.cap), high
      if o.kind == "decorrelated" then most = math.min(high, o.cap) end
      assert(delay >= least * (1 - 1e-12) and delay <= most * (1 + 1e-12),
        ("%s, n %g: %g is not within %g and %g"):format(o.kind, count, delay, least, most))
      assert(delay == twin:delay(count, previous), "the seed repeats it")
      if high > low and (o.kind ~= "decorrelated" or high <= o.cap) then
        local part = math.min(10, 1 + math.floor((delay - low) / (high - low) * 10))
        parts[part], n = parts[part] + 1, n + 1
      end
    end)
    assert.is_true(n > 10000, n)
    for part = 1, 10 do -- six standard deviations
      assert.near(n / 10, parts[part], 6 * math.sqrt(n * 0.09), ("tenth %d of %d"):format(part, n))
    end
  end)
end)
