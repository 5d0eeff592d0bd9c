--- What a client counts of its calls and tries.
--
--     call begins ──► active            one level
--     try ends    ──► tries, durations, tokens, cost
--     call ends   ──► calls, durations, GenAI's names
--
-- What is counted together is one set of series (`unbusy.metrics`), kept by what decides which:
-- of most calls two tables are looked through and two sets are noted. A client without metrics has
-- no recorder, and its calls find none.
local families = require "unbusy.metrics.families"
local labels = require "unbusy.metrics.labels"
local metrics = require "unbusy.metrics"
local turns = require "unbusy.turns"

local recorder = {}
recorder.__index = recorder

--- In the client's set of calls: the end of this one is to be counted, and was not yet.
recorder.COUNTS = "counts"
local COUNTS = recorder.COUNTS

--- Options of `metrics`.
recorder.schema = {
  bytes = metrics.schema.bytes,
  models = { type = "whole", default = 50, min = 0, max = 1000,
    doc = "names of models that are told apart besides those in the configuration" },
}

-- What each call calls. Found in the recorder itself it is found in half the time, and so is a
-- set's `note` as its `tell`, which is the same for all sets.
local HOT = { "call_begins", "call_ends", "try_begins", "try_ends" }

local by_name = families.by_name

-- A series of a set: what it is, and what takes its place without room.
local function item(name, ...)
  local family = by_name[name]
  local gathers = family.labels[1] and family.kind ~= "level"
  return { family.kind, labels.key(family, { ... }), gathers and labels.key(family) or nil }
end

-- A series that takes another value than that of its place; 0: 1 each time.
local function taking(from, series)
  series.from = from
  return series
end

-- The series that are there from the begin: those in which the rest goes together, and what is 0 as
-- long as all goes well.
local function open_common(part, client)
  for _, family in ipairs(families.list) do
    if family.kind and (family.kind ~= "level" or not family.labels[1]) then
      part:open(family.kind, labels.key(family), family.labels[1] ~= nil)
    end
  end
  for _, name in ipairs(turns.names) do
    part:open("level", labels.key(by_name.unbusy_queue_waiting, { name }))
  end
  for _, guest in ipairs(client.policies.guests) do
    part:open("counter", labels.key(by_name.unbusy_policy_faults_total, { guest.name }))
  end
  for _, t in ipairs(client.targets) do
    part:open("level", labels.key(by_name.unbusy_target_in_flight, { t.name }))
    for code, status in pairs { [""] = "200", busy = "503", limited = "429", network = "none" } do
      part:open("counter",
        labels.key(by_name.unbusy_tries_total, { t.name, t.account_name, code, status }))
    end
  end
end

--- Makes a client's recorder; nil and a failure without the memory, or the room in the region.
---@param client table whose targets are there
---@param o table its checked options
---@return table? self, string? message, string? code
function recorder.new(client, o)
  local given = { bytes = o.metrics.bytes }
  local part, message, code =
    metrics.new(client.common and client.common:part(given, "metrics") or given)
  if not part then return nil, message, code end
  open_common(part, client)
  local self = setmetatable({ client = client, calls = client.calls, part = part, active = 0,
    closed = false,
    ended = {}, streams = {}, good = {}, sets = {}, targets = {}, places = {},
    queue_size = o.queue.size, budget_size = o.budget and o.budget.tokens,
    models = labels.models(client.targets, o.metrics.models) }, recorder)
  for _, name in ipairs(HOT) do self[name] = recorder[name] end
  for _, t in ipairs(client.targets) do
    self.targets[t.name] = t
    self.places[t] = { flying = 0, begun = {}, good = {}, tries = {} }
  end
  return self
end

