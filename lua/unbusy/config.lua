--- The options of a client: their schema, and what is read from a file or the environment.
local backoff = require "unbusy.backoff"
local batch_rules = require "unbusy.batching.rules"
local breaker = require "unbusy.breaker"
local budget = require "unbusy.budget"
local caching_options = require "unbusy.caching.options"
local redis_options = require "unbusy.caching.redis_options"
local gateway_options = require "unbusy.gateway.options"
local core = require "unbusy.core"
local escalation = require "unbusy.escalation.options"
local fallback_options = require "unbusy.fallback.options"
local hedges = require "unbusy.hedges"
local hot = require "unbusy.caching.hot"
local limiter = require "unbusy.limiter"
local options = require "unbusy.options"
local pools = require "unbusy.pools"
local recorder = require "unbusy.metrics.recorder"
local questions = require "unbusy.caching.questions"
local rate = require "unbusy.rate"
local region = require "unbusy.region"
local routing = require "unbusy.routing.options"
local providers = require "unbusy.providers"

local config = {}

local CLIENTS = { clock = true, seed = true, region = true, name = true }

-- A part's schema without what a client sets itself, and with `more`.
local function like(schema, more, but)
  local out = {}
  for name, field in pairs(schema) do
    if not CLIENTS[name] and not (but and but[name]) then out[name] = field end
  end
  for name, field in pairs(more or {}) do out[name] = field end
  return out
end

local seconds = function(default, doc)
  return { type = "number", default = default, above = 0, max = 1e7, unit = "s", doc = doc }
end

config.clocks = {
  connect = seconds(5, "for the name, the connection and TLS"),
  headers = seconds(30, "from sending to the answer's header (streams)"),
  start = seconds(60, "from sending to the first byte of answer, keep-alives apart (streams)"),
  token = seconds(30, "between two bytes of answer (streams)"),
  total = seconds(300, "for the whole call: waiting, tries and pauses"),
  try = seconds(nil, "for one try, from its begin to the whole answer, of a stream to its first "
    .. "byte; none by default"),
}

-- The clocks of one call: what is not set there is the client's.
local call_clocks = {}
for name, field in pairs(config.clocks) do
  call_clocks[name] = { type = "number", above = 0, max = 1e7, unit = "s", doc = field.doc }
end

config.price = {
  input = { type = "number", required = true, min = 0,
    doc = "for 1,000,000 tokens of the request" },
  cached = { type = "number", min = 0, doc = "for those that hit the provider's cache; as input" },
  output = { type = "number", required = true, min = 0,
    doc = "for 1,000,000 tokens of the answer" },
}

