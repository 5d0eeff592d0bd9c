--- What is looked up when somebody asks: the families without a `kind`, and of the cache what the
--- near level has counted itself.
--
-- Breakers, limits, the budget and the cache are one for all processes of a region, and so what is
-- told of them. Nothing here waits.
local version = require "unbusy.version"

local state = {}

-- Which Lua runs it.
local LUA = rawget(_G, "jit") and jit.version or _VERSION -- luacheck: ignore 113

local STATES = { "closed", "open", "half_open", "forced_open", "disabled", "metrics_only" }

-- {== Targets =============================================================

local function add_breakers(out, client, pause)
  local states, opened = {}, {}
  for _, t in ipairs(client.targets) do
    pause()
    local stats = t.breaker and t.breaker:stats()
    for _, name in ipairs(stats and STATES or {}) do
      states[#states + 1] = { stats.state == name and 1 or 0, t.name, name }
    end
    if stats then opened[#opened + 1] = { stats.opened, t.name } end
  end
  out.unbusy_breaker_state, out.unbusy_breaker_opened_total = states, opened
end

local function add_refused(out, client, pause)
  local samples = {}
  for _, t in ipairs(client.targets) do
    pause()
    local refused = t:refused()
    for _, code in ipairs { "auth", "quota" } do
      samples[#samples + 1] = { refused == code and 1 or 0, t.name, code }
    end
  end
  out.unbusy_target_refused = samples
end

-- }========================================================================

-- {== Limits ==============================================================

-- What the limiters of an account say, together for models that have one label. Whether a model was
-- answered they know in all processes alike: one series does not come and go as another one.
local function add_account(found, account, models)
  for model, scope in pairs(account.scopes) do
    local stats = scope.limiter and scope.limiter:stats()
    if stats then
      local label = models:label(model, stats.answered)
      local sum = found[label] or { limit = 0, in_flight = 0, refused = 0 }
      for name, value in pairs(sum) do sum[name] = value + stats[name] end
      found[label] = sum
    end
  end
end

local function sorted(t)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function add_limits(out, client, models, pause)
  local limits, flying, refused, seen = {}, {}, {}, {}
  for _, t in ipairs(client.targets) do
    local name, found = t.account_name, {}
    pause()
    if not seen[name] then add_account(found, t.account, models) end
    seen[name] = true
    for _, model in ipairs(sorted(found)) do
      local sum, n = found[model], #limits + 1
      limits[n], flying[n] = { sum.limit, name, model }, { sum.in_flight, name, model }
      refused[n] = { sum.refused, name, model }
    end
  end
  out.unbusy_limit, out.unbusy_in_flight = limits, flying
  out.unbusy_limit_refused_total = refused
end

local function add_budget(out, client)
  local stats = client.budget and client.budget:stats()
  if not stats then return end
  out.unbusy_retry_budget_tokens = { { stats.tokens } }
  out.unbusy_retry_budget_size = { { client.meter.budget_size } }
end

-- }========================================================================

-- {== Cache ===============================================================

local function add_cache(out, client)
  if not client.cache then return end
  local stats = client.cache.near:stats()
  if not stats then return end
  local level = client.common and not client.caching.path and "shared" or "near"
  out.unbusy_cache_requests_total = { { stats.hits, level, "hit" },
    { stats.stale, level, "stale" }, { stats.misses, level, "miss" } }
  out.unbusy_cache_entries, out.unbusy_cache_bytes = { { stats.entries } }, { { stats.bytes } }
  out.unbusy_cache_evicted_total = { { stats.evicted } }
end

local TOPS = { 1, 5, 20 }

-- The share of all questions that the most frequent have.
local function add_hot(out, client)
  local hot = client.hot
  local total = hot and hot:status()
  if not total then return end
  local list, samples, sum, k = hot.list:top(TOPS[#TOPS]) or {}, {}, 0, 1
  for i = 1, TOPS[#TOPS] do
    sum = sum + (list[i] and list[i].count or 0)
    if i == TOPS[k] then
      local share = total.asked > 0 and math.min(sum / total.asked, 1) or 0
      samples[k], k = { share, ("%d"):format(i) }, k + 1
    end
  end
  out.unbusy_hot_share = samples
end

-- }========================================================================

--- The samples by family: { { value, label, … }, … } each.
---@param client table that has metrics
---@param pause function called now and then
---@return table<string, table[]>
function state.of(client, pause)
  local stats = client.meter.part:stats()
  local out = { unbusy_build_info = { { 1, version, LUA } } }
  if stats then -- else their room in the region is lost
    out.unbusy_start_time_seconds = { { stats.began } }
    out.unbusy_metrics_refused_total = { { stats.refused } }
  end
  client:look_around()
  add_breakers(out, client, pause)
  add_refused(out, client, pause)
  add_limits(out, client, client.meter.models, pause)
  add_budget(out, client)
  add_cache(out, client)
  add_hot(out, client)
  return out
end

return state
