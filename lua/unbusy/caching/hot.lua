--- Which questions are asked most, lately.
--
--     call ──► key of its question ──► counted (unbusy.topk) ──► a question that came twice: noted
--
-- A question is what the cache takes for one: its key, in the canonical form that a policy may have
-- made of the request. It is counted by hashes of that, in memory that never grows, in the region
-- where there is one, so that all processes count together. What was asked a half-life ago counts
-- half.
--
-- The request itself is kept only of those that are listed and came more than once, beside their
-- counter, so that it can be asked again ahead of time; when another question takes the counter
-- over, it is wiped out. It is shown only where the option `show` allows it; else a hash stands for
-- it. Who asked is not kept: where answers are kept apart (`per`, or a `tenant` of the call), no
-- request is, since without that it would be another question.
local headers = require "unbusy.headers"
local json = require "unbusy.json"
local options = require "unbusy.options"
local topk = require "unbusy.topk"

local hot = {}
hot.__index = hot

--- What the option `top` of a cache takes.
hot.schema = {
  counters = { type = "whole", default = 1000, min = 10, max = 100000, unit = "questions",
    doc = "how many are told apart; the hottest tenth is counted exactly, or nearly" },
  half_life = { type = "number", default = 3600, min = 1, max = 1e8, unit = "s",
    doc = "a question asked so long ago counts half" },
  question_bytes = { type = "whole", default = 4096, min = 256, max = 2 ^ 20, unit = "bytes",
    doc = "the longest request, as JSON, that is kept to be asked ahead of time" },
  show = { type = "boolean", default = false,
    doc = "the questions themselves may be shown, and not only hashes of them" },
}

local BY_COUNTER = 100 -- bytes that one takes beside a question
local LEAST = 0.1      -- a count below this is not hot any more

--- The options in full, of what stands for `top`; nil where there is no list.
---@param given table|boolean|nil
---@return table?
function hot.options(given)
  if not given then return nil end
  local o = given == true and {} or given
  return (options.field({ type = "table", fields = hot.schema }, o, "cache.top"))
end

--- The memory that a list takes in a region.
---@param given table|boolean|nil the option
---@return integer bytes
function hot.room(given)
  local o = hot.options(given)
  return o and o.counters * (o.question_bytes + BY_COUNTER) or 0
end

--- Makes the list; nil and a failure without the memory, or the room in the region.
---@param given table|boolean the option `top`
---@param apart boolean? are answers kept apart by who asks?
---@param where string tells the client's list from those of clients of other servers
---@param common table? see `unbusy.shared`
---@param clock function?
---@return table? self, string? message, string? code
function hot.new(given, apart, where, common, clock)
  local o = hot.options(given)
  local part = { counters = o.counters, half_life = o.half_life, key_bytes = 1, clock = clock,
    note_bytes = apart and 0 or o.question_bytes }
  local list, message, code = topk.new(common and common:part(part, "questions " .. where) or part)
  if not list then return nil, message, code end
  return setmetatable({ list = list, shows = o.show, half_life = o.half_life }, hot)
end

-- {== Counting ============================================================

-- Not part of the question: in which form the answer is wanted, and by whom.
local left_out = { stream = true, stream_options = true, user = true, safety_identifier = true,
  prompt_cache_key = true }

local function note(self, call, key)
  local request, o = {}, call.options
  for name, value in next, call.request do
    if not left_out[name] then request[name] = value end
  end
  local text = json.encode { kind = call.kind, request = request, target = o.target, pool = o.pool,
    headers = call.extra and headers.asked_with(call.extra) or nil }
  self.list:note(key, text or "")
end

--- A question is asked. What is asked ahead of time, or of somebody else in its place, is not.
---@param call table
---@param key userdata of the question
function hot:count(call, key)
  if call.ahead or call.again then return end
  if self.list:add(key, 1) and not call.options.tenant then note(self, call, key) end
end

-- }========================================================================

-- {== Looking =============================================================

-- The last thing that a user said, as text; nil where there is none.
local function last_text(messages)
  for i = #messages, 1, -1 do
    local m = messages[i]
    local content = type(m) == "table" and m.role == "user" and m.content
    if type(content) == "string" then return content end
    for _, part in ipairs(type(content) == "table" and content or {}) do
      if type(part) == "table" and type(part.text) == "string" then return part.text end
    end
  end
end

-- A request in words.
local function text_of(request)
  local asked = request.prompt or request.input
  if type(asked) == "string" then return asked end
  return type(request.messages) == "table" and last_text(request.messages) or nil
end

-- What was noted beside an entry.
local function noted(entry)
  local kept = entry.note and json.decode(entry.note)
  if type(kept) ~= "table" or type(kept.request) ~= "table" then return nil end
  return kept
end

local function shown(entry, show)
  local out = { hash = entry.hash, count = entry.count, error = entry.error }
  local kept = noted(entry)
  if not kept then return out end
  local request = kept.request
  out.kind, out.model = kept.kind, type(request.model) == "string" and request.model or nil
  if show then out.question, out.request = text_of(request), request end
  return out
end

--- The questions that were asked most, the most frequent first: { { hash =, count =, error =,
--- kind =, model = }, … }. One was asked `count` times, or up to `error` less, each counted less
--- the longer ago it was. With `show` they have `question` (the last words of the user) and
--- `request` too, as far as they are kept.
---@param n integer
---@param show boolean?
---@return table[]
function hot:top(n, show)
  local out = {}
  for _, entry in ipairs(self.list:top(n, true) or {}) do
    if entry.count < LEAST then break end
    out[#out + 1] = shown(entry, show)
  end
  return out
end

-- Are the target or the pool that it asked for still there?
local function has_place(client, kept)
  if kept.pool and not client.pools.by_name[kept.pool] then return false end
  if not kept.target then return true end
  for _, t in ipairs(client.targets) do
    if t.name == kept.target then return true end
  end
  return false
end

--- The hottest questions that can be asked: { { kind =, request =, options =, hash = }, … }.
---@param n integer
---@param client table that is to ask them
---@return table[]
function hot:questions(n, client)
  local out = {}
  for _, entry in ipairs(self.list:top(n, true) or {}) do
    local kept = entry.count >= LEAST and noted(entry)
    if kept and has_place(client, kept) then
      out[#out + 1] = { kind = kept.kind, request = kept.request, hash = entry.hash,
        options = { target = kept.target, pool = kept.pool, headers = kept.headers } }
    end
  end
  return out
end

--- Counts: of questions asked lately, and of those that are listed.
function hot:status()
  local s = self.list:stats()
  return s and { counters = s.counters, used = s.used, asked = s.total, least = s.least,
    half_life = self.half_life, shows = self.shows }
end

-- }========================================================================

--- The client is closed. What other processes share goes on.
function hot:close()
  self.list:close()
end

return hot