-- {== Sets ================================================================

-- Those that were found are of a part that is there no more.
local function forget(self)
  self.ended, self.streams, self.good, self.sets = {}, {}, {}, {}
  for _, place in pairs(self.places) do place.begun, place.good, place.tries = {}, {}, {} end
end

--- The series of a set are not there any more, and so perhaps those of no set.
function recorder:lost()
  if not self.closed then forget(self) end
end

-- Makes a set; false where there is none to be had.
local function made(self, list)
  if self.closed then return false end
  local set = self.part:set(list)
  self.tell = set and set.note or self.tell
  return set or false
end

-- The table at `key` in another one.
local function below(t, key)
  local found = t[key]
  if not found then
    found = {}
    t[key] = found
  end
  return found
end

--- The set of one family with these labels; false where there is none to be had.
---@param name string of the family
---@param a string? its labels
---@param b string?
---@return userdata|false
function recorder:set(name, a, b)
  local by_a = below(below(self.sets, name), a or "")
  local found = by_a[b or ""]
  if found == nil then
    found = made(self, { item(name, a, b) })
    by_a[b or ""] = found
  end
  return found
end

--- Notes a value in the series of a family with up to two labels.
---@param name string
---@param value number
---@param a string?
---@param b string?
function recorder:note(name, value, a, b)
  local set = self:set(name, a, b)
  if not set or set:note(value) or self.closed then return end
  forget(self)
  set = self:set(name, a, b)
  if set then set:note(value) end
end

-- }========================================================================

