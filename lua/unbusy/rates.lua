--- The limits per minute of one account and model: what a call takes of them, before and after.
--
-- They are there where the options say a limit, or once an answer's headers have
-- (`unbusy.rate_headers`). Before a call is sent, its tokens are foreseen:
--
--     a quarter of the bytes of its texts (1000 tokens for an inline file, `data:…`), and each
--     number of a list, as in a prompt of tokens
--     + max_tokens (or max_completion_tokens, max_output_tokens), but no more than four times what
--       the answers took lately, which stands there too where it says none; times n, for each
--       prompt of a list and each request of a batch
--
-- Afterwards the answer's `usage` says what it was, and the difference is mended. A refused call
-- took none.
local answers = require "unbusy.providers.answers"
local json = require "unbusy.json"
local rate = require "unbusy.rate"
local rate_headers = require "unbusy.rate_headers"

local rates = {}
rates.__index = rates

local BYTES = 4            -- of a token
local INLINE = 1000        -- tokens of an inline file
local FIRST = 256          -- tokens of an answer, before one is known
local SMOOTHING = 8        -- an answer's weight is 1/8
local AT_MOST = 4          -- times what is usual: a bound that is never reached would hold up many
local MOST_CHOICES = 128   -- for one prompt
local MOST_PROMPTS = 2048  -- of one call
local MOST_VALUES = 100000 -- of a request that are looked at

-- {== Foreseeing ==========================================================

-- The bytes of all texts in a value, as deep as JSON goes: a table may hold itself. (A number in
-- a list may be a token.)
local function bytes_of(value, seen, depth)
  if type(value) == "string" then
    return value:sub(1, 5) == "data:" and INLINE * BYTES or #value
  elseif type(value) ~= "table" or depth > json.max_depth then
    return 0
  end
  local sum = 0
  for key, inner in next, value do
    seen.values = seen.values + 1
    if seen.values > MOST_VALUES then return sum end
    local is_token = type(inner) == "number" and type(key) == "number"
    sum = sum + (is_token and BYTES or bytes_of(inner, seen, depth + 1))
  end
  return sum
end

local function whole(n)
  return type(n) == "number" and n >= 1 and n <= rate.MOST and n or nil
end

-- The answers that one request asks for at once: to each of its prompts, where it has a list.
local function choices_of(request)
  if type(request) ~= "table" then return 1 end
  local prompts = math.max(answers.texts_in(request.prompt), 1)
  return math.min(whole(request.n) or 1, MOST_CHOICES) * math.min(prompts, MOST_PROMPTS)
end

local function answer_of(self, request)
  if type(request) ~= "table" then return self.usual or FIRST end
  local most = whole(request.max_tokens) or whole(request.max_completion_tokens)
    or whole(request.max_output_tokens)
  if not most then
    most = self.usual or FIRST
  elseif self.usual then
    most = math.min(most, AT_MOST * self.usual)
  end
  return most * choices_of(request)
end

-- Adds up what `f` says of a call's request; of one that goes to a batch endpoint, what it says of
-- the parameters of each request in it.
local function over_requests(call, f)
  local list = call.kind == "batch" and call.request.requests
  if type(list) ~= "table" then return f(call.request) end
  local sum = 0
  for i = 1, math.min(#list, MOST_PROMPTS) do
    sum = sum + f(type(list[i]) == "table" and list[i].parameters)
  end
  return sum
end

-- The tokens that a call is thought to take.
local function foresee(self, call)
  local request = call.request
  if type(request) ~= "table" then return type(request) == "string" and #request / BYTES or 0 end
  local sum = bytes_of(request, { values = 0 }, 1) / BYTES
  if call.kind ~= "embed" then
    sum = sum + over_requests(call, function(one) return answer_of(self, one) end)
  end
  return math.min(math.ceil(sum), rate.MOST)
end

-- }========================================================================

--- Those of an account and model.
---@param account table { name =, limits = { requests_per_minute =, tokens_per_minute = } or nil,
--- clock =, common = }
---@param model string
function rates.new(account, model)
  local limits, common = account.limits or {}, account.common
  local o = { clock = account.clock, requests = limits.requests_per_minute,
    tokens = limits.tokens_per_minute }
  local part = common and rate.new(common:part(o, account.name .. "\0" .. model)) or rate.new(o)
  return setmetatable({ part = part, counts_tokens = o.tokens ~= nil, usual = nil }, rates)
end

--- The tokens of a call, as `take` wants them; 0 where nobody counts them.
---@return number
function rates:foreseen(call)
  if not self.counts_tokens then return 0 end
  if not call.foreseen then call.foreseen = foresee(self, call) end
  return call.foreseen
end

--- Room for a call: what it took, for `told` and `spent`; or nil and the seconds until there is.
---@return table? taken, number? retry_after
function rates:take(call)
  local tokens = self:foreseen(call)
  local requests, mark, _, detail = self.part:take(tokens)
  if not requests then return nil, detail and detail.retry_after end
  return { requests = requests, tokens = mark, foreseen = tokens,
    choices = math.max(over_requests(call, choices_of), 1) }
end

--- Is there room for a small call now?
---@return boolean
function rates:is_free()
  return self.part:retry_after(0) == 0
end

local function tell(self, kind, said, mark)
  if not said then return end
  if kind == "tokens" and said.limit then self.counts_tokens = true end
  self.part:tell(kind, said.limit, said.left, said.reset, said.window, mark)
end

--- Has an answer said anything of limits?
rates.are_in = rate_headers.has

--- An answer's headers; `taken` is nil for a call that began before there was anything to take.
---@param headers table
---@param taken table?
function rates:told(headers, taken)
  local requests, tokens = rate_headers.read(headers)
  tell(self, "requests", requests, taken and taken.requests)
  tell(self, "tokens", tokens, taken and taken.tokens)
end

local function count(n)
  return type(n) == "number" and n > 0 and math.min(n, rate.MOST) or 0
end

--- The call is over. `usage` is the answer's; `refused`: it was not let in.
---@param taken table
---@param usage table?
---@param refused boolean?
function rates:spent(taken, usage, refused)
  if taken.over or taken.foreseen == 0 then return end
  taken.over = true
  if refused then return self.part:correct(taken.foreseen, 0) end
  if type(usage) ~= "table" then return end
  local answer = count(usage.completion_tokens)
  local sum = count(usage.total_tokens)
  if sum == 0 then sum = count(usage.prompt_tokens) + answer end
  if sum == 0 then return end
  if answer > 0 then
    local one = answer / taken.choices
    local usual = self.usual or one
    self.usual = usual + (one - usual) / SMOOTHING
  end
  self.part:correct(taken.foreseen, sum)
end

--- For an operator: { requests = { left =, most = }, tokens =, refused = }.
---@return table
function rates:status()
  local stats = self.part:stats()
  local out = { refused = stats and stats.refused }
  for _, kind in ipairs { "requests", "tokens" } do
    local left, most = self.part:left(kind)
    if left then out[kind] = { left = left, most = most } end
  end
  return out
end

return rates
