--- Keeps a cache warm by itself: a list on start, and what is asked most before its time is over.
--
--     a call, or nginx's timer ──► is a round due? ──► is it ours to do? ──► a job of
--                                                                            unbusy.caching.warm
--
-- A round asks, one by one, what is left of the list, and of the hottest questions those whose
-- answers are fresh for no longer than `before`. It waits for nobody: where no target has room to
-- spare it ends, and what is left is for the next one. Of all processes of a region one does it:
-- whoever holds the lease, which ends with its holder.
--
-- There is no task that sleeps between two rounds (it would keep a program from ending): a call
-- that comes when a round is due begins it beside itself. Where calls come seldom, somebody else
-- looks now and then (`warmer:look`), as the gateway does.
local core = require "unbusy.core"
local questions = require "unbusy.caching.questions"
local warm = require "unbusy.caching.warm"

local warmer = {}
warmer.__index = warmer

local LEASES = 3  -- rounds after which a lease ends that nobody renews
local ATTEMPTS = 5 -- rounds in which a question of the list may fail

-- {== The list ============================================================

-- What the options name; nil and what is wrong with it.
local function read_list(o)
  local list = o.questions and assert(questions.of_list(o.questions, o.model)) or {}
  if not o.file then return list end
  local more, message = questions.of_file(o.file, o.model)
  if not more then return nil, "cache.warm.file: " .. message end
  for _, question in ipairs(more) do list[#list + 1] = question end
  return list
end

-- }========================================================================

--- What keeps a client's cache warm; nil and a failure where a file cannot be read.
---@param client table
---@param o table the checked option `warm` of its cache
---@return table? self, string? message, string? code "invalid"
function warmer.new(client, o)
  local list, message = read_list(o)
  if not list then return nil, message, "invalid" end
  local self = setmetatable({ client = client, options = o, all = list, left = list, due = 0,
    rounds = 0, running = false, began = 0, heard_at = 0, asked_at = {}, failures = {}, job = false,
    rests = {} }, warmer)
  if client.common then
    self.name = client.common.tag("warmer", client.sources)
    self.token = tonumber(core.random_id():sub(1, 8), 16)
  end
  return self
end

local PROCESSES = 2 ^ 16 -- more than a region has numbers for

-- Is it this process that keeps the cache warm? The client may have been made before a fork.
local function leads(self)
  local common = self.client.common
  if not common then return true end
  local process = common:process()
  return process > 0 and common:leads(self.name, self.token * PROCESSES + process,
    self.options.every * LEASES)
end

-- {== A round =============================================================

-- The hottest questions that this process has not asked just now: an answer that is not kept is not
-- to be paid for in each round.
local function hot_ones(self, now)
  local client, o, out = self.client, self.options, {}
  if not client.hot or o.top == 0 then return out end
  local pause, still = math.max(o.every, (client.caching.ttl - o.before) / 2), {}
  for _, question in ipairs(client.hot:questions(o.top, client)) do
    local asked = self.asked_at[question.hash]
    if asked and now - asked < pause then
      still[question.hash] = asked
    else
      still[question.hash] = now
      out[#out + 1] = question
    end
  end
  self.asked_at = still
  return out
end

local function joined(one, other)
  local out = {}
  for _, list in ipairs { one, other } do
    for _, item in ipairs(list) do out[#out + 1] = item end
  end
  return out
end

-- Those of the whole list that are to be kept warm. One whose answer was not kept rests.
local function kept_ones(self, now)
  if not next(self.rests) then return self.all end
  local out = {}
  for _, question in ipairs(self.all) do
    if now >= (self.rests[question] or now) then out[#out + 1] = question end
  end
  return out
end

-- What was answered in vain is not to be paid for in each round.
local function note_unkept(self, job, count, now)
  for _, i in ipairs(job.unkept) do
    if i <= count then self.rests[job.list[i]] = now + self.client.caching.ttl / 2 end
  end
end

-- May it be asked once more?
local function is_left(self, question, code)
  if code == "invalid" then return false end
  if code == "full" then return true end -- it was not asked
  self.failures[question] = (self.failures[question] or 0) + 1
  return self.failures[question] < ATTEMPTS
end

-- What is left of the list after a round, of which the first `count` are of the list: what failed
-- for a while, and what it did not come to.
local function keep_rest(self, job, count)
  local left = {}
  for _, failure in ipairs(job.failures) do
    local question = failure.index <= count and job.list[failure.index]
    if question and is_left(self, question, failure.code) then left[#left + 1] = question end
  end
  for _, i in ipairs(job:untouched()) do
    if i <= count then left[#left + 1] = job.list[i] end
  end
  self.left = left
end

local function ask(self, loop)
  local o, begins = self.options, self.left
  if o.keep and not begins[1] then begins = kept_ones(self, loop.now()) end
  local list = joined(begins, hot_ones(self, loop.now()))
  if not list[1] then return end
  local job
  job = warm.job(self.client, list, { at_once = o.at_once, deadline = o.deadline, patience = 0,
    attempts = 1, priority = "batch", before = o.before, off_peak = o.off_peak,
    on_progress = function()
      self.heard_at = loop.now()
      if not leads(self) then job:stop() end
    end }, true)
  self.job, self.heard_at = job, loop.now()
  function job.ended() -- also where its host has dropped it without a word
    self.running, self.job = false, false
  end
  job:run(loop)
  note_unkept(self, job, #begins, loop.now())
  keep_rest(self, job, #begins)
end

local function round(self, loop)
  local ok, raised = pcall(ask, self, loop)
  self.running, self.job = false, false
  if not ok then error(raised, 0) end
end

-- }========================================================================

local BEGIN = 60 -- seconds in which a round must have begun, or its host has dropped it

local function begin(self, loop, now)
  self.running, self.rounds, self.began = true, self.rounds + 1, now
  local ok, begun = pcall(loop.nursery or loop.spawn, function() round(self, loop) end)
  if not ok or not begun then self.running = false end -- the host has no room for it: later
end

-- An answer may take longer than the lease lasts; but not for ever: then its host has dropped it.
local function go_on(self, now)
  local most = self.options.deadline or self.client.clocks.total
  if now < self.heard_at + most + BEGIN and not leads(self) then self.job:stop() end
end

--- Begins a round, when one is due and it is ours to do.
---@param loop table in which it runs
---@param now number
function warmer:look(loop, now)
  if now < self.due or self.client.closed then return end
  self.due = now + self.options.every
  if self.job then return go_on(self, now) end
  if self.running and now < self.began + BEGIN then return end
  if leads(self) then begin(self, loop, now) end
end

--- What an operator wants to know.
function warmer:status()
  return { rounds = self.rounds, left = #self.left, running = self.running }
end

--- The client is closed.
function warmer:close()
  if self.job then self.job:stop() end
end

return warmer
