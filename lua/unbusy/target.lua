--- A target at run time: one endpoint of one account, and the gates before it.
--
--     target:admit(model, now) ──► place ──► started(seconds) ──► finish(code)
--           │                      (a breaker's and a limiter's ticket)
--           └─► nil, code, message, retry_after      "open" or "full": may be waited for
--                                                    "auth" or "quota": may not
--
-- A breaker belongs to a target; a limiter to an account and a model, so that all targets and keys
-- of one account share it.
local breaker = require "unbusy.breaker"
local codes = require "unbusy.codes"
local ejection = require "unbusy.routing.ejection"
local providers = require "unbusy.providers"
local rates = require "unbusy.rates"
local secrets = require "unbusy.secrets"

local are_rates_in, setmetatable = rates.are_in, setmetatable

local target = {}
target.__index = target
target.__name = "unbusy.target"

--- Seconds for which a refused key, or an account without credit, is left alone.
target.SET_ASIDE = 300

--- Seconds after which a server that wanted to be left alone for longer is asked again.
target.LONGEST_REST = 3600

--- When a rest is over, calls come little by little: over this share of it, and so many seconds at
--- most.
target.SLOW_START, target.LONGEST_START = 0.1, 10

-- How it goes on with a message that was begun: as it is told, or as its provider does there.
local function prefix_of(given, provider)
  if given.prefix ~= nil then return given.prefix end
  return provider.prefix ~= nil and provider.prefix(given.url)
end

-- Its keys; no field shows one. Among processes each has a mark of its own: the key that takes the
-- place of a refused one has not been refused.
local function new_keys(given, common)
  local keys = {}
  for i, secret in ipairs(given.keys) do
    keys[i] = { aside_until = 0, scopes = false, secret = function() return secret end,
      mark = common and common.tag("key " .. given.name, given.url, secret) }
  end
  return keys
end