config.target = {
  name = { type = "string", required = true, doc = "in messages, metrics and `call.target`" },
  url = { type = "string", required = true, doc = "what the SDKs call the base URL" },
  key = { type = "string",
    doc = "sent as bearer token; by default <NAME>_API_KEY of the environment" },
  keys = { type = "list", each = { type = "string" }, doc = "several keys of one account" },
  account = { type = "string", doc = "what the provider limits; the name by default" },
  pool = { type = "string", default = pools.DEFAULT,
    doc = "a group of targets, which a call or a fallback may name" },
  reserve = { type = "boolean", default = false,
    doc = "asked only where its pool (or it itself) is named" },
  priority = { type = "whole", default = 1, min = 1, max = 1000, doc = "lower is asked first" },
  weight = { type = "number", min = 0, max = 1e6,
    doc = "share among targets of one priority; 1 when others have one" },
  models = { type = "table", default = {},
    doc = "asked name = name here; `default` when none is asked, `[\"*\"]` for any other" },
  provider = { type = "string", one_of = providers.names,
    doc = "how it speaks; found by the host" },
  price = { type = "table", fields = config.price, optional = true, doc = "for `reply.cost`" },
  limits = { type = "table", optional = true, doc = "bounds of this target", fields = {
    body = { type = "whole", min = 1, max = 2 ^ 40, unit = "bytes",
      doc = "largest answer, expanded; 64 MiB" },
    requests_per_minute = { type = "number", min = 1, max = rate.MOST,
      doc = "of the account, for each model" },
    tokens_per_minute = { type = "number", min = 1, max = rate.MOST,
      doc = "of the account, for each model; requests and answers together" },
  } },
  headers = { type = "table", default = {}, doc = "more request headers, name = value" },
  tls = { type = "table", optional = true, doc = "how the server is verified", fields = {
    ca = { type = "string", doc = "file of accepted authorities (PEM); with it, or `ca_path`, no "
      .. "others are; by default those of SSL_CERT_FILE and SSL_CERT_DIR, or else the system's" },
    ca_path = { type = "string",
      doc = "directory of accepted authorities; alone, it needs libcurl before 8.17" },
    cert = { type = "string", doc = "file of our own certificate (PEM)" },
    key = { type = "string", doc = "file of its key (PEM)" },
    verify = { type = "boolean", default = true, doc = "false accepts any server: for tests only" },
    http2 = { type = "boolean", default = true, doc = "offer HTTP/2" },
  } },
  batch = { type = "string",
    doc = "path of its batch endpoint, from the top of its server: `/api/v1/batch`" },
  policy = { type = "string|table", doc = "for tries of this target; before the client's" },
  prefix = { type = "string|boolean", one_of = { "flag", "continue" },
    doc = "how it goes on with a message: `flag` (`\"prefix\": true` in it), `continue` "
      .. "(`continue_final_message`), false: not at all; by default as its provider does" },
  proxy = { type = "string|boolean",
    doc = "URL of a proxy; false for none; by default the environment's" },
}

config.client = {
  targets = { type = "list", required = true, min = 1, max = 1000, doc = "where a call may go",
    each = { type = "table", fields = config.target } },
  retry = { type = "table|boolean", doc = "second tries", fields = like(backoff.schema, {
    attempts = { type = "whole", default = 5, min = 1, max = 100,
      doc = "tries in all, the first included" },
    max_wait = { type = "number", default = 120, min = 0, max = 1e6, unit = "s",
      doc = "longest wait a server may ask for" },
  }) },
  breaker = { type = "table|boolean", doc = "one per target", fields = like(breaker.schema, {
    on_open = { type = "string", default = "wait", one_of = { "wait", "fail" },
      doc = "`fail`: every busy counts, and an open breaker ends the call at once" },
  }) },
  limiter = { type = "table|boolean",
    doc = "one per account and model", fields = like(limiter.schema) },
  budget = { type = "table|boolean",
    doc = "of second tries, for the client", fields = like(budget.schema) },
  queue = { type = "table", doc = "where calls wait for a place", fields = {
    size = { type = "whole", default = 1000, min = 0, max = 1e6, doc = "calls that may wait" },
    max_wait = { type = "number", default = 30, min = 0, max = 1e6, unit = "s",
      doc = "longest wait for a place" },
    shed = { type = "boolean", default = true,
      doc = "who would wait in vain, as it looks, is turned away at once" },
  } },
  hedge = { type = "table|boolean", optional = true, fields = hedges.schema,
    doc = "a second try beside a slow one, elsewhere (docs/hedging.md); off by default, `false` "
      .. "also where a policy wants it" },
  cache = { type = "table|boolean", default = false, doc = "of answers; off by default",
    fields = caching_options.schema },
  batch = { type = "string|table|boolean", default = false,
    doc = "what is asked as one: a rule, `{ rule =, max =, window = }`, or a list of these" },
  clocks = { type = "table", fields = config.clocks, doc = "limits of time" },
  route = { type = "table", fields = routing.route, doc = "which target a call goes to" },
  pools = { type = "table", optional = true,
    doc = "the order of pools, by name, and when calls go on from one to the next "
      .. "(docs/routing.md)" },
  region = { type = "table|boolean|userdata", fields = region.schema, optional = true,
    doc = "where its state lives, shared by all processes that open it: a region, or options for "
      .. "one; private by default" },
  upstream_stream = { type = "boolean", default = false,
    doc = "ask for streams and assemble them, so that queue and start show" },
  resume = { type = "string|boolean", one_of = { "prefix", "prompt" }, default = false,
    doc = "streams that break off are gone on with: by `prefix` completion, or else by a `prompt` "
      .. "(docs/resume.md)" },
  fallback = { type = "string|table", doc = "what stands in where no answer comes: a text, "
    .. "a reply, another model or pool, the last good answer, or a list of these "
    .. "(docs/fallback.md)" },
  escalate = { type = "table|boolean", default = false, fields = escalation.schema,
    doc = "asks another pool where an answer is weak (docs/edge.md); off by default" },
  policy = { type = "string|table",
    doc = "what decides: a name, the path of a Lua file, or a table of functions" },
  loop = { type = "string|table", one_of = { "tasks", "cqueues", "luv", "nginx" },
    doc = "where calls wait, or a table of verbs; picked at each call by default" },
  metrics = { type = "table|boolean", default = false, fields = recorder.schema,
    doc = "count what goes on, for `client:metrics` and a gateway's `/metrics` (docs/metrics.md); "
      .. "off by default, on in a gateway" },
  gateway = { type = "table", optional = true, fields = gateway_options.schema,
    doc = "what `unbusy.gateway` makes of this client" },
  seed = { type = "whole", min = 0, max = 2 ^ 53,
    doc = "repeats what chance decides (pauses, open times); by default it is the system's" },
  on_event = { type = "function",
    doc = "sees every try, wait, refusal, retry, cut and change of state; must not wait" },
}

