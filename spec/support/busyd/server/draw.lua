--- Random draws that depend on the seed and the number of the request only, not on the worker.
local ffi = require "ffi"
local bit = require "bit"

local u64 = ffi.typeof "uint64_t"

local draw = {}

-- splitmix64 (Steele, Lea, Flood 2014) of seed, number and purpose; a number in [0, 1).
local function unit(seed, number, purpose)
  local x = u64(seed) * 0x9E3779B97F4A7C15ULL + u64(number) * 0xD1B54A32D192ED03ULL + u64(purpose)
  x = bit.bxor(x, bit.rshift(x, 30)) * 0xBF58476D1CE4E5B9ULL
  x = bit.bxor(x, bit.rshift(x, 27)) * 0x94D049BB133111EBULL
  x = bit.bxor(x, bit.rshift(x, 31))
  return tonumber(bit.rshift(x, 11)) / 2 ^ 53
end

local PURPOSE_FAULT, PURPOSE_LATENCY, PURPOSE_NORMAL = 1, 2, 3

local kinds = {}

function kinds.fixed(latency) return latency.mean end

function kinds.uniform(latency, u) return latency.min + u * (latency.max - latency.min) end

function kinds.exponential(latency, u) return -latency.mean * math.log(1 - u) end

-- 'mean' is the mean of the drawn times, 'sigma' that of their logarithms (1 when not given).
function kinds.lognormal(latency, u, v)
  local sigma = latency.sigma or 1
  local normal = math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v)
  return latency.mean * math.exp(sigma * normal - sigma * sigma / 2)
end

function kinds.bimodal(latency, u) return u < latency.p and latency.slow or latency.mean end

--- Seconds to wait before the first token of request 'number'.
---@param latency number|table|nil
---@return number
function draw.latency(latency, seed, number)
  if not latency then return 0 end
  if type(latency) == "number" then return latency end
  local u, v = unit(seed, number, PURPOSE_LATENCY), unit(seed, number, PURPOSE_NORMAL)
  local seconds = kinds[latency.kind or "fixed"](latency, u, v)
  return math.min(math.max(seconds, latency.min or 0), latency.max or math.huge)
end

--- The fault that request 'number' meets, or nil: each has its share of all requests.
---@param faults table[]  { share, answer }
function draw.fault(faults, seed, number)
  if #faults == 0 then return nil end
  local u = unit(seed, number, PURPOSE_FAULT)
  for _, fault in ipairs(faults) do
    u = u - (fault.share or 0.05)
    if u < 0 then return fault.answer end
  end
end

return draw
