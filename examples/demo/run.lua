--- Asks all questions through one client and writes down what became of each.
local busyd = require "spec.support.busyd"
local clients = require "examples.demo.clients"
local plan = require "examples.demo.plan"

local run = {}

-- What a reply is worth: only the server's own and right words are an answer.
local function judge(question, reply, code)
  if not reply then return "failed", code or "unknown" end
  if reply.source == "fallback" then
    if reply.text ~= clients.TEXT then return "wrong", "wrong" end
    local failure = reply.failure
    return "fallback", failure.detail and failure.detail.budget and "budget" or failure.code
  end
  if reply.text ~= busyd.expected(question.text, plan.answer) then return "wrong", "wrong" end
  return "answered"
end

-- An error of a client's own is told apart from a failure, and shouted about in the report.
local function guarded(ask, question, deadline)
  local ok, reply, message, code = pcall(ask, question, deadline)
  if ok then return reply, code end
  return nil, "raised: " .. tostring(reply or message)
end

local function ask_one(self, question)
  local loop, asked = self.loop, self.began + question.at
  self.late = math.max(self.late, loop.now() - asked)
  local reply, code = guarded(self.ask, question, asked + self.plan.deadline)
  local how, why = judge(question, reply, code)
  local times = reply and reply.times
  self.records[question.number] = {
    at = question.at, kind = question.kind, how = how, code = why, seconds = loop.now() - asked,
    queued = times and times.queued or 0,
  }
  self.counts[how] = self.counts[how] + 1
end

-- The client's events: how many calls it made, and how often its breaker opened.
local function watcher(self)
  return function(event)
    if event.type == "try" then
      self.tries = self.tries + 1
    elseif event.type == "state" and event.to == "open" then
      self.opened = self.opened + 1
    end
  end
end

--- A run that is about to begin.
---@param name string the client's
---@param p table the plan
---@param url string of the server that is all its own
function run.new(name, p, url, loop)
  local self = {
    name = name, plan = p, loop = loop, records = {}, late = 0, tries = 0, opened = 0, asked = 0,
    counts = { answered = 0, fallback = 0, failed = 0, wrong = 0 },
  }
  self.ask = clients.new(name, { url = url, loop = loop, on_event = watcher(self),
    draw = plan.generator(p.seed + 7) })
  return self
end

--- Asks at the questions' times and waits until each has come to its end.
---@param spawn function begins a task
function run.go(self, questions, spawn)
  self.began = self.loop.now()
  local tasks = {}
  for i, question in ipairs(questions) do
    local wait = self.began + question.at - self.loop.now()
    if wait > 0 then self.loop.sleep(wait) end
    self.asked = i
    tasks[i] = spawn(ask_one, self, question)
  end
  for _, task in ipairs(tasks) do task:join() end
  self.took = self.loop.now() - self.began
end

return run
