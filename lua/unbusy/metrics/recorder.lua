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

local recorder = {}
recorder.__index = recorder

--- Options of `metrics`.
recorder.schema = {
  bytes = metrics.schema.bytes,
  models = { type = "whole", default = 50, min = 0, max = 1000,
    doc = "names of models that are told apart besides those in the configuration" },
}

local by_name = families.by_name

-- A series of a set: what it is, and what takes its place without room.
local function item(name, ...)
  local family = by_name[name]
  return { family.kind, labels.key(family, { ... }), family.labels[1] and labels.key(family) }
end

-- The series that are there from the begin: those in which the rest goes together, and the levels.
local function open_common(part)
  for _, family in ipairs(families.list) do
    if family.kind == "level" then
      if not family.labels[1] then part:open("level", family.name) end
    elseif family.kind then
      part:open(family.kind, labels.key(family), family.labels[1] ~= nil)
    end
  end
end

--- Makes a client's recorder; nil and a failure without the memory, or the room in the region.
---@param client table whose targets are there
---@param given table|true its option `metrics`
---@return table? self, string? message, string? code
function recorder.new(client, given)
  local o = { bytes = type(given) == "table" and given.bytes or nil }
  local part, message, code = metrics.new(client.common and client.common:part(o, "metrics") or o)
  if not part then return nil, message, code end
  open_common(part)
  local self = setmetatable({ client = client, part = part, active = 0, closed = false,
    ended = {}, tries = {}, sets = {}, targets = {},
    models = labels.models(client.targets, type(given) == "table" and given.models
      or recorder.schema.models.default) }, recorder)
  for _, t in ipairs(client.targets) do self.targets[t.name] = t end
  return self
end

-- {== Sets ================================================================

-- Those that were found are of a part that is there no more.
local function forget(self)
  self.ended, self.tries, self.sets, self.level = {}, {}, {}, nil
end

-- Makes a set; false where there is none to be had.
local function made(self, list)
  if self.closed then return false end
  return self.part:set(list) or false
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

local function note_active(self)
  if self.level == nil then self.level = made(self, { item "unbusy_calls_active" }) end
  local level = self.level
  if level and not level:note(self.active) then self.level = nil end
end

--- Of the client's set of calls: that its end is to be counted, and was not yet.
recorder.COUNTS = "counts"

--- A call begins.
function recorder:call_begins()
  self.active = self.active + 1
  note_active(self)
end

local operations = { chat = "chat", responses = "chat", complete = "text_completion",
  embed = "embeddings" }

-- The labels of GenAI's series; nil where nobody was asked.
local function asked_for(self, call, target, model)
  local operation = operations[call.kind]
  if not operation or target == "" then return nil end
  return operation, self.targets[target].provider.name, model
end

-- What is counted at the end of a call of this kind.
local function ended_set(self, call, kind, outcome, target, model, code)
  local source = code == "" and outcome or "none"
  local list = { item("unbusy_calls_total", kind, source, code),
    item("unbusy_call_duration_seconds", source), item "unbusy_call_overhead_seconds",
    item "unbusy_calls_active" }
  local operation, provider, asked = asked_for(self, call, target, model)
  if operation then
    list[5] = item("gen_ai_client_operation_duration_seconds", operation, provider, asked, code)
    list[6] = item("gen_ai_client_token_usage", operation, provider, asked, "input")
    list[7] = item("gen_ai_client_token_usage", operation, provider, asked, "output")
  end
  return made(self, list)
end

-- The set for that end; found by what tells it from others.
local function find_ended(self, call, outcome, target, model, code)
  local kind = call.streaming and call.kind ~= "pass" and "stream" or call.kind
  local place = below(below(below(self.ended, call.kind), kind), outcome)
  place = below(place, target)
  local set = place[model]
  if set == nil then
    set = ended_set(self, call, kind, outcome, target, model, code)
    place[model] = set
  end
  return set
end

-- Seconds of our own for an answer; nil where pauses, other tries or a reader are among them.
local function overhead_of(call, reply, seconds)
  if call.streaming or call.past > 0 or call.race then return nil end
  local tries, times = call.tries, reply.times
  local try = tries[1]
  if tries[2] or not times then return nil end
  if try then
    if reply.source ~= "upstream" or not try.seconds then return nil end
    return seconds - times.queued - try.seconds
  end
  return reply.source ~= "coalesced" and reply.source ~= "batch" and seconds - times.queued or nil
end

local asked_sources = { upstream = true, none = true }

-- Whom it has asked, and for which model: "" and "" where nobody has been asked for this call.
local function asked(self, call, source, answer)
  if not asked_sources[source] then return "", "" end
  local target = answer and answer.target
  local try = call.tries[1] and call:last_try()
  if not self.targets[target or false] then target = try and try.target end
  if not self.targets[target or false] then return "", "" end
  return target, self.models:label(try and try.model or call.model, source == "upstream")
end

--- A call has ended. Of a stream: all of it.
---@param call table
---@param answer table? reply; nil for a failure
---@param code string? of a failure
function recorder:call_ends(call, answer, code)
  local calls = self.client.calls
  if calls[call] ~= recorder.COUNTS then return end -- it was told before
  calls[call] = true
  self.active = self.active - 1
  code = labels.code(code)
  local good = answer ~= nil and code == ""
  local source = good and answer.source or "none"
  local target, model = asked(self, call, source, answer)
  local set = find_ended(self, call, good and source or code, target, model, code)
  if not set then return note_active(self) end
  local seconds = (call.loop and call.loop.now() or self.client.now()) - (call.started or 0)
  local usage = good and answer.usage or nil
  local over = good and overhead_of(call, answer, seconds) or nil
  if set:note(1, seconds, over and (over > 0 and over or 0), self.active, seconds,
      usage and usage.prompt_tokens, usage and usage.completion_tokens) or self.closed then
    return
  end
  forget(self)
  note_active(self)
end

--- The answer of a stream has begun.
---@param call table
---@param answer table reply
function recorder:stream_begins(call, answer)
  local target, model = asked(self, call, answer.source, answer)
  local operation, provider, label = asked_for(self, call, target, model)
  if answer.source ~= "upstream" or not operation or not answer.times then return end
  local place = below(below(below(self.sets, "first chunk"), operation), provider)
  if place[label] == nil then
    place[label] = made(self,
      { item("gen_ai_client_operation_time_to_first_chunk_seconds", operation, provider, label) })
  end
  if place[label] then place[label]:note(answer.times.total) end
end

-- }========================================================================

