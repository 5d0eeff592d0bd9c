--- Who else could answer a call at once: for second tries beside the first, and for leaving a
--- server's queue.
local answers = require "unbusy.providers.answers"

local some = answers.some

local elsewhere = {}

--- Does a call go on from what a server keeps for its account? Another account does not know that.
---@param call table
---@return boolean
function elsewhere.is_bound(call)
  local request = call.request
  if call.kind ~= "responses" or type(request) ~= "table" then return false end
  return some(request.previous_response_id) ~= nil or some(request.conversation) ~= nil
    or type(some(request.prompt)) == "table"
end

-- The accounts that this call has tried.
local function tried_accounts(call)
  local names, accounts = {}, {}
  for _, try in ipairs(call.tries) do names[try.target] = true end
  for _, t in ipairs(call.client.targets) do
    if names[t.name] then accounts[t.account_name] = true end
  end
  return accounts
end

-- What a target takes for a million tokens of question and as many of answer; 0 where it has no
-- price: nobody has said that it costs anything by the call.
local function price_of(target)
  local p = target.price
  return p and p.input + p.output or 0
end

--- May a call that is with `first` be made a second time with `other`, as far as money goes? Where
--- `price` is "lower", only where that costs nothing, or less than the first.
---@param price "lower"|"any"
function elsewhere.is_cheap(first, other, price)
  if price == "any" then return true end
  local mine = price_of(other)
  return mine == 0 or mine < price_of(first)
end

--- The targets that would let the call in now: of accounts that it has not tried, with a key, a
--- closed breaker and a free place.
---@param call table
---@return table[]
function elsewhere.free(call)
  local now, accounts, out = call.loop.now(), tried_accounts(call), {}
  if elsewhere.is_bound(call) then return out end
  for _, t in ipairs(call:targets()) do
    if not accounts[t.account_name] and call:may_ask(t.name)
      and t:is_free(t:model(call.model), now) then
      out[#out + 1] = t
    end
  end
  return out
end

--- The names of all targets but these, as what a call has ruled out.
---@param call table
---@param targets table[]
---@return table<string, true>
function elsewhere.others(call, targets)
  local out = {}
  for _, t in ipairs(call.client.targets) do out[t.name] = true end
  for _, t in ipairs(targets) do out[t.name] = nil end
  return out
end

return elsewhere
