--- Shares the tokens of a batch among its answers, to the last one: the sums are what they were.
--
-- The tokens of the requests by the length of each one's text, those of the answers by theirs.
local answers = require "unbusy.providers.answers"

local shares = {}

-- `n` in whole parts, by weight: each goes from one rounded running sum to the next.
local function parts(n, weights)
  local sum, so_far, given, out = 0, 0, 0, {}
  for _, weight in ipairs(weights) do sum = sum + weight end
  for i, weight in ipairs(weights) do
    so_far = so_far + weight
    local up_to = math.floor(n * so_far / sum)
    out[i], given = up_to - given, up_to
  end
  return out
end

-- Not all nothing.
local function some(weights)
  for _, weight in ipairs(weights) do
    if weight > 0 then return weights end
  end
  local even = {}
  for i = 1, #weights do even[i] = 1 end
  return even
end

-- Under those names that the whole has.
local function usage_of(whole, i, part)
  local prompt, said = part.cached[i] + part.fresh[i], part.reasoning[i] + part.said[i]
  local out = { prompt_tokens = prompt, total_tokens = prompt + said + part.rest[i] }
  if whole.completion_tokens ~= nil then out.completion_tokens = said end
  if type(whole.prompt_tokens_details) == "table" then
    out.prompt_tokens_details = { cached_tokens = part.cached[i] }
  end
  if type(whole.completion_tokens_details) == "table" then
    out.completion_tokens_details = { reasoning_tokens = part.reasoning[i] }
  end
  if whole.prompt_cache_hit_tokens ~= nil then
    out.prompt_cache_hit_tokens, out.prompt_cache_miss_tokens = part.cached[i], part.fresh[i]
  end
  if whole.cached_tokens ~= nil then out.cached_tokens = part.cached[i] end
  return out
end

--- The `usage` of each answer, as a server would write it.
---@param whole any the batch's `usage`
---@param asked integer[] length of each request's text
---@param said integer[] length of each answer's text
---@return table[]? nil where the batch tells none
function shares.of(whole, asked, said)
  local sum = answers.usage(whole)
  if not sum then return nil end
  asked, said = some(asked), some(said)
  local cached = math.min(sum.cached_tokens, sum.prompt_tokens)
  local reasoning = math.min(sum.reasoning_tokens, sum.completion_tokens)
  local part = { cached = parts(cached, asked), fresh = parts(sum.prompt_tokens - cached, asked),
    reasoning = parts(reasoning, said), said = parts(sum.completion_tokens - reasoning, said),
    rest = parts(math.max(0, sum.total_tokens - sum.prompt_tokens - sum.completion_tokens), asked) }
  local out = {}
  for i = 1, #asked do out[i] = usage_of(whole, i, part) end
  return out
end

return shares