-- {== Calls ===============================================================

--- A call begins. That is told to others with its first try, when it waits, or at its end.
function recorder:call_begins()
  self.active = self.active + 1
end

local operations = { chat = "chat", responses = "chat", complete = "text_completion",
  embed = "embeddings" }

-- What is counted at the end of such a call. GenAI's series are for those that asked a server.
local function ended_set(self, call, source, target, model, code)
  local kind = call.streaming and call.kind ~= "pass" and "stream" or call.kind
  local list = { item("unbusy_call_duration_seconds", source), item "unbusy_call_overhead_seconds",
    item "unbusy_calls_active", taking(0, item("unbusy_calls_total", kind, source, code)) }
  local operation = operations[call.kind]
  if operation and target ~= "" then
    local provider = self.targets[target].provider.name
    list[5] = taking(1, item("gen_ai_client_operation_duration_seconds", operation, provider, model,
      code))
    list[6] = taking(4, item("gen_ai_client_token_usage", operation, provider, model, "input"))
    list[7] = taking(5, item("gen_ai_client_token_usage", operation, provider, model, "output"))
  end
  return made(self, list)
end

-- The set for that end; found by what tells it from others. (Some codes are called as a source is.)
local function find_ended(self, call, source, target, model, code)
  local outcome = code == "" and source or "none " .. code
  local place = call.streaming and self.streams or self.ended
  place = place[call.kind]
  place = place and place[outcome]
  place = place and place[target]
  local set = place and place[model]
  if set ~= nil then return set end
  place = below(below(below(call.streaming and self.streams or self.ended, call.kind), outcome),
    target)
  set = ended_set(self, call, source, target, model, code)
  place[model] = set
  return set
end

-- Seconds of our own for an answer that was kept; nil for another, or where pauses, tries or other
-- calls are in them.
local function cached_end(call, answer, seconds)
  local source, times = answer.source, answer.times
  if source ~= "cache" and source ~= "stale" or call.streaming or call.kind == "pass" then
    return nil
  end
  if call.tries[1] or call.past > 0 or not times then return nil end
  return math.max(seconds - times.queued, 0)
end

-- Whom it has asked, and for which model: "" and "" where nobody has been asked for this call.
local function asked(self, call, source, answer)
  local tries = call.tries
  local try = tries[1] and (call.told or tries[#tries])
  if source ~= "upstream" and source ~= "none" then return "", "" end
  local target = answer and answer.target
  if not self.targets[target or false] then target = try and try.target end
  if not self.targets[target or false] then return "", "" end
  local model = try and try.model or call.model or ""
  return target, self.models.known[model] or self.models:label(model, source == "upstream")
end

-- Of a whole answer to the only try, which most answers are: the set, where there was one like it,
-- the seconds of our own, and the model that was asked; of another one nil. (One function: each
-- call of one takes Lua as long as ten look-ups.)
local function plain_end(self, call, answer, seconds)
  local tries, kind = call.tries, call.kind
  local try = tries[1]
  if not try or tries[2] or call.streaming or answer.source ~= "upstream" then return nil end
  local place, model, own = self.good[answer.target], try.model or call.model or "", nil
  place = place and place[kind]
  if kind ~= "pass" and call.past == 0 and answer.times and try.seconds then
    own = seconds - answer.times.queued - try.seconds
    if own < 0 then own = 0 end
  end
  return place and place[model], own, model
end

-- The set of an end, found by all that tells it from others. That of a `plain` model's good answer
-- is kept where `plain_end` looks; but a model that has no label of its own is not: names that
-- callers make up are not to pile up.
local function set_of(self, call, answer, source, code, plain)
  local target, model = asked(self, call, source, answer)
  local set = find_ended(self, call, source, target, model, code)
  if set and model == plain and self.targets[answer.target or false] then
    below(below(self.good, answer.target), call.kind)[model] = set
  end
  return set
end

--- A call has ended. Of a stream: all of it.
---@param call table
---@param answer table? reply; nil for a failure
---@param code string? of a failure
function recorder:call_ends(call, answer, code)
  local calls, loop = self.calls, call.loop
  if calls[call] ~= COUNTS then return end -- it was told before
  calls[call] = true
  local active = self.active - 1
  self.active = active
  local seconds = (loop and loop.now() or self.client.now()) - (call.started or 0)
  local set, own, model, input, output
  if answer and not code then
    local usage = answer.usage
    if usage then input, output = usage.prompt_tokens, usage.completion_tokens end
    set, own, model = plain_end(self, call, answer, seconds)
    set = set or set_of(self, call, answer, answer.source, "", model)
    if not model then own = cached_end(call, answer, seconds) end
  else
    set = set_of(self, call, answer, "none", labels.code(code))
  end
  if set and not self.tell(set, seconds, own, active, input, output) then self:lost() end
end

--- The answer of a stream has begun.
---@param call table
---@param answer table reply
function recorder:stream_begins(call, answer)
  if self.calls[call] ~= COUNTS then return end -- it is made for others
  local target, model = asked(self, call, answer.source, answer)
  local operation = operations[call.kind]
  if answer.source ~= "upstream" or not operation or target == "" then return end
  local place = below(below(below(self.sets, "first chunk"), operation), target)
  if place[model] == nil then
    place[model] = made(self, { item("gen_ai_client_operation_time_to_first_chunk_seconds",
      operation, self.targets[target].provider.name, model) })
  end
  local set = place[model]
  if set and not set:note(answer.times.total) then self:lost() end
end

-- }========================================================================

-- {== Tries ===============================================================

--- A try begins. How long it has waited for its place is told here, of those too that had one at
--- once; who stands in no line is not among them.
---@param call table
---@param target table
function recorder:try_begins(call, target)
  local place, priority = self.places[target], call.options.priority or "normal"
  local flying, set = place.flying + 1, place.begun[priority]
  place.flying = flying
  if set == nil then
    self:note("unbusy_queue_size", self.queue_size)
    set = made(self, { item("unbusy_target_in_flight", target.name), item "unbusy_calls_active",
      item("unbusy_queue_wait_seconds", priority) })
    place.begun[priority] = set
  end
  local in_line = not call.at_once and call.in_line or nil
  if set and not self.tell(set, flying, self.active, in_line) then self:lost() end
end

local function try_set(self, target, code, status)
  local name = target.name
  return made(self, {
    item("unbusy_try_duration_seconds", name), item("unbusy_target_in_flight", name),
    item("unbusy_tokens_total", name, "input"), item("unbusy_tokens_total", name, "output"),
    item("unbusy_cost_total", name), item("unbusy_tokens_total", name, "cached"),
    item("unbusy_first_token_seconds", name), item("unbusy_retries_total", name),
    item("unbusy_resent_total", name),
    taking(0, item("unbusy_tries_total", name, target.account_name, code, status)) })
end

-- The set for that end. That of a good answer is found at once, by its status.
local function find_try(self, target, place, code, status)
  local label = labels.status(status ~= 0 and status or nil)
  local by_label = below(place.tries, code)
  local set = by_label[label]
  if set == nil then -- one for all statuses without a name of their own
    set = try_set(self, target, labels.code(code), label)
    by_label[label] = set
  end
  if code == "" and label ~= labels.OTHER then place.good[status] = set end
  return set
end

--- A try has ended.
---@param call table
---@param try table
---@param target table
---@param streaming boolean was a stream asked for?
---@param answer table? reply; nil where it failed
---@param code string? of a failure
---@param late boolean? it is a stream, which ends now
function recorder:try_ends(call, try, target, streaming, answer, code, late)
  if try.left then return end -- told before, and its own coroutine has come to its end since
  local place, status = self.places[target], try.status or 0
  local flying = place.flying - 1
  place.flying = flying
  local set
  if not code then set = place.good[status] end
  if set == nil then set = find_try(self, target, place, code or "", status) end
  if not set then return end
  local seconds, cost, input, output, cached = try.seconds, nil, nil, nil, nil
  if answer then
    cost = answer.cost
    local usage = answer.usage
    if usage then
      input, output, cached = usage.prompt_tokens or 0, usage.completion_tokens, usage.cached_tokens
      if cached then
        if cached > input then cached = input end
        input = input - cached
      end
    end
  end
  if late or not seconds then seconds = call.loop.now() - try.began end
  local first = streaming and try.start or nil
  local retry = try.number > 1 and not call.lane_of and 1 or nil
  if not self.tell(set, seconds, flying, input, output, cost, cached, first, retry,
      try.resent and 1 or nil) then
    self:lost()
  end
end

-- The try that a call, or its lane, was waiting for at that target; nil where that has ended.
local function try_under_way(call, target)
  for i = #call.tries, 1, -1 do
    local try = call.tries[i]
    if try.target == target.name then return not try.seconds and try or nil end
  end
end

--- A call is gone. Where its host has ended it, nobody has told how its try and itself have ended.
function recorder:call_left(call)
  local place = call.place
  local try = place and try_under_way(call, place.target)
  if try then
    try.seconds = call.loop.now() - try.began
    self:try_ends(call, try, place.target, false, nil, "cancelled")
    try.left = true
  end
  if self.calls[call] == COUNTS then self:call_ends(call, nil, "cancelled") end
end

-- }========================================================================

-- {== The line ============================================================

--- So many calls of a priority wait for a place now, in this process.
---@param priority string
---@param count integer
function recorder:waiting(priority, count)
  local place = below(self.sets, "waiting")
  if place[priority] == nil then
    place[priority] = made(self,
      { item("unbusy_queue_waiting", priority), item "unbusy_calls_active" })
  end
  local set = place[priority]
  if set and not set:note(count, self.active) then self:lost() end
end

--- A call was turned away from the line.
---@param code string of the refusal
function recorder:turned_away(code)
  self:note("unbusy_queue_refused_total", 1, labels.code(code))
end

-- }========================================================================

--- A request to the gateway has ended.
---@param path string one of a few
---@param status integer
---@param seconds number
function recorder:request_ends(path, status, seconds)
  local place, label = below(below(self.sets, "http"), path), labels.status(status)
  if place[label] == nil then
    place[label] = made(self, { item("unbusy_http_request_duration_seconds", path),
      taking(0, item("unbusy_http_requests_total", path, label)) })
  end
  local set = place[label]
  if set and not set:note(seconds) then self:lost() end
end

--- The client is closed. What other processes share goes on.
function recorder:close()
  self.closed = true
  self.part:close()
end

return recorder