-- {== Tries ===============================================================

local function try_set(self, target, code, status)
  local name = target.name
  return made(self, {
    item("unbusy_tries_total", name, target.account_name, code, status),
    item("unbusy_try_duration_seconds", name), item("unbusy_first_token_seconds", name),
    item("unbusy_retries_total", name), item("unbusy_resent_total", name),
    item("unbusy_tokens_total", name, "input"), item("unbusy_tokens_total", name, "cached"),
    item("unbusy_tokens_total", name, "output"), item("unbusy_cost_total", name) })
end

local function find_try(self, target, code, status)
  local place = below(below(self.tries, target.name), code or "")
  local set = place[status or 0]
  if set == nil then
    local label = labels.status(status)
    set = place[label] -- of statuses without a name of their own, one
    if set == nil then
      set = try_set(self, target, labels.code(code), label)
      place[label] = set
    end
    if label ~= labels.OTHER then place[status or 0] = set end
  end
  return set
end

local function cached_of(usage)
  local all, cached = usage.prompt_tokens or 0, usage.cached_tokens or 0
  return cached < all and cached or all
end

--- A try has ended.
---@param call table
---@param try table
---@param target table
---@param streaming boolean was a stream asked for?
---@param answer table? reply; nil where it failed
---@param code string? of a failure
function recorder:try_ends(call, try, target, streaming, answer, code)
  local set = find_try(self, target, code, try.status)
  if not set then return end
  local usage, cached = answer and answer.usage or nil, nil
  if usage then cached = cached_of(usage) end
  local seconds = answer and not answer.pieces and try.seconds or call.loop.now() - try.began
  if set:note(1, seconds, streaming and try.start or nil,
      try.number > 1 and not call.lane_of and 1 or nil, try.resent and 1 or nil,
      usage and (usage.prompt_tokens or 0) - cached, cached, usage and usage.completion_tokens,
      answer and answer.cost or nil) or self.closed then
    return
  end
  forget(self)
end

--- A call is gone. Where its host has ended it, nobody has told how its try and itself have ended.
function recorder:call_left(call)
  local place = call.exchange and call.place
  if place and call.tries[1] then
    self:try_ends(call, call:last_try(), place.target, false, nil, "cancelled")
  end
  if self.client.calls[call] == recorder.COUNTS then self:call_ends(call, nil, "cancelled") end
end

-- }========================================================================

--- A request to the gateway has ended.
---@param path string one of a few
---@param status integer
---@param seconds number
function recorder:request_ends(path, status, seconds)
  local place, label = below(below(self.sets, "http"), path), labels.status(status)
  if place[label] == nil then
    place[label] = made(self, { item("unbusy_http_requests_total", path, label),
      item("unbusy_http_request_duration_seconds", path) })
  end
  local set = place[label]
  if set and not set:note(1, seconds) then forget(self) end
end

--- The client is closed. What other processes share goes on.
function recorder:close()
  self.closed = true
  self.part:close()
end

return recorder