--- Makes a target.
---@param given table its checked options, with `keys` filled in
---@param account table see `unbusy.account`
---@param shared table of the client: { breaker = options|false, on_open =, now =, changed =,
--- released =, common = see `unbusy.shared`, or nil }
---@return table? self, string? message, string? code nil when the region has no room
function target.new(given, account, shared)
  local self = setmetatable({
    name = given.name, url = given.url, account_name = given.account, weight = given.weight,
    pool = given.pool, reserve = given.reserve, priority = given.priority, models = given.models,
    price = given.price, limits = given.limits, tls = given.tls, batch = given.batch,
    provider = providers.of(given), account = account,
    extra_headers = function() return given.headers end, -- no field shows what may be secret
    proxy = function() return given.proxy end, secrets = secrets.new(secrets.of_target(given)),
    rest_until = 0, rests = {}, limited_until = 0, -- `rests`: by scope, the last of them
    slow = {}, slow_all = 0, slow_until = 0, -- seconds of slow start after each of them, and all's
    ramps_until = 0, tries = 0, now = shared.now, changed = shared.changed,
    kept = shared.kept,
    released = shared.released, fails_open = shared.on_open == "fail",
    common = shared.common or false,
    balancer = false, index = false, -- only where calls are measured for it (see the router)
    troubled = false, -- its account or a key of its was refused, and perhaps still is
    recent = false,   -- who is told what its tries come to (see `unbusy.recent`)
    groups = {}, heeded_until = 0, in_queue = {}, queue_seconds = 0, queue_calls = 0,
    judges_slow = shared.breaker and shared.breaker.slow_rate ~= nil, failed_at = false,
    window = shared.breaker and shared.breaker.count and math.huge or shared.window or 0,
  }, target)
  self.prefix = prefix_of(given, self.provider)
  self.keys, self.no_key = new_keys(given, self.common), { secret = function() return nil end }
  self.tag = self.common and self.common.tag(given.name, given.url) or given.name
  if shared.breaker then
    local o = shared.breaker
    if shared.common then o = shared.common:part(o, self.tag) end
    local made, message, code = breaker.new(o)
    if not made then return nil, message, code end
    self.breaker = made
  end
  self.state = self.breaker and self.breaker:state() or "closed"
  account.targets[#account.targets + 1] = self
  return self
end

function target:__tostring()
  return "unbusy target: " .. self.name
end

--- The name under which this target knows the asked model (nil: none was asked for).
---@param asked string?
---@return string?
function target:model(asked)
  local models = self.models
  if asked == nil then return models.default end
  return models[asked] or models["*"] or asked
end

local function scope_of(self, model)
  local account = self.account
  return account.scopes[model or ""] or account:scope(model or "")
end

--- What limits the calls of this target for a model: those of its account's other targets, too.
---@return table scope see `unbusy.account`
target.scope = scope_of

--- The limiter of this target's account for a model; nil where limiters are off.
function target:limiter(model)
  return scope_of(self, model).limiter
end

-- {== Keys ================================================================

-- Is it of use, for this model where one is given? (`scopes`: it was refused for some.)
local function is_good(self, key, now, model)
  if key.aside_until > now then return false end
  local scopes = key.scopes
  return not scopes or model == nil or (scopes[scope_of(self, model or nil)] or 0) <= now
end

local function other_key(self, now, model)
  for i = 2, #self.keys do
    if is_good(self, self.keys[i], now, model) then return self.keys[i] end
  end
end

--- The first key that is not set aside, be it for that model alone; a target without keys gives an
--- empty one.
---@param now number
---@param model string|false|nil as this target calls it, false for none; nil: for any
---@return table? key with `secret()`, or nil when all are set aside
local function key_of(self, now, model)
  local first = self.keys[1]
  if not first then return self.no_key end
  if is_good(self, first, now, model) then return first end
  return other_key(self, now, model)
end

target.key = key_of

-- What is not to be used before a time is told to all who share it.
local function mark(self, what, at)
  if self.common then self.common:mark(what, at, self.now()) end
end

local function rest_mark(self, scope)
  return "rest " .. self.tag .. (scope and "\0" .. scope.model or "")
end

local function broke_mark(self) return "broke " .. self.account_name end

-- The server refused the key for one model: not that one again for a while for those that share
-- the model's limits. (Where there are so many that they share the rest, nobody knows.)
local function set_aside_for(self, key, model)
  local scope = scope_of(self, model)
  if scope.model ~= (model or "") then return end
  key.scopes = key.scopes or {}
  key.scopes[scope] = self.now() + target.SET_ASIDE
end

-- The server refused the key: not that one again for a while.
local function set_key_aside(self, key)
  self.troubled = true
  key.aside_until = self.now() + target.SET_ASIDE
  mark(self, key.mark, key.aside_until)
end

local function set_account_aside(self)
  for _, t in ipairs(self.account.targets) do t.troubled = true end
  self.account.broke_until = self.now() + target.SET_ASIDE
  mark(self, broke_mark(self), self.account.broke_until)
end

-- There is a rest until then: for how long it goes on slowly after that.
local function slow_seconds(self, at)
  if self.fails_open then return 0 end -- nobody waits for it
  local seconds = math.min((at - self.now()) * target.SLOW_START, target.LONGEST_START)
  self.slow_until = math.max(self.slow_until, at + math.max(seconds, 0))
  return seconds
end

-- Calls for this model, and those that share its limits, rest until then.
local function limit(self, scope, at)
  if at <= (self.rests[scope] or 0) then return end
  self.rests[scope], self.limited_until = at, math.max(self.limited_until, at)
  self.slow[scope] = slow_seconds(self, at)
end

-- All its calls rest until then.
local function rest_all(self, at)
  if at <= self.rest_until then return end
  self.rest_until, self.slow_all = at, slow_seconds(self, at)
end

-- Until when those for a model rest, whatever they rest for. What others have marked for one that
-- has not been asked for here is looked up now.
local function rest_of_model(self, model, now)
  local common = self.common
  if self.limited_until <= now and not common then return self.rest_until end
  local scope = scope_of(self, model)
  if not self.rests[scope] then
    self.rests[scope] = 0
    if common then limit(self, scope, common:marked(rest_mark(self, scope))) end
  end
  return math.max(self.rest_until, self.rests[scope])
end

-- What other processes have marked: looked up now and then.
local function heed_marks(self, now)
  local common, account = self.common, self.account
  self.heeded_until = now + common.REFRESH
  rest_all(self, common:marked(rest_mark(self)))
  for scope in pairs(self.rests) do
    limit(self, scope, common:marked(rest_mark(self, scope)))
  end
  account.broke_until = math.max(account.broke_until, common:marked(broke_mark(self)))
  for _, key in ipairs(self.keys) do
    key.aside_until = math.max(key.aside_until, common:marked(key.mark))
  end
end

-- }========================================================================

-- {== Places ==============================================================

local place = { queued_for = false, balance_ticket = false, taken = false } -- of most
place.__index = place

-- Tell the account whether any of its targets answers.
local function note_account(account)
  local answers = false
  for _, t in ipairs(account.targets) do
    answers = answers or (account.common and t.breaker:state() or t.state) == "closed"
  end
  account:note(answers)
end

-- A breaker that has just opened, where too many would be out with it: it begins to count anew.
local function is_kept_in(self, old, new)
  if old ~= "closed" or new ~= "open" or self.fails_open or ejection.allows(self) then
    return false
  end
  self.breaker:force "closed"
  self.kept(self)
  return true
end

-- Tell whoever watches when the breaker's state has moved, and the limiters what follows from it;
-- `by_us`: by what was reported here.
local function note_state(self, by_us)
  local old, new = self.state, self.breaker:state()
  if old == new or is_kept_in(self, old, new) then return end
  self.state = new
  note_account(self.account)
  self.changed(self, old, new, by_us or not self.common)
end

-- May a closed breaker be opened by what goes well? By how quickly it did, or since it is the last
-- of the calls without which nothing is judged: then others have failed not long ago.
local function may_open(t)
  if t.judges_slow then return true end
  if t.failed_at and t.now() - t.failed_at > t.window then t.failed_at = false end
  return t.failed_at ~= false
end

local function report_breaker(self, word, seconds)
  local t = self.target
  if self.reported then return end
  self.reported = true
  if not self.breaker_ticket then return end
  if t.fails_open and word == "busy" then word = "fail" end
  t.breaker:report(self.breaker_ticket, word, seconds)
  if word ~= "ok" and word ~= "neutral" then t.failed_at = t.now() end
  if word ~= "ok" or t.state ~= "closed" or may_open(t) then note_state(t, true) end
end

-- The place whose call has stood longest in the target's own queue.
local function look_at_queue(t)
  local longest
  for other in pairs(t.in_queue) do
    if not longest or other.queued_for > longest.queued_for then longest = other end
  end
  t.queue_longest, t.queue_seconds = longest, longest and longest.queued_for or 0
end

--- The server says that it is still there, and nothing else, `seconds` after the request was sent:
--- the call stands in a queue of the server's. As long as one does, its target's `queue_seconds`
--- says for how long, of the longest; and the balancer takes it for the least that its answers take
--- to begin.
function place:queues(seconds)
  local t = self.target
  if not self.queued_for then
    t.in_queue[self], t.queue_calls = true, t.queue_calls + 1
  end
  self.queued_for = seconds
  if seconds >= t.queue_seconds then t.queue_longest, t.queue_seconds = self, seconds end
  local ticket = self.balance_ticket
  if ticket and not self.finished then t.balancer:waits(ticket, seconds, t.now()) end
end

-- It stands there no more.
local function leave_queue(self)
  local t = self.target
  t.in_queue[self], t.queue_calls, t.queue_last = nil, t.queue_calls - 1, self.queued_for
  self.queued_for = false
  if t.queue_longest == self then look_at_queue(t) end
end

--- Some of an answer is there, which is not judged yet: `seconds` after the request was sent.
function place:begins(seconds)
  self.started_after = seconds
  if self.queued_for then leave_queue(self) end
end

--- The answer has begun, `seconds` after the request was sent.
function place:started(seconds)
  self:begins(seconds)
  if self.limiter_ticket and self.target.account.by_start then
    self.target:limiter(self.model):started(self.limiter_ticket, seconds)
  end
  report_breaker(self, "ok", seconds)
  local ticket, t = self.balance_ticket, self.target
  if ticket then t.balancer:started(ticket, seconds, t.now()) end
  if t.recent then t.recent:started(t.name, seconds) end
end

--- Another try of the same call has answered, `seconds` after this one was sent and before it had
--- begun. That is nothing against the target, but its answers take so long at least: a balancer
--- that goes by their time (the place has its ticket then) would else see the quick ones alone.
function place:outrun(seconds)
  local ticket, t = self.balance_ticket, self.target
  if ticket and not self.started_after then t.balancer:waits(ticket, seconds, t.now()) end
end

-- What is reported where it is not the code's own meaning (see `unbusy.codes`).
local verdicts = {
  ok = { limiter = "ok", breaker = "ok" },
  busy = codes.busy,
  neutral = codes.cancelled,
  -- Nothing came in the time the caller gave: the breaker's business when nobody else is answered.
  silent = { limiter = "neutral", breaker = "busy" },
  -- Given up in its queue: more is sent there than it can answer, and that is all.
  queued = { limiter = "fail", breaker = "neutral" },
}

-- What the balancer is told: a server that refuses is as dear as one that fails.
local of_balance = { ok = "ok", busy = "fail", fail = "fail", neutral = "neutral" }

-- Of a whole answer it is only known here whether what began was one; of a stream, since it began.
local function tell_recent(self, t, code)
  if code then return t.recent:failed(t.name, code) end
  if self.started_after and not self.reported then t.recent:started(t.name, self.started_after) end
end

--- The try is over. `code` is nil for a good answer, else how it failed; `verdict` ("busy",
--- "neutral", "silent", "queued") is what it says about the target where the code says something
--- else; `about` ("model", "request"): for what alone its key was refused. Twice is once.
function place:finish(code, verdict, about)
  if self.finished then return end
  self.finished = true
  if self.queued_for then leave_queue(self) end
  local t = self.target
  local word = verdict and verdicts[verdict] or code and codes[code] or verdicts.ok
  if t.recent then tell_recent(self, t, code) end
  if code == "auth" and not about then set_key_aside(t, self.key) end
  if code == "auth" and about == "model" then set_aside_for(t, self.key, self.model) end
  if code == "quota" then set_account_aside(t) end
  if self.reported and self.breaker_ticket and word.breaker ~= "ok"
    and word.breaker ~= "neutral" then
    t.breaker:record(self.breaker_ticket, "fail")
    note_state(t, true)
  end
  report_breaker(self, word.breaker, self.started_after)
  if self.balance_ticket then
    t.balancer:report(self.balance_ticket, of_balance[word.breaker], self.started_after, t.now())
  end
  local ticket, taken = self.limiter_ticket, self.taken
  if ticket then
    scope_of(t, self.model).limiter:report(ticket, word.limiter, self.started_after)
  end
  if taken then scope_of(t, self.model).rates:spent(taken, nil, word.limiter == "fail") end
  t.released()
end

--- The server's answer has these headers.
function place:told(headers)
  if are_rates_in(headers) then
    self.target.account:told(self.target:scope(self.model), headers, self.taken or nil)
  end
end

--- The answer says what it took.
function place:spent(usage)
  if self.taken then self.target:scope(self.model).rates:spent(self.taken, usage) end
end

--- Given back without a verdict: the call was cancelled, or ended in an error of the caller's.
function place:close()
  self:finish("cancelled")
end

-- The breaker has refused: it may be open since a report of ours or of another process, and may not
-- stay so. A ticket after all; or nil and its detail.
local function ask_again(self, detail)
  note_state(self)
  if self.state ~= "closed" then return nil, detail end
  local ticket, _, _, refusal = self.breaker:allow()
  return ticket, refusal
end

-- A breaker's ticket, or false where there is none; or nil and the seconds until one may be had.
local function ask_breaker(self)
  local b = self.breaker
  if not b then return false end
  local ticket, _, _, detail = b:allow()
  if not ticket then ticket, detail = ask_again(self, detail) end
  if not ticket then return nil, detail and detail.retry_after end
  -- It may be open no more, by its own clock or by another process, which may be gone since.
  if self.common or self.state ~= "closed" then note_state(self) end
  return ticket
end

-- What the account's limits for the model give: a limiter's ticket and what was taken of the limits
-- per minute, each perhaps nil. Or false, why not, and the seconds until there may be room.
local function ask_account(scope, call)
  local l, r, ticket = scope.limiter, scope.rates, nil
  if l then
    ticket = l:allow()
    if not ticket then return false, "the account's limit is reached", l:retry_after() end
  end
  if not r then return ticket end
  local taken, wait = r:take(call)
  if taken then return ticket, taken end
  if ticket then l:report(ticket, "neutral") end
  return false, "the account's limit per minute is reached", wait
end

-- Seconds until one more may come after a rest that has ended; nil where one may now. The longer
-- ago that was, the more of the limit there is: for all who waited, here and in other processes
-- that heeded the same words, it is the same instant.
local function slow_start(self, scope, now)
  local ended_at, seconds, l = self.rest_until, self.slow_all, scope.limiter
  if (self.rests[scope] or 0) > ended_at then
    ended_at, seconds = self.rests[scope], self.slow[scope]
  end
  if not l or now >= ended_at + seconds then return nil end
  local most = l:limit()
  if l:in_flight() < math.max(1, most * (now - ended_at) / seconds) then return nil end
  return seconds / most
end

--- Asks the gates for a place.
---@param model string? the model as this target calls it
---@param now number
---@param call table
---@return table? place, string? code, string? message, number? retry_after
function target:admit(model, now, call)
  if self.common and now >= self.heeded_until then heed_marks(self, now) end
  local key = key_of(self, now, model or false)
  if not key then
    return nil, "auth", key_of(self, now) and "every key was refused for this model"
      or "every key was refused"
  end
  if self.account.broke_until > now then return nil, "quota", "the account has no credit left" end
  local rest_until = rest_of_model(self, model, now)
  if rest_until > now then
    return nil, "open", "resting as the server asked", rest_until - now
  end
  local scope = scope_of(self, model)
  local wait = now < self.slow_until and slow_start(self, scope, now)
  if wait then return nil, "open", "coming back little by little from its rest", wait end
  if scope.rates then scope.rates:foreseen(call) end -- may raise: before there is a ticket
  local breaker_ticket
  breaker_ticket, wait = ask_breaker(self)
  if breaker_ticket == nil then return nil, "open", "the breaker is open", wait end
  local limiter_ticket, taken, seconds = ask_account(scope, call)
  if limiter_ticket == false then
    if breaker_ticket then self.breaker:report(breaker_ticket, "neutral") end
    return nil, "full", taken, seconds
  end
  self.tries = self.tries + 1
  local given = setmetatable({ -- room for eight fields, which a good try fills
    target = self, model = model, key = key, reported = false, finished = false,
    breaker_ticket = breaker_ticket or nil, limiter_ticket = limiter_ticket,
  }, place)
  if taken then given.taken = taken end
  local balancer = self.balancer
  if balancer then given.balance_ticket = balancer:begin(self.index, self.now()) end
  return given
end

-- Have the account's limits for a model room for one more?
local function has_room(self, model)
  local scope = self:scope(model)
  local l, r = scope.limiter, scope.rates
  return (not l or l:retry_after() == 0) and (not r or r:is_free())
end

--- Would a call be let in now? Takes nothing.
function target:is_free(model, now)
  if not self:key(now, model or false) then return false end
  if rest_of_model(self, model, now) > now then return false end
  if self.account.broke_until > now then return false end
  if self.breaker and self.breaker:state() ~= "closed" then return false end
  if now < self.slow_until and slow_start(self, self:scope(model), now) then
    return false
  end
  return has_room(self, model)
end

--- Is a limit of its account for a model reached? Takes nothing.
function target:is_full(model)
  return not has_room(self, model)
end

local shut = { open = true, forced_open = true }

--- May a call go there, now or as soon as there is room? Takes nothing.
function target:is_ready(now)
  if not self:key(now) or math.max(self.rest_until, self.account.broke_until) > now then
    return false
  end
  return not (self.breaker and shut[self.breaker:state()])
end

--- Is there no use in asking it now: is its breaker open, does it rest, was its account or its last
--- key refused? What others have marked is looked up now and then. Takes nothing.
---@param now number
---@param call table? whose model it is asked for; nil: for any
function target:is_away(now, call)
  if self.common and now >= self.heeded_until then
    heed_marks(self, now)
    if self.breaker then note_state(self) end
  end
  if self.rest_until > now or self.account.broke_until > now then return true end
  if call and rest_of_model(self, self:model(call.model), now) > now then return true end
  if self.state ~= "closed" then
    note_state(self)
    if shut[self.state] then return true end
  end
  local first = self.keys[1]
  self.troubled = first ~= nil and first.aside_until > now
  return self.troubled and self:key(now) == nil
end

--- The server asked for a wait since the account's limit for a model is reached: who wants that
--- model heeds it.
---@param model string? as this target calls it
function target:rest_for(model, seconds, now)
  local scope = scope_of(self, model)
  limit(self, scope, now + math.min(seconds, target.LONGEST_REST))
  mark(self, rest_mark(self, scope), self.rests[scope])
end

--- The server asked to be left alone for so long: all callers heed it.
function target:rest(seconds, now)
  rest_all(self, now + math.min(seconds, target.LONGEST_REST))
  mark(self, rest_mark(self), self.rest_until)
end

-- }========================================================================

--- What of its was refused, so that it is left alone whatever its breaker says: "quota", its
--- account has no credit; "auth", all its keys were; nil: neither.
---@return "quota"|"auth"|nil
function target:refused()
  local now = self.now()
  if self.common and now >= self.heeded_until then heed_marks(self, now) end
  if self.account.broke_until > now then return "quota" end
  return not self:key(now) and "auth" or nil
end

-- Seconds for which the server has asked to be left alone, be it by those for one model.
local function rest_of(self)
  local rest_until, now = math.max(self.rest_until, self.limited_until), self.now()
  return rest_until > now and rest_until - now or nil
end

--- What an operator wants to know, free of secrets.
function target:status()
  local refused = self:refused() -- first: what others have marked is heeded then
  return {
    refused = refused, rests = rest_of(self),
    name = self.name, account = self.account_name, pool = self.pool, reserve = self.reserve,
    provider = self.provider.name,
    state = self.breaker and self.breaker:state() or "closed", tries = self.tries,
    breaker = self.breaker and self.breaker:stats(), limits = self.account:status(),
    queue = { calls = self.queue_calls, seconds = self.queue_seconds, last = self.queue_last },
  }
end

return target
