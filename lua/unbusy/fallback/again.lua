--- Asking a second time, for another model or in another pool.
--
-- A second asking goes the way that the first one went, from the cache on, and so waits for places
-- and tries again as any. It is made at most once for each model and pool, and not at all where the
-- time is nearly over. Where servers have been asked already it is paid from the budget of second
-- tries, but for a first move to an account that has not been asked and stands ready.
local codes = require "unbusy.codes"
local json = require "unbusy.json"
local json_fields = require "unbusy.json_fields"

local again = {}

local LEAST = 0.1 -- seconds that must be left; nobody answers in less
local MOST = 8    -- second askings of one call

local function targets_of(call, pool)
  local client, only = call.client, call.options.target
  if not only then return pool and client.pools.by_name[pool] or client.pools.ordinary end
  for _, t in ipairs(client.targets) do
    if t.name == only then return { t } end
  end
end

-- What is asked, and who may answer: two pools may have the same targets.
local function name_of(call, model, pool)
  local parts = { model or "" }
  for _, t in ipairs(targets_of(call, pool)) do parts[#parts + 1] = t.name end
  return table.concat(parts, "\n")
end

-- May the call be sent there? A caller that has named a target or a pool wants no other.
local function may_go(call, node)
  local o = call.options
  return not node.pool or not o.target and (not o.pool or o.pool == node.pool)
end

-- Is there time, and has this not been asked already?
local function is_worth_it(way, model, pool)
  local call = way.call
  if not way.asked then
    way.asked, way.count = { [name_of(call, call.model, call.options.pool)] = true }, 0
  end
  local name = name_of(call, model, pool)
  if way.asked[name] or way.count >= MOST or not call:can_wait(LEAST) then return false end
  way.asked[name], way.count = true, way.count + 1
  return true
end

-- Adds the accounts that have been asked.
local function note_accounts(way)
  way.accounts = way.accounts or {}
  local names = {}
  for _, try in ipairs(way.call.tries) do names[try.target] = true end
  for _, t in ipairs(way.call.client.targets) do
    if names[t.name] then way.accounts[t.account_name] = true end
  end
end

-- Does another account stand ready, and is the call's free move to be had?
local function moves_free(way)
  local call = way.call
  if call.moved then return false end
  local now = call.loop.now()
  for _, t in ipairs(targets_of(call, call.options.pool)) do
    if not way.accounts[t.account_name] and t:is_free(t:model(call.model), now) then return true end
  end
  return false
end

-- Pays for the first try of what the call now asks: false when there is nothing to pay with.
local function pay(way)
  local call = way.call
  local permits = call.client.permits
  if call.past == 0 or not permits then return true end
  if moves_free(way) then
    call.moved, call.moving = true, true
    return true
  end
  return permits:pay(call, codes[way.failure.code].busy and "throttle" or "retry")
end

local function with(t, name, value)
  local out = {}
  for k, v in next, t do out[k] = v end
  out[name] = value
  return out
end

-- The request for another model, and the call's options for it: its bytes name that model too.
local function with_model(request, given, model)
  local raw = given.raw
  if raw then
    raw = json_fields.splice(raw, { model = json.encode(model) }, { "model" })
    given = with(given, "raw", raw)
  end
  return with(request, "model", model), given
end

--- Asks again as `node` says.
---@param way table { call =, next =, failure = }
---@param node table { model =, pool = }
---@param tell function called before it is done
---@return table? reply nil when none came; then the call is about what it was about before
function again.ask(way, node, tell)
  local call = way.call
  local model, pool = node.model or call.model, node.pool or call.options.pool
  if call.stopped or not may_go(call, node) or not is_worth_it(way, model, pool) then return nil end
  note_accounts(way)
  local request, given = call.request, call.options
  if node.model then request, given = with_model(request, given, model) end
  if node.pool then given = with(given, "pool", pool) end
  local before, made = call:ask_again(request, given), nil
  if pay(way) and not call.stopped then
    tell()
    if not call.stopped then made = way.next(call) end
    call:give_permit(true) -- if it was not used: the answer came out of the cache
  end
  if not made then call:go_back(before) end
  return made
end

return again
