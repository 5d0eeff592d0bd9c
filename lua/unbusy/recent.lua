--- What has happened lately, told by all processes of a region together.
--
--     gateway ──► answered("cache") ──────► minutes    answers of each source, by minute of an hour
--     a try   ──► failed("deepseek", …) ──► failures   how often in an hour, and when last
--     a try   ──► started("deepseek", …) ─► starts     how long answers take to begin, lately
--
-- Sources, targets, codes and times, and nothing else: no question, no answer, no key. Each of the
-- three is a table of `unbusy.counters` with a bound: what was not asked for the longest makes
-- room. A client has none of it until `recent.attach` gives it one; then an answer costs two steps
-- in shared memory.
local codes = require "unbusy.codes"
local counters = require "unbusy.counters"
local json = require "unbusy.json"
local monotonic = require "unbusy.clock"
local parts_of = require "unbusy.parts_of"

local recent = {}
recent.__index = recent

local STEP, STEPS = 60, 60   -- seconds of a minute, minutes of an hour
local HOUR = STEP * STEPS
local LATELY = 300           -- seconds for which the start of an answer counts
local NAME = 96              -- bytes of a target's name; of longer ones the beginning
local SHOWN = 50             -- failures that are told

--- Where answers come from, in this order; `failed` is the call that got none.
recent.sources = { "upstream", "cache", "coalesced", "batch", "stale", "fallback", "failed" }

local is_source = {}
for _, name in ipairs(recent.sources) do is_source[name] = true end

-- Names in each table.
local ROOM = { minutes = #recent.sources * (STEPS + 4), failures = 512, starts = 1024 }

-- Nothing that a target has done.
local ours = { cancelled = true, closed = true, nomem = true }

-- {== Sizes of waits ======================================================

-- A wait is counted by its size, a quarter larger each, from a millisecond on: told to an eighth.
local LEAST, FACTOR, MOST = 0.001, 1.25, 62 -- 0.001 · 1.25^62: a thousand seconds
local middle = math.sqrt(FACTOR)

local function size_of(seconds)
  if seconds ~= seconds or seconds <= LEAST then return 0 end
  return math.min(math.floor(math.log(seconds / LEAST) / math.log(FACTOR)), MOST)
end

local function seconds_of(size)
  return LEAST * FACTOR ^ size * middle
end

-- The seconds that a share of the counted ones does not pass.
local function quantile(counts, all, share)
  local seen, last = 0, 0
  for size = 0, MOST do
    if counts[size] then
      seen, last = seen + counts[size], size
      if seen >= share * all then break end
    end
  end
  return seconds_of(last)
end

-- }========================================================================

-- A table in the client's region; one of its own where that has no room for it.
local function table_of(client, what, clock)
  local o = { counters = ROOM[what] }
  return parts_of.make(client, counters, "recent " .. what, o, clock)
    or counters.new { counters = o.counters, clock = clock }
end

--- Gives a client and its targets one; in its region, where it has one.
---@param client table
---@return table recent
function recent.attach(client)
  local clock = client.now ~= monotonic and client.now or nil
  local self = setmetatable({ now = client.now, minute = false, in_minute = {}, sizes = {},
    minutes = table_of(client, "minutes", clock), failures = table_of(client, "failures", clock),
    starts = table_of(client, "starts", clock) }, recent)
  client.recent = self
  for _, t in ipairs(client.targets) do t.recent = self end
  return self
end

-- {== Telling =============================================================

-- Of a name what fits; characters stay whole.
local function short(name)
  if #name <= NAME then return name end
  return (name:sub(1, NAME):gsub("[\192-\255][\128-\191]*$", ""))
end

--- A call has ended.
---@param source string of its answer, or "failed"
function recent:answered(source)
  local minute = math.floor(self.now() / STEP)
  if minute ~= self.minute then self.minute, self.in_minute = minute, {} end
  local name = self.in_minute[source]
  if not name then
    if not is_source[source] then return end
    name = ("%s %.0f"):format(source, minute)
    self.in_minute[source] = name
  end
  self.minutes:add(name, 1)
end

--- A try has failed; or a call that was sent nowhere.
---@param target string? its name; nil: nowhere
---@param code string
function recent:failed(target, code)
  if ours[code] then return end
  local name = code .. " " .. short(target or "")
  self.failures:add("n " .. name, 1, HOUR)
  self.failures:peak("t " .. name, self.now(), HOUR)
end

--- A try's answer has begun.
---@param target string
---@param seconds number since it was sent
function recent:started(target, seconds)
  local size, names = size_of(seconds), self.sizes[target]
  if not names then
    names = {}
    self.sizes[target] = names
  end
  local name = names[size]
  if not name then
    name = ("%d %s"):format(size, short(target))
    names[size] = name
  end
  self.starts:add(name, 1, LATELY)
end

-- }========================================================================

-- {== Looking =============================================================

-- Answers by source, minute by minute, the oldest first; the last one is still under way.
local function answers_of(self, now)
  local present, out = math.floor(now / STEP), {}
  for _, source in ipairs(recent.sources) do
    out[source] = json.array()
    for i = 1, STEPS do out[source][i] = 0 end
  end
  for name, count in pairs(self.minutes:list() or {}) do
    local source, minute = name:match "^(%a+) (%d+)$"
    local i = minute and STEPS - (present - tonumber(minute))
    if i and i >= 1 and i <= STEPS then out[source][i] = count end
  end
  return out
end

local function is_later(a, b)
  if a.ago ~= b.ago then return a.ago < b.ago end
  if a.target ~= b.target then return a.target < b.target end
  return a.code < b.code
end

-- Failures of the last hour, the latest first, each kind at a target once.
local function failures_of(self, now)
  local list, out = self.failures:list() or {}, json.array()
  for name, at in pairs(list) do
    local code, target = name:match "^t (%a+) (.*)$"
    if code and at > 0 then
      local count = list["n " .. name:sub(3)] or 1
      out[#out + 1] = { target = target, code = code, count = math.max(1, math.floor(count + 0.5)),
        ago = math.max(0, now - at), meaning = codes[code] and codes[code].meaning or "" }
    end
  end
  table.sort(out, is_later)
  for i = #out, SHOWN + 1, -1 do out[i] = nil end
  return out
end

-- How long the targets' answers have taken to begin, by name.
local function starts_of(self)
  local counts, all = {}, {}
  for name, count in pairs(self.starts:list() or {}) do
    local size, target = name:match "^(%d+) (.*)$"
    if size and count > 0 then
      counts[target] = counts[target] or {}
      counts[target][tonumber(size)] = count
      all[target] = (all[target] or 0) + count
    end
  end
  return function(target)
    local name = short(target)
    local own, n = counts[name], all[name]
    if not own or n < 0.5 then return nil end
    return { calls = math.floor(n + 0.5), half = quantile(own, n, 0.5),
      most = quantile(own, n, 0.95) }
  end
end

--- What was told lately.
---@return table hour { step = seconds of a minute, gone = of the one under way, answers = {
--- source = counts, the oldest first }, failures = { { target = "" for nowhere, code =, meaning =,
--- count = in an hour, ago = seconds since the last }, … }, the latest first }
---@return fun(name: string): table? start of a target in the last five minutes: { calls =,
--- half = seconds of the median, most = of 95 % }
function recent:status()
  local now = self.now()
  return { step = STEP, gone = now % STEP, answers = answers_of(self, now),
    failures = failures_of(self, now) }, starts_of(self)
end

-- }========================================================================

return recent
