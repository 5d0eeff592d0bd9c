--- What an answer cost.
--
--     local price = { input = 1, output = 4 }
--     cost.of({ prompt_tokens = 1000, completion_tokens = 50 }, price)     --> 0.0012
local cost = {}

local function tokens(n)
  return type(n) == "number" and n > 0 and n < math.huge and n or 0
end

--- The price of a call, in the currency of `price`; nil when it cannot be known: no usage, no
--- price, or tokens of a kind that `price` does not name.
---@param usage table? prompt_tokens (cached ones included), cached_tokens, completion_tokens
---@param price table? input, cached (input's by default) and output, each for 1,000,000 tokens
---@return number?
function cost.of(usage, price)
  if not usage or not price then return nil end
  local prompt, output = tokens(usage.prompt_tokens), tokens(usage.completion_tokens)
  local cached = math.min(tokens(usage.cached_tokens), prompt)
  local input_price, cached_price = price.input, price.cached or price.input
  if prompt > cached and not input_price or cached > 0 and not cached_price
    or output > 0 and not price.output then
    return nil
  end
  local sum = (prompt - cached) * (input_price or 0) + cached * (cached_price or 0)
  return (sum + output * (price.output or 0)) / 1e6
end

return cost
