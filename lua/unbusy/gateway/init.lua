--- A gateway that speaks OpenAI's protocol, inside nginx.
--
--     init_by_lua_block { gateway = require("unbusy.gateway").new "/etc/unbusy.lua" }
--     location / { content_by_lua_block { gateway:handle() } }
--
-- A request's way:  path and method ► client key ► quota ► its route's handler ► log
-- What goes with it is its `ctx`; what turns it away is a refusal (see `unbusy.gateway.errors`).
local access = require "unbusy.gateway.access"
local answers = require "unbusy.gateway.answers"
local canceller = require "unbusy.canceller"
local config = require "unbusy.config"
local errors = require "unbusy.gateway.errors"
local keys = require "unbusy.gateway.keys"
local log = require "unbusy.gateway.log"
local nginx = require "unbusy.loops.nginx"
local options = require "unbusy.gateway.options"
local quotas = require "unbusy.gateway.quotas"
local recent = require "unbusy.recent"
local routes = require "unbusy.gateway.routes"
local workers = require "unbusy.gateway.workers"

local gateway = {}
gateway.__index = gateway
gateway.__name = "unbusy.gateway"

local serves = {
  batch = require "unbusy.gateway.batch",
  calls = require "unbusy.gateway.calls",
  health = require "unbusy.gateway.health",
  metrics = require "unbusy.gateway.metrics",
  models = require "unbusy.gateway.models",
  pass = require "unbusy.gateway.pass",
  status = require "unbusy.gateway.status",
}

-- {== Building ============================================================

local function set_of(list)
  local out = {}
  for _, name in ipairs(list) do out[name] = true end
  return out
end

local function new_client(given, path, where, level)
  local ok, made, message, warning = pcall(workers.client, given, path)
  if not ok then error(where .. tostring(made), level + 1) end
  if not made then error(("%sunbusy: %s"):format(where, message), level + 1) end
  if warning then ngx.log(ngx.WARN, "unbusy: ", warning) end
  return made
end

-- What of the cache and of the gateway does not go together.
local function cache_fault(client, o)
  if client.caching and client.caching.per == "tenant" and not o.keys then
    return "cache.per: tenants are told by their keys: gateway.keys expected"
  end
  if not client.cache and set_of(o.controls)["cache-control"] then
    return "gateway.controls: 'cache-control' needs a cache"
  end
end

-- Who may see the status, or the metrics; nil for whoever is on this machine.
local function token_keys(given, name)
  return type(given) == "table" and keys.new { { key = given.token, name = name } } or nil
end

-- A policy has failed or has a new version, or a file of it is broken: nginx's log has it, where
-- whoever has changed the file looks.
local function log_policy(event)
  local what = event.what == "reload" and "it runs from now on" or event.message
  if event.what == "broken" then what = "the version before it goes on: " .. what end
  if event.decision then what = ("%s: %s"):format(event.decision, what) end
  local told = ("unbusy: policy %s, version %d: %s"):format(event.policy, event.version, what)
  ngx.log(ngx.WARN, (told:gsub("%c", " ")))
end

--- Makes a gateway, in `init_by_lua`; raises, and so keeps nginx from starting, when something in
--- the configuration is wrong.
---@param given table|string the client's options and `gateway`, or the path of a Lua file
---@return table gateway
function gateway.new(given)
  local path = type(given) == "string" and given or nil
  local where = path and path .. ": " or ""
  if path then given = config.load(path, 2) end
  local made = new_client(given, path, where, 2)
  local o = options.read(given.gateway, 2)
  local wrong = cache_fault(made, o)
  if wrong then error(where .. "unbusy: " .. wrong, 2) end
  local counts, message = quotas.new(o.keys, made.region)
  if not counts then error(("%sunbusy: gateway.keys: %s"):format(where, message), 2) end
  local self = setmetatable({ client = made, options = o, keys = keys.new(o.keys),
    quotas = counts, controls = set_of(o.controls), targets = {},
    retries = made.retry.attempts > 1, status_keys = token_keys(o.status, "status"),
    metrics_keys = token_keys(o.metrics, "metrics") }, gateway)
  for _, target in ipairs(made.targets) do self.targets[target.name] = true end
  made.policy_log = log_policy
  if o.status then recent.attach(made) end
  return self
end

-- }========================================================================

