-- options.lua: the tables of docs/reference.md, made from the schemas.
--
--   lua5.4 tools/options.lua                    prints them
--   lua5.4 tools/options.lua docs/reference.md  puts them there, each between its
--                                               <!-- tables: NAME --> and the next <!-- end -->
local balancer = require "unbusy.balancer"
local batch_list = require "unbusy.batching.list"
local batch_rules = require "unbusy.batching.rules"
local codes = require "unbusy.codes"
local config = require "unbusy.config"
local retry_after = require "unbusy.retry_after"
local routing = require "unbusy.routing.options"
local sse = require "unbusy.sse"
local topk = require "unbusy.topk"
local warm = require "unbusy.caching.warm"

local tables = {}

-- {== Options =============================================================

-- The names of a schema: those of `first` (a text) as they stand there, the others by the alphabet.
local function names_of(schema, first)
  local names, rank = {}, {}
  for name in (first or ""):gmatch "[%w_]+" do
    names[#names + 1] = name
    rank[name] = #names
  end
  local known = #names
  for _, name in ipairs(names) do assert(schema[name], name) end
  for name in pairs(schema) do
    if not rank[name] then names[#names + 1] = name end
  end
  table.sort(names, function(x, y)
    local rx, ry = rank[x] or known + 1, rank[y] or known + 1
    if rx ~= ry then return rx < ry end
    return x < y
  end)
  return names
end

local words = { whole = "whole number" }

local function type_of(field)
  local types = field.type:gsub("[^|]+", words):gsub("|", " or ")
  if field.one_of then
    local choices = "`" .. table.concat(field.one_of, "` `") .. "`"
    types = types:gsub("string", function() return choices end)
  end
  return field.unit and ("%s, %s"):format(types, field.unit) or types
end

local function number(n)
  return n == math.floor(n) and ("%.0f"):format(n) or ("%.14g"):format(n)
end

local function default_of(field)
  local value = field.default
  if field.required then return "required" end
  if value == nil then
    return field.fields and not field.optional and "**{}**" or "–"
  end
  if type(value) == "number" then return ("**%s**"):format(number(value)) end
  if type(value) == "table" then
    return value[1] and ("**%s**"):format(table.concat(value, ", ")) or "**{}**"
  end
  return ("**%s**"):format(tostring(value))
end

local function escaped(doc)
  return (doc:gsub("|", "\\|"):gsub("<", "\\<"))
end

-- One schema as a table.
local function of_schema(schema, first)
  local out = { "| option | type | default | meaning |", "|---|---|---|---|" }
  for _, name in ipairs(names_of(schema, first)) do
    local field = schema[name]
    out[#out + 1] = ("| `%s` | %s | %s | %s |"):format(name, type_of(field), default_of(field),
      escaped(field.doc or ""))
  end
  return table.concat(out, "\n")
end

local function titled(title, schema, first)
  return ("**%s**\n\n%s"):format(title, of_schema(schema, first))
end

-- What a schema has that the other one has not, or has otherwise.
local function more_than(schema, other)
  local out = {}
  for name, field in pairs(schema) do
    if field ~= other[name] then out[name] = field end
  end
  return out
end

--- The options of a client and of a call.
function tables.options()
  local client, target = config.client, config.target
  return table.concat({
    titled("`unbusy.new { … }`", client, [[targets retry breaker limiter budget queue clocks
      route pools upstream_stream fallback]]),
    titled("`targets = { { … }, … }`", target, [[name url key keys account models provider priority
      weight pool reserve price]]),
    titled("`targets[i].price = { … }`", target.price.fields, "input cached output"),
    titled("`targets[i].limits = { … }`", target.limits.fields),
    titled("`targets[i].tls = { … }`", target.tls.fields, "ca ca_path cert key"),
    titled("`clocks = { … }`", client.clocks.fields, "connect headers start token try total"),
    titled("`route = { … }`", client.route.fields, "balance sticky start"),
    titled("`pools = { name = { … }, … }`", routing.pool, "priority spill"),
    titled("`pools[name].spill = { … }`", routing.spill, "start queue hold"),
    titled("`retry = { … }`", client.retry.fields, "attempts kind base factor cap jitter"),
    titled("`breaker = { … }`", client.breaker.fields, [[window buckets count min_calls failure_rate
      slow_after slow_rate consecutive open_for]]),
    titled("`limiter = { … }`", client.limiter.fields, "kind initial min max"),
    titled("`budget = { … }`", client.budget.fields, "ratio floor tokens"),
    titled("`queue = { … }`", client.queue.fields, "size max_wait shed"),
    titled("`hedge = { … }`", client.hedge.fields, "after most samples price"),
    titled("`escalate = { … }`", client.escalate.fields, "from to"),
    titled("`cache = { … }`", client.cache.fields, [[entries bytes ttl stale temperature
      jitter revalidate replay per]]),
    titled("`cache.per = { … }`", client.cache.fields.per.fields),
    titled("`cache.top = { … }`", client.cache.fields.top.fields, "show half_life counters"),
    titled("`cache.warm = { … }`", client.cache.fields.warm.fields, [[questions file model top
      before every keep]]),
    titled("`cache.redis = { … }`", client.cache.fields.redis.fields, "url user password database"),
    titled("`batch = { … }`", batch_rules.schema, "rule max window"),
    titled("`gateway = { … }`, of `unbusy.gateway`", client.gateway.fields, [[keys body ping forward
      controls pass trace]]),
    titled("`gateway.status = { … }`", client.gateway.fields.status.fields),
    titled("`gateway.batch = { … }`", client.gateway.fields.batch.fields, "requests at_once"),
    titled("`gateway.keys = { { … }, … }`", client.gateway.fields.keys.each.fields,
      "key name calls tokens"),
    titled("`client:chat(request, { … })`, and of every other call", config.call,
      "deadline priority target pool language clocks"),
    titled("`client:pass({ … }, options)`", config.pass, "method path headers body"),
    titled("`client:batch(requests, { … })`, beside the options of a call", more_than(
      batch_list.schema, config.call), "at_once deadline model"),
    titled("`client:warm(questions, { … })`", warm.schema, "model at_once deadline priority"),
  }, "\n\n")
end

--- The options of the parts that a client sets by itself.
function tables.parts()
  return table.concat({
    titled("`balancer.new { … }`", balancer.schema, "kind targets decay"),
    titled("`balancer.new { targets = { { … }, … } }`", balancer.schema.targets.each.fields,
      "name weight priority"),
    titled("`topk.new { … }`", topk.schema, "counters key_bytes"),
    titled("`sse.new { … }`", sse.schema),
    titled("`retry_after.parse(headers, { … })`", retry_after.schema),
  }, "\n\n")
end

-- }========================================================================

local function yes(truth) return truth and "yes" or "no" end

--- The failure codes.
function tables.codes()
  local list = {}
  for word in pairs(codes) do list[#list + 1] = word end
  table.sort(list, function(a, b) return codes[a].exit < codes[b].exit end)
  local out = {
    "| code | meaning | again | elsewhere | limiter | breaker | fallback | exit status |",
    "|---|---|---|---|---|---|---|---|",
  }
  for _, word in ipairs(list) do
    local c = codes[word]
    out[#out + 1] = ("| `%s` | %s | %s | %s | %s | %s | %s | %d |"):format(word, c.meaning,
      yes(c.retry), yes(c.elsewhere), c.limiter, c.breaker, yes(c.fallback), c.exit)
  end
  return table.concat(out, "\n")
end

--- Their names, in the order of the reference.
tables.names = { "options", "parts", "codes" }

-- Puts the tables into a document; raises when a place for one is missing.
local function renewed(text)
  for _, name in ipairs(tables.names) do
    local first, last = ("<!-- tables: %s -->\n"):format(name), "\n<!-- end -->"
    local _, start = text:find(first, 1, true)
    local stop = start and text:find(last, start, true)
    if not stop then error(("no place for the tables '%s'"):format(name), 0) end
    text = text:sub(1, start) .. tables[name]() .. text:sub(stop)
  end
  return text
end

local function rewrite(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  file = assert(io.open(path, "wb"))
  file:write(renewed(text))
  file:close()
end

if ... ~= "tools.options" then -- run, not required
  if ... then
    rewrite(...)
  else
    for _, name in ipairs(tables.names) do print(tables[name]() .. "\n") end
  end
end

return tables
