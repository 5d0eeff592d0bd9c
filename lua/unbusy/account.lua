--- An account: what a provider limits. All targets and keys of one share its limits.
--
-- Each model has a *scope* of its own: a limiter (`unbusy.limiter`), and where there are limits per
-- minute, these (`unbusy.rates`).
local limiter = require "unbusy.limiter"
local rates = require "unbusy.rates"

local account = {}
account.__index = account

local MODELS = 64 -- scopes an account may have; models beyond them share one

---@param name string
---@param given table|false options of `unbusy.limiter`
---@param client table { clock = of the limiters, window = seconds that a breaker looks back,
--- common = see `unbusy.shared`, or nil }
---@param limits table? { requests_per_minute =, tokens_per_minute = }
function account.new(name, given, client, limits)
  if limits and not (limits.requests_per_minute or limits.tokens_per_minute) then limits = nil end
  return setmetatable({ name = name, options = given, clock = client.clock,
    window = client.window, common = client.common, limits = limits, scopes = {}, count = 0,
    by_start = given and given.kind == "gradient", -- its limiters want to know of first tokens
    targets = {}, broke_until = 0 }, account)
end

-- A limiter, in the region where there is one and it has room.
local function new_limiter(self, model)
  if not self.options then return nil end
  local o, common = { clock = self.clock }, self.common
  for name, value in pairs(self.options) do o[name] = value end
  return common and limiter.new(common:part(o, self.name .. "\0" .. model)) or limiter.new(o)
end

--- The scope of a model ("" where none was asked for): { limiter =, rates = }, either perhaps nil.
---@param model string
---@return table
function account:scope(model)
  local found = self.scopes[model]
  if found then return found end
  if self.count >= MODELS then model = "" end
  found = self.scopes[model]
  if not found then
    found = { model = model, limiter = new_limiter(self, model),
      rates = self.limits and rates.new(self, model) or nil }
    self.scopes[model] = found
    self.count = self.count + 1
    if self.common then self.common:note_scope(self.name, model) end
  end
  return found
end

--- An answer's headers, which say something of limits per minute.
---@param scope table
---@param headers table
---@param taken table? see `unbusy.rates`
function account:told(scope, headers, taken)
  scope.rates = scope.rates or rates.new(self, scope.model)
  scope.rates:told(headers, taken)
end

--- The limits stand still while none of the targets answers, and come back with the first.
---@param answers boolean
function account:note(answers)
  for _, scope in pairs(self.scopes) do
    local l = scope.limiter
    if l and answers then l:restore() elseif l then l:freeze(self.window) end
  end
end

--- What an operator wants to know, by model.
---@return table
function account:status()
  local out = {}
  for model, scope in pairs(self.scopes) do
    local l, r = scope.limiter, scope.rates
    if l or r then
      out[model] = { limit = l and l:limit(), in_flight = l and l:in_flight() or 0,
        per_minute = r and r:status() }
    end
  end
  return out
end

return account