-- {== A request ===========================================================

-- What is so for most requests is not in each of them.
local ctx_methods = { own_id = false, cancel = false, begun = false, gone = false, broken = false,
  garbled = false, address = false, status = false }
ctx_methods.__index = ctx_methods

--- The request's id, of nginx.
function ctx_methods:id()
  self.own_id = self.own_id or ngx.var.request_id
  return self.own_id
end

--- The client has gone: nobody waits for the call any more.
function ctx_methods:leave()
  self.gone = true
  if self.cancel then self.cancel:cancel() end
end

--- What ends the request's call when the client goes, where nginx tells (lua_check_client_abort).
function ctx_methods:canceller()
  self.cancel = canceller.new()
  self.address = nginx.listen(self)
  return self.cancel
end

--- One of its calls has ended, for the status.
---@param source string of its answer, or "failed"
function ctx_methods:ended(source)
  local recent_of = self.client.recent
  if recent_of then recent_of:answered(source) end
end

local nobody = {} -- no key yet

-- Conditions are about what the upstream has. nginx would hold them against our own answer, when
-- the call has been made and paid for: 304 or 412 for a chat.
local conditions = { "if-match", "if-none-match", "if-modified-since", "if-unmodified-since" }

local function clear_conditions(headers)
  for _, name in ipairs(conditions) do
    if headers[name] then ngx.req.clear_header(name) end
  end
end

local function all_headers()
  local headers = setmetatable(ngx.req.get_headers(0), nil) -- all; nginx bounds them
  if headers["if-match"] or headers["if-none-match"] or headers["if-modified-since"]
    or headers["if-unmodified-since"] then
    clear_conditions(headers)
  end
  return headers
end

local function new_ctx(self)
  local headers = all_headers()
  return setmetatable({ gateway = self, client = self.client, headers = headers,
    method = ngx.req.get_method(), path = ngx.var.uri, key = nobody, began = self.client.now(),
    kind = nil, model = nil }, -- nine: a table with room for sixteen
    ctx_methods)
end

-- Whose request it is, and whether it may be made.
local function admit(self, ctx, calls, reads)
  if self.keys.open then
    local refusal = access.check_page(ctx.headers, reads)
    if refusal then return refusal end
  end
  local key, message = self.keys:of(ctx.headers)
  if not key then
    return errors.new(401, message, { code = "invalid_api_key",
      headers = { ["www-authenticate"] = "Bearer" } })
  end
  ctx.key = key
  local ok, seconds
  ok, message, seconds = self.quotas:take(key, calls)
  if not ok then return errors.later(message, seconds, "rate_limit_exceeded") end
end

-- What has not been read must not be taken for the next request. False where it breaks HTTP.
local function discard(ctx)
  if not ctx.garbled then ctx.garbled = not pcall(ngx.req.discard_body) end
  return not ctx.garbled
end

local function serve(self, ctx)
  local route, id = routes.find(ctx.method, ctx.path, self.options.pass,
    self.options.status)
  if not route then return id end
  if not route.reads and not discard(ctx) then return errors.invalid "the body is no HTTP" end
  if not route.open then
    local refusal = admit(self, ctx, route.calls, route.serves == "pass" and ctx.method == "GET")
    if refusal then return refusal end
  end
  return serves[route.serves].serve(ctx, route, id)
end

-- What went wrong is ours; the log says it, the client learns no more than that.
local function internal(message)
  ngx.log(ngx.ERR, "unbusy: ", tostring(message)) -- nginx raises what is no text
  return errors.new(500, "the gateway has failed; its log says why")
end

-- Failures of calls that were sent nowhere: no target's.
local nowhere = { open = true, full = true, budget = true, policy = true }

-- What came of the request's call, if it made one: a batch tells of its own.
local function note_call(ctx)
  local r = log.notes(ctx)
  if r.kind == "batch" then return end
  if not r.code or r.given then
    local refused = r.kind == "pass" and ctx.status and ctx.status >= 400 -- as it was passed on
    if r.source then ctx:ended(refused and "failed" or r.source) end
  elseif r.tries and r.code ~= "cancelled" then -- what made no call has no tries, not even none
    ctx:ended "failed"
    if nowhere[r.code] then ctx.client.recent:failed(nil, r.code) end
  end
end

-- Ends a request whose answer has broken off, with no end that looks like a good one. Under
-- HTTP/1.0 the connection's end is the answer's: nginx resets it (reset_timedout_connection).
local function break_off()
  return ngx.exit((ngx.req.http_version() or 2) < 1.1 and 444 or ngx.ERROR)
end

local function close_connection(ctx)
  if ctx.gone then return ngx.exit(499) end
  if ctx.garbled then return ngx.exit(400) end -- by nginx, which closes then
  if ctx.broken then return break_off() end
end

-- Counts the request, at its end.
local function count(ctx)
  ctx.client.meter:request_ends(routes.label(ctx.path), ctx.gone and 499 or ctx.status or 500,
    ctx.client.now() - ctx.began)
end

--- Serves the request that nginx has; in `content_by_lua`.
---@return any ... what ends the request, of nginx
function gateway:handle()
  if not ngx or ngx.get_phase() ~= "content" then
    error("unbusy.gateway: handle() is for nginx, in content_by_lua", 2)
  end
  local ctx = new_ctx(self)
  local ok, refusal = pcall(serve, self, ctx)
  if not ok then
    refusal, ctx.broken = internal(refusal), ctx.begun
  end
  if refusal and not ctx.begun and not ctx.gone and not ngx.headers_sent then
    if discard(ctx) then answers.refuse(ctx, refusal) else ctx.status = 400 end
  end
  if self.client.recent and ctx.kind then note_call(ctx) end
  log.write(ctx)
  if self.client.meter then count(ctx) end
  if ctx.address then nginx.unlisten(ctx.address) end
  return close_connection(ctx)
end

-- }========================================================================

-- {== A worker's beginning ================================================

local function look(premature, self)
  local warmer = self.client.warmer
  if premature or self.client.closed then return end
  warmer:look(nginx.loop, self.client.now())
end

--- A worker begins; in `init_worker_by_lua`. Where the cache keeps itself warm, it does so from now
--- on, also while no call comes.
function gateway:begin()
  local warmer = self.client.warmer
  if not warmer then return end
  local ok, message = ngx.timer.at(0, look, self)
  if ok then ok, message = ngx.timer.every(warmer.options.every, look, self) end
  if not ok then ngx.log(ngx.WARN, "unbusy: the cache is warmed by calls alone: ", message) end
end

-- }========================================================================

return gateway