config.call = {
  deadline = { type = "number", above = 0, max = 1e7, unit = "s",
    doc = "for the whole call, from now" },
  priority = { type = "string", one_of = { "interactive", "normal", "batch" }, default = "normal",
    doc = "place in the waiting line" },
  target = { type = "string", doc = "this target only" },
  pool = { type = "string", doc = "this pool only" },
  language = { type = "string|table", doc = "of the caller, for the fallback: a tag (`zh`, "
    .. "`pt-BR`) or a list of them, the best first; guessed by default" },
  headers = { type = "table",
    doc = "more request headers: \"name: value\" lines, or name = value" },
  raw = { type = "string",
    doc = "the JSON that the request was decoded from: sent as it is but for what must differ" },
  trace = { type = "string|boolean",
    doc = "the caller's `traceparent`: passed on, with a span for each try; true: a new one "
      .. "where `headers` has none; false: none" },
  cancel = { type = "table", doc = "ends the call from outside: an `unbusy.canceller()`" },
  policy = { type = "string|table", doc = "for this call; before all others" },
  clocks = { type = "table", fields = call_clocks, optional = true,
    doc = "other clocks for this call; `start` then applies to any call" },
  upstream_stream = { type = "boolean", doc = "for this call" },
  resume = { type = "string|boolean", one_of = { "prefix", "prompt" },
    doc = "for this call; before the policy" },
  cache = { type = "boolean|number|string", one_of = { "refresh" }, above = 0, max = 1e9,
    doc = "false: neither read nor kept; `refresh`: asked in any case; a number: kept for so "
      .. "many seconds" },
  hedge = { type = "boolean", doc = "false: no second try beside the first" },
  batch = { type = "boolean",
    doc = "false: in no batch; true: also in one for a target's `batch`, where no rule says so" },
  escalate = { type = "boolean",
    doc = "false: its answer is not judged, and nobody else is asked where it is weak" },
  stale = { type = "boolean|number", min = 0, max = 1e9,
    doc = "false: no stale answer; a number: none older than so many seconds" },
  tenant = { type = "string",
    doc = "for whom it is made: answers out of the cache are of calls for the same" },
  cache_tags = { type = "list", max = 10, each = { type = "string" },
    doc = "names by which the kept answer can be purged, up to 64 bytes each" },
  max_age = { type = "number", min = 0, max = 1e9, unit = "s",
    doc = "none out of the cache that is older, unless it stands in for a failure (`stale`)" },
  max_stale = { type = "boolean|number", min = 0, max = 1e9,
    doc = "one out of the cache will do for so many seconds after it was fresh; true: in any "
      .. "case" },
  only_cached = { type = "boolean", doc = "nobody is asked: out of the cache or not at all" },
}

