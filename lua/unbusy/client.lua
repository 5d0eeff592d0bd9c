--- A client: its targets, what they share, and the calls.
local building = require "unbusy.building"
local call = require "unbusy.call"
local canceller = require "unbusy.canceller"
local codes = require "unbusy.codes"
local config = require "unbusy.config"
local flow = require "unbusy.flow"
local headers = require "unbusy.headers"
local language = require "unbusy.fallback.language"
local list = require "unbusy.batching.list"
local loops = require "unbusy.loops"
local metrics_text = require "unbusy.metrics.text"
local monotonic = require "unbusy.clock"
local options = require "unbusy.options"
local passed = require "unbusy.passed"
local passing = require "unbusy.passing"
local pools = require "unbusy.pools"
local stream = require "unbusy.stream"
local trace = require "unbusy.trace"
local warm = require "unbusy.caching.warm"

local pcall, type = pcall, type

---@class unbusy.client
local client = {}
client.__index = client
client.__name = "unbusy.client"

-- {== Building ============================================================

--- Makes a client; docs/reference.md has the options. Without the memory for a cache, or room in
--- its region, it is nil, message and a code ("nomem", "full", or "invalid" for what is none).
---@param given unbusy.options|string a table, or the path of a Lua file that returns one
---@return unbusy.client? client, string? message, unbusy.code? code
function client.new(given)
  local o = config.read(given)
  local loop, lacks = loops.of(o.loop)
  if lacks then error("unbusy: " .. lacks, 2) end
  local self = setmetatable({ -- false, and not nil: each call looks, and finds it at once
    loop = loop or false, now = loop and loop.now or monotonic, clocks = o.clocks,
    fallback = o.fallback, on_event = o.on_event or false, event_faults = 0,
    escalate = o.escalate, resume = o.resume, resumed = 0, upstream_stream = o.upstream_stream,
    calls = {}, closed = false, common = false,
  }, client)
  local fine, fault = building.policies(self, o)
  if not fine then error("unbusy: " .. fault, 2) end
  local ok, message, code = building.build(self, o)
  if not ok then return nil, message, code end
  self.flow = flow.default(self)
  if self.common then self.common:attach(self) end
  if self.cache_fault then self:level_changed(self.cache_fault) end
  return self
end

function client:__tostring()
  return ("unbusy client: %d targets"):format(#self.targets)
end

-- }========================================================================

-- {== Calling =============================================================

local function merged_clocks(self, given)
  if not given then return nil end
  local out = {}
  for name in pairs(config.clocks) do out[name] = given[name] or self.clocks[name] end
  return out
end

local function target_of(self, name)
  for _, t in ipairs(self.targets) do
    if t.name == name then return t end
  end
end

-- What is wrong with where the call is to go; nil when there is such a place.
local function place_fault(self, o)
  local t = o.target and target_of(self, o.target)
  if o.target and not t then return ("no target is named '%s'"):format(o.target) end
  if not o.pool then return nil end
  local message = pools.fault(self.pools, o.pool)
  if message or not t or t.pool == o.pool then return message end
  return ("target '%s' is in the pool '%s'"):format(t.name, t.pool)
end

-- The level of `error` that is the line of the public method's caller, seen from a function that
-- `start` (which the method calls last, so that its own frame is gone) or a method calls.
local CALLER = 3

local no_options = {}

-- The call's options, checked; raises at the line that made the call.
local function call_options(self, given, what)
  if given == nil then return no_options end
  if config.is_trusted(given) then return given end
  local o = options.check(config.call, given, what, CALLER + 1)
  if o.target or o.pool then
    local message = place_fault(self, o)
    if message then error(("%s: %s"):format(what, message), CALLER) end
  end
  if o.language ~= nil then
    local message = language.fault(o.language)
    if message then error(("%s: language: %s"):format(what, message), CALLER) end
  end
  if o.headers and not headers.is_readable(o.headers) then
    error(what .. ": headers: a list of lines or a map of strings expected", CALLER)
  end
  if o.cancel and not canceller.is(o.cancel) then
    error(what .. ": cancel: what unbusy.canceller() gives expected", CALLER)
  end
  if o.resume then
    local message = config.resume_fault(o.resume, self.retry.backoff ~= nil)
    if message then error(("%s: %s"):format(what, message), CALLER) end
  end
  if o.policy then
    local with, message = self.policies:with(o.policy)
    if not with then error(("%s: %s"):format(what, message), CALLER) end
    o.policy = with
  end
  if o.tenant or o.cache_tags or o.only_cached then
    local message = config.cache_fault(o)
    if not self.cache and o.only_cached then message = "only_cached: the client has no cache" end
    if message then error(("%s: %s"):format(what, message), CALLER) end
  end
  if o.clocks then
    o.given_clocks, o.clocks = o.clocks, merged_clocks(self, o.clocks)
  end
  return o
end

-- What a passed call gives: an answer, if need be the last refusal that came.
local function as_passed(c, reply, message, code, detail)
  if reply and reply.pieces then return passed.of_stream(stream.new(c, reply)) end
  if c.client.meter then c.client.meter:call_ends(c, reply, reply and reply.how or code) end
  c:finish()
  if not reply and not (c.refused and codes[code].fallback) then
    return nil, message, code, c:detail(detail)
  end
  reply = reply or c.refused
  reply.tries, reply.trace = c:tries_made(), c.trace and trace.shown(c.trace) or nil
  return passed.of_reply(reply)
end

-- What a call added to its requests, and whoever asked for it wants to know.
local function with_trace(c, reply)
  if reply and c.trace then reply.trace = trace.shown(c.trace) end
  return reply
end

local function run(loop, c)
  local self, good = c.client, c:begin(loop)
  local meter = self.meter
  self.calls[c] = meter and meter.COUNTS or true
  if meter then meter:call_begins() end
  local mark = loop.own and loop.own(c)
  local ok, reply, message, code, detail = pcall(good and self.flow or c.refusal, c)
  if loop.own then loop.disown(mark) end
  if not ok then
    c:finish()
    error(reply, 0)
  end
  if c.extra then reply = with_trace(c, reply) end
  if c.kind == "pass" then return as_passed(c, reply, message, code, detail) end
  if reply and reply.pieces then return stream.new(c, reply) end
  if meter then meter:call_ends(c, reply, code) end
  c:finish()
  if reply then return reply end
  return nil, message, code, c:detail(detail)
end

-- Makes the call and runs it; `how` has `streaming`, or a `path` and perhaps a `method`.
local function start(self, kind, request, given, what, how)
  local o = call_options(self, given, what)
  if self.closed then return nil, "the client is closed", "closed", { tries = 0 } end
  local c = call.new(self, kind, request, o, how)
  if o.policy then c.policy = o.policy end
  if o.headers or o.trace then
    local message = c:add_headers()
    if message then return nil, what .. ": " .. message, "invalid", { tries = 0 } end
  end
  return loops.enter(self.loop, run, c)
end

local function check_request(request, field, what)
  if type(request) ~= "table" then
    error(("%s: a request table expected, got a %s"):format(what, type(request)), CALLER)
  end
  if request.model ~= nil and type(request.model) ~= "string" then
    error(("%s: model: a string expected, got a %s"):format(what, type(request.model)), CALLER)
  end
  if field and request[field] == nil then
    error(("%s: '%s' is missing"):format(what, field), CALLER)
  end
  if field == "messages" and (type(request.messages) ~= "table" or #request.messages == 0) then
    error(("%s: messages: a list of at least one expected"):format(what), CALLER)
  end
end

-- Is it a request of the Responses API? A `prompt` is one that is stored there, with its `id`.
local function asks_for_response(request)
  if type(request) ~= "table" then return false end
  local prompt = request.prompt
  return request.input ~= nil or request.previous_response_id ~= nil
    or request.conversation ~= nil or type(prompt) == "table" and prompt.id ~= nil
end

--- A chat completion.
---@param request unbusy.request the body: `messages`, `model`, and whatever the provider knows
---@param given unbusy.options.call?
---@return unbusy.reply? reply, string? message, unbusy.code? code, unbusy.detail? detail
function client:chat(request, given)
  check_request(request, "messages", "chat")
  return start(self, "chat", request, given, "chat")
end

local as_stream = { streaming = true }

-- What a stream is asked of, by the field that says what is wanted.
local function streamed_kind(request)
  if type(request) ~= "table" or request.messages ~= nil then return "chat", "messages" end
  if asks_for_response(request) then return "responses" end
  if request.prompt ~= nil then return "complete", "prompt" end
  return "chat", "messages"
end

--- A chat completion as a stream; or a completion, for a request with `prompt`; or a response, for
--- one with `input` or what else `responses` takes.
---@param request unbusy.request
---@param given unbusy.options.call?
---@return unbusy.stream? stream, string? message, unbusy.code? code, unbusy.detail? detail
function client:stream(request, given)
  local kind, field = streamed_kind(request)
  check_request(request, field, "stream")
  return start(self, kind, request, given, "stream", as_stream)
end

--- A completion of `request.prompt`.
---@param request unbusy.request
---@param given unbusy.options.call?
---@return unbusy.reply? reply, string? message, unbusy.code? code, unbusy.detail? detail
function client:complete(request, given)
  check_request(request, "prompt", "complete")
  return start(self, "complete", request, given, "complete")
end

--- Embeddings of `request.input`.
---@param request unbusy.request
---@param given unbusy.options.call?
---@return unbusy.reply? reply, string? message, unbusy.code? code, unbusy.detail? detail
function client:embed(request, given)
  check_request(request, "input", "embed")
  return start(self, "embed", request, given, "embed")
end

--- A response of the Responses API to `request.input` (or a stored `prompt` or conversation).
---@param request unbusy.request
---@param given unbusy.options.call?
---@return unbusy.reply? reply, string? message, unbusy.code? code, unbusy.detail? detail
function client:responses(request, given)
  check_request(request, not asks_for_response(request) and "input" or nil, "responses")
  return start(self, "responses", request, given, "responses")
end

--- Any other POST below the target's URL: `body` is a table (sent as JSON) or a string (sent as it
--- is). `reply.body` is the decoded answer; where it is not JSON there is `reply.raw` alone.
---@param path string
---@param body table|string
---@param given unbusy.options.call?
---@return unbusy.reply? reply, string? message, unbusy.code? code, unbusy.detail? detail
function client:post(path, body, given)
  if type(path) ~= "string" or not path:match "^/[^%c%s#]*$" then
    error("post: a path that starts with / expected", 2)
  end
  if type(body) ~= "table" and type(body) ~= "string" then
    error(("post: a body (table or string) expected, got a %s"):format(type(body)), 2)
  end
  return start(self, "post", body, given, "post", { path = path })
end

--- Passes a request on, to the server and back, whatever it is: through the waiting line, breaker
--- and limiter as every call. What the server answers is the answer, an error too; only where it is
--- too busy, or cannot be reached, another try is made. A method that may not be done twice is sent
--- again only where the server cannot have done it.
---@param request unbusy.options.pass
---@param given unbusy.options.call?
---@return unbusy.passed? answer, string? message, unbusy.code? code, unbusy.detail? detail
function client:pass(request, given)
  local r = options.check(config.pass, request, "pass", CALLER)
  if r.headers then
    local own = { headers = r.headers }
    for name, value in pairs(type(given) == "table" and given or {}) do
      if name == "headers" then error("pass: headers: once, in the request or behind it", 2) end
      own[name] = value
    end
    given = own
  end
  local fault = passing.fault(r.method, r.path, r.body)
  if fault then return nil, "pass: " .. fault, "invalid", { tries = 0 } end
  return start(self, "pass", r.body, given, "pass", { path = r.path, method = r.method })
end

--- Asks questions ahead of time, so that their answers are in the cache. A question is a text, or a
--- request as of `chat`, `complete` or `embed`. What is still fresh is not asked again, and nobody
--- is asked who is busy.
---@param questions table|string|number list; or the path of a file of them; or how many of those
--- that are asked most
---@param given unbusy.options.warm?
---@return unbusy.warmed? result, string? message, unbusy.code? code nil: no such file
function client:warm(questions, given)
  return warm.all(self, questions, given)
end

local top_options = { show = { type = "boolean", default = false, doc = "the questions too" } }

--- Which questions are asked most lately, the most frequent first, where the option `cache.top`
--- counts them: `{ { hash =, count =, error =, kind =, model = }, … }`; with `show` also the
--- `question` and the `request`, where the option allows it.
---@param n integer? 20 by default
---@param given { show: boolean }?
---@return unbusy.hot_question[]? list, string? message, unbusy.code? code nil when it is closed
function client:top(n, given)
  local o = options.check(top_options, given, "top")
  n = n == nil and 20 or n
  if type(n) ~= "number" or n < 1 or n ~= math.floor(n) or n - n ~= 0 then
    error("top: a whole number above 0 expected", 2)
  end
  if not self.hot then error("top: nothing is counted: the option cache.top is off", 2) end
  if o.show and not self.hot.shows then
    error("top: the questions may not be shown: the option cache.top.show is off", 2)
  end
  if self.closed then return nil, "the client is closed", "closed" end
  return self.hot:top(n, o.show)
end

--- Asks many requests, as few calls as the rules of `batch` make of them.
---@param requests table list of requests as of `chat`, `complete` or `embed`, or of `{ prompt =,
--- parameters = }`; options may stand in it too
---@param given unbusy.options.batches?
---@return table[] results for each request its reply, or `{ message =, code =, detail = }`
function client:batch(requests, given)
  return list.all(self, requests, given)
end

-- }========================================================================

-- {== Looking and ending ==================================================

-- The watcher is told what belongs to no call.
local function tell(self, kind, event)
  if not self.on_event then return end
  event.type, event.at = kind, self.now()
  if not pcall(self.on_event, event) then self.event_faults = self.event_faults + 1 end
end

--- A breaker of ours has changed its state: the watcher is told. `by_us`: in this process.
---@package
function client:state_changed(t, old, new, by_us)
  self.router:state_changed(t, old, new, by_us)
  tell(self, "state", { target = t.name, from = old, to = new })
end

--- A pool of ours begins or ends to send calls on: the watcher is told.
---@package
function client:spill_changed(event)
  tell(self, "spill", event)
end

--- A level of the cache is in trouble, or well again: the watcher is told.
---@param event table { what = "fault"|"well", level =, code =, message = }
---@package
function client:level_changed(event)
  tell(self, "cache", event)
end

--- A job that asks ahead of time begins or ends: the watcher is told.
---@param what "begin"|"end"
---@param progress table
---@package
function client:warms(what, progress)
  tell(self, "warm", { what = what, all = progress.all, asked = progress.asked,
    fresh = progress.fresh, failed = progress.failed })
end

--- A breaker of ours would have opened, had not too many been open: the watcher is told.
---@package
function client:kept_in(t)
  tell(self, "kept", { target = t.name })
end

--- A policy of ours has failed, in a call perhaps, or has a new version: the watcher is told, and
--- `policy_log` before it, where a host keeps a log of its own.
---@package
function client:report_policy(event, c)
  if self.policy_log then self.policy_log(event) end
  if c then return c:emit("policy", event) end
  tell(self, "policy", event)
end

-- Counts of the cache, and what its file has against it.
local function cache_status(self)
  if not self.cache or self.closed then return nil end
  local out = self.cache:stats()
  if not out then return nil end -- its room in the region is lost
  out.file_fault = self.cache_fault and self.cache_fault.message
  return out
end

--- Loads the files of the policies anew, those of the client and its targets: all of them, or none
--- where one of them cannot be loaded. What has changed is loaded without that, too, soon after.
---@return boolean? done, string? message, "policy"? code
function client:reload()
  return self.policies:reload()
end

--- Another process has given back what calls of ours may wait for.
---@package
function client:look_again()
  if self.queue.count > 0 then self.queue:serve(self.now()) end
  if self.permits then self.permits:serve() end
  if self.flights then self.flights:look_again() end
end

--- Before somebody looks at the limits: a model that another process alone has asked for has its
--- own, too.
---@package
function client:look_around()
  if not self.common or self.closed then return end
  local accounts = {}
  for _, t in ipairs(self.targets) do accounts[t.account_name] = t.account end
  self.common:open_scopes(accounts)
end

--- What goes on: targets with breaker state, limits and tries; what each pool has answered and what
--- that cost; calls under way and waiting; what is left of the budget. No keys, no prompts.
function client:status()
  local targets, active = {}, 0
  self:look_around()
  for i, t in ipairs(self.targets) do targets[i] = t:status() end
  self.router:add_status(targets)
  for c in pairs(self.calls) do active = active + (c.merged and 0 or 1) end
  return { targets = targets, active = active, waiting = self.queue.count,
    queue = self.queue:status(),
    budget = self.budget and self.budget:stats(),
    cache = cache_status(self),
    top = self.hot and not self.closed and self.hot:status() or nil,
    warm = self.cache and warm.status(self.warming, self.warmer) or nil,
    pools = self.router.spill:status(self.now()),
    coalesce = self.flights and self.flights:stats(),
    batch = self.batches:stats(), hedge = self.hedges:stats(self.now()),
    resumed = self.resumed, policy = self.policies:status(),
    escalate = self.escalation and self.escalation:status(),
    event_faults = self.event_faults }
end

--- What was counted, as text for a monitoring system (docs/metrics.md), where the option `metrics`
--- is on: of all processes that share its region, or of this one.
---@param format "prometheus"|"openmetrics"|nil Prometheus' text format 0.0.4 by default
---@return string? text, string? message, string? code nil when the client is closed
function client:metrics(format)
  if format ~= nil and not metrics_text.types[format] then
    error("metrics: prometheus or openmetrics expected", 2)
  end
  if not self.meter then error("metrics: nothing is counted: the option metrics is off", 2) end
  if self.closed then return nil, "the client is closed", "closed" end
  return metrics_text.of(self, format)
end

--- Ends it: calls under way fail with "closed", later ones too. May be called twice.
function client:close()
  if self.closed then return end
  self.closed = true
  if self.cache then self.cache:close() end
  if self.hot then self.hot:close() end
  if self.warmer then self.warmer:close() end
  call.abort_all(self.calls, "closed")
  if self.meter then self.meter:close() end
  if self.common then self.common:detach(self) end
end

client.__close = client.close

-- }========================================================================

return client