-- The metatable of options of a call that our own code has made and checked: they are not checked
-- and copied again at each call.
local checked = {}

--- Marks options of a call as checked.
---@param given table
---@return table given
function config.trusted(given)
  setmetatable(given, checked) -- no tail call: see `unbusy.clock`
  return given
end

---@param given table?
---@return boolean
function config.is_trusted(given)
  return getmetatable(given) == checked
end

--- A request that is passed on.
config.pass = {
  method = { type = "string", default = "GET",
    doc = "`GET` `HEAD` `POST` `PUT` `PATCH` `DELETE` `OPTIONS`" },
  path = { type = "string", required = true, doc = "below the target's URL, with its query" },
  headers = { type = "table", doc = "as in the options of every call" },
  body = { type = "string", doc = "sent as it is" },
}

-- {== Targets =============================================================

-- Keys of the environment that belong to one provider go to that provider's hosts and nowhere else.
local belongs = { DEEPSEEK_API_KEY = "deepseek.com", OPENAI_API_KEY = "openai.com" }

-- Does the URL lead to a host of this domain, unseen by others on the way? A name that a library
-- would still decode or map (with "%" or beyond ASCII) does not count as one.
local function leads_to(url, domain)
  local host = providers.host(url)
  if not host:find "^[%w.-]+$" or not url:lower():find "^https:" then return false end
  return host == domain or host:sub(-#domain - 1) == "." .. domain
end

local function key_of_environment(target)
  local variable = target.name:upper():gsub("%W", "_") .. "_API_KEY"
  if belongs[variable] and not leads_to(target.url, belongs[variable]) then return nil end
  local key = os.getenv(variable)
  return key ~= "" and key or nil
end

local function check_text(value, where, level)
  if value:find "[%z\1-\31\127]" then
    error(("%s: a text without control characters expected"):format(where), level + 1)
  end
end

local function check_pairs(map, where, level)
  for name, value in pairs(map) do
    if type(name) ~= "string" or type(value) ~= "string" then
      error(("%s: pairs of strings expected"):format(where), level + 1)
    end
    check_text(name .. value, where, level + 1)
  end
end

local function fill_keys(t, where, level)
  if t.key and t.keys then error(where .. ": 'key' or 'keys', not both", level + 1) end
  local keys = t.keys or { t.key or key_of_environment(t) }
  for _, key in ipairs(keys) do
    check_text(key, where .. ".key", level + 1)
    if key == "" then error(where .. ".key: an empty text; leave it out", level + 1) end
  end
  t.key, t.keys = nil, keys
end

-- A host, perhaps a port, a path and a query; no user or fragment, which could hide another host.
local function is_base_url(url)
  local authority = url:match "^https?://([^/?]+)"
  if not authority or url:find "[%s#@\\]" then return false end
  local rest = authority:match "^%[[%x:.]+%](.*)$" or authority:match "^[^:%[%]]+(.*)$"
  return rest ~= nil and (rest == "" or rest:find "^:%d+$" ~= nil)
end

-- A header's name is a token (RFC 9110 5.1): with a colon or a blank in it, it would be another.
local function check_headers(headers, where, level)
  check_pairs(headers, where, level + 1)
  for name in pairs(headers) do
    if not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then
      error(("%s: '%s' is no header's name"):format(where, name), level + 1)
    end
  end
end

-- Paths and the proxy's URL, which C would read up to a NUL.
local function check_texts(t, where, level)
  if type(t.proxy) == "string" then check_text(t.proxy, where .. ".proxy", level + 1) end
  for name, value in pairs(t.tls or {}) do
    if type(value) == "string" then check_text(value, where .. ".tls." .. name, level + 1) end
  end
end

-- A pool's name is said in messages, too.
local function check_pool(t, where, level)
  if t.pool == "" or #t.pool > 64 then
    error(where .. ".pool: 1 to 64 characters expected", level + 1)
  end
  check_text(t.pool, where .. ".pool", level + 1)
  if t.reserve and t.pool == pools.DEFAULT then
    error(where .. ".reserve: a pool's name expected with it", level + 1)
  end
end

local function fill_target(t, where, level)
  if t.prefix == true then
    error(where .. '.prefix: "flag", "continue" or false expected', level + 1)
  end
  if t.name == "" or #t.name > 64 then
    error(where .. ".name: 1 to 64 characters expected", level + 1)
  end
  check_text(t.name, where .. ".name", level + 1)
  check_text(t.url, where .. ".url", level + 1)
  if not is_base_url(t.url) then
    error(("%s.url: http:// or https://, a host and a path expected, perhaps a query, no more")
      :format(where), level + 1)
  end
  check_pairs(t.models, where .. ".models", level + 1)
  check_headers(t.headers, where .. ".headers", level + 1)
  check_texts(t, where, level + 1)
  if t.batch and not t.batch:find "^/[^%c%s#?]*$" then
    error(where .. ".batch: a path that starts with / expected", level + 1)
  end
  fill_keys(t, where, level + 1)
  check_pool(t, where, level + 1)
  t.account = t.account or t.name
  t.proxy = t.proxy == false and "" or type(t.proxy) == "string" and t.proxy or nil
end

local function fill_targets(targets, level)
  local seen = {}
  for i, t in ipairs(targets) do
    fill_target(t, ("unbusy: targets[%d]"):format(i), level + 1)
    if seen[t.name] then
      error(("unbusy: targets[%d].name: '%s' is taken"):format(i, t.name), level + 1)
    end
    seen[t.name] = true
  end
  if #pools.of(targets).ordinary == 0 then
    error("unbusy: targets: every one is a reserve", level + 1)
  end
end

-- The limits per minute of each account, said by its targets: account -> { requests_per_minute =,
-- tokens_per_minute = }. Two that say different numbers contradict each other.
local function limits_per_minute(targets, level)
  local out = {}
  for i, t in ipairs(targets) do
    local limits = out[t.account] or {}
    out[t.account] = limits
    for _, name in ipairs { "requests_per_minute", "tokens_per_minute" } do
      local value = t.limits and t.limits[name]
      if value and limits[name] and limits[name] ~= value then
        error(("unbusy: targets[%d].limits.%s: another target of the account '%s' says %.14g")
          :format(i, name, t.account, limits[name]), level + 1)
      end
      limits[name] = value or limits[name]
    end
  end
  return out
end

-- }========================================================================

-- `true` stands for the defaults, where `false` stands for "without".
local function plain(given)
  local out = {}
  for name, value in pairs(given) do
    local field = config.client[name]
    if value == true and field and field.type:find "^table|boolean" then value = {} end
    out[name] = value
  end
  return out
end

--- A configuration from a Lua file that returns it.
---@param path string
---@param level integer of `error`, as the caller sees it
---@return table
function config.load(path, level)
  -- Where the file is no Lua, the compiler's message ends with the word it stumbled over: a text
  -- may be a key.
  local chunk, message = loadfile(path, "t")
  if not chunk then
    error("unbusy: " .. message:gsub(" near '[\"'%[].*$", " near a text"), level + 1)
  end
  local given = chunk()
  if type(given) ~= "table" then
    error(("unbusy: %s: a table expected, got a %s"):format(path, type(given)), level + 1)
  end
  return given
end

-- What one field alone cannot show (min above max, say): make the part once, and let it complain.
local function try_part(part, given, level)
  if not given then return end
  local own = {}
  for field in pairs(part.schema) do own[field] = given[field] end
  local ok, message = pcall(part.new, own)
  if not ok then error("unbusy: " .. message:gsub("^.-:%d+: ", ""), level + 1) end
end

local MORE = 8 * 1024 * 1024 -- bytes of a region for all but a cache

-- A region that is to hold a cache is made large enough for it.
local function fill_region(o, level)
  local r = o.region
  if type(r) == "userdata" and not core.is_region(r) then
    error("unbusy: region: an open region expected", level + 1)
  elseif type(r) == "table" then
    local message = region.wrong(r)
    if message then error("unbusy: region: " .. message, level + 1) end
    if o.cache and not r.bytes then
      local room = o.cache.path and 0 or core.cache_room(o.cache, "cache")
      r.bytes = room + hot.room(o.cache.top) + MORE
    end
  end
end

-- The plan that the option is.
local function read_fallback(o, level)
  local known = { pools = pools.of(o.targets), cache = o.cache ~= false }
  local plan, message = fallback_options.read(o.fallback, known)
  return plan or error("unbusy: " .. message, level + 1)
end

-- The pools as they are told, each of those that there are.
local function read_pools(o, level)
  if o.route.sticky == true then
    error("unbusy: route.sticky: one of prefix, user expected, got a boolean", level + 1)
  end
  local known = pools.of(o.targets).by_name
  local read, message = routing.read_pools(o.pools, known)
  if message then error("unbusy: " .. message, level + 1) end
  return read
end

local function check_escalation(o, level)
  local message = escalation.fault(o.escalate, pools.of(o.targets))
  if message then error("unbusy: " .. message, level + 1) end
end

--- What is wrong with an option `resume`, if anything.
---@param given any checked by its schema
---@param retries boolean can there be a second try?
---@return string? message
function config.resume_fault(given, retries)
  if given == true then return 'resume: "prefix", "prompt" or false expected' end
  if given and not retries then return "resume: 'retry' is needed, or there is no second try" end
end

local function check_resume(o, level)
  local message = config.resume_fault(o.resume, o.retry ~= false)
  if message then error("unbusy: " .. message, level + 1) end
end

local function check_warming(o, level)
  local given = o.cache and o.cache.warm and o.cache.warm.questions
  if not given then return end
  local list, message = questions.of_list(given)
  if not list then error("unbusy: cache.warm." .. message, level + 1) end
end

local function check_cache(o, level)
  local message = caching_options.fault(o.cache)
  if message then error("unbusy: " .. message, level + 1) end
end

--- What is wrong with the call's tenant or tags, if anything.
---@param o table options of a call, checked by their schema
---@return string? message
function config.cache_fault(o)
  if o.tenant == "" then return "tenant: an empty text; leave it out" end
  for i, tag in ipairs(o.cache_tags or {}) do
    if tag == "" or #tag > 64 or tag:find "[%z\1-\31\127]" then
      return ("cache_tags[%d]: 1 to 64 bytes without control characters expected"):format(i)
    end
  end
end

local function read_batch(given, level)
  if given == true then error("unbusy: batch: a rule expected", level + 1) end
  local list, message = batch_rules.read(given, "batch")
  if not list then error("unbusy: " .. message, level + 1) end
  return list
end

local function read_redis(o, level)
  local given = o.cache and o.cache.redis
  if not given then return end
  local made, message = redis_options.read(given)
  o.cache.redis = made or error("unbusy: " .. message, level + 1)
end

--- Checks a client's options and fills them in; raises at the line of the caller's caller.
---@param given table|string options, or the path of a Lua file that returns them
function config.read(given)
  local level = 3
  if type(given) == "string" then given = config.load(given, level) end
  if type(given) ~= "table" then
    error("unbusy: a table of options or a file's path expected, got a " .. type(given), level)
  end
  local o = options.check(config.client, plain(given), "unbusy", level + 1)
  fill_targets(o.targets, level)
  o.per_minute = limits_per_minute(o.targets, level)
  fill_region(o, level)
  try_part(breaker, o.breaker, level)
  try_part(limiter, o.limiter, level)
  check_resume(o, level)
  read_redis(o, level)
  check_warming(o, level)
  o.batch = read_batch(o.batch, level)
  o.pools = read_pools(o, level)
  if o.gateway then o.gateway = gateway_options.read(o.gateway, level) end
  if o.fallback then o.fallback = read_fallback(o, level) end
  if o.escalate then check_escalation(o, level) end
  if o.cache then check_cache(o, level) end
  return o
end

return config
