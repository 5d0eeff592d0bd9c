--- Asks questions ahead of time, so that their answers are in the cache when somebody wants them.
local crew = require "unbusy.crew"
local loops = require "unbusy.loops"
local options = require "unbusy.options"

local warm = {}

--- Every option of `client:warm`.
warm.schema = {
  model = { type = "string", doc = "for the questions that are plain texts" },
  at_once = { type = "whole", default = 4, min = 1, max = 1000, doc = "questions asked at a time" },
  deadline = { type = "number", above = 0, max = 1e7, unit = "s", doc = "for each question" },
  priority = { type = "string", default = "batch", one_of = { "interactive", "normal", "batch" },
    doc = "place in the waiting line" },
  refresh = { type = "boolean", default = false,
    doc = "ask also what is in the cache and still fresh" },
}

local function is_request(question)
  return type(question) == "table" and type(question.messages) == "table"
    and #question.messages > 0 and (question.model == nil or type(question.model) == "string")
end

-- The requests of a list of texts and requests; raises at the line of `warm.all`'s caller.
local function requests_of(list, model)
  local items, wrong = options.field({ type = "list", required = true }, list, "warm: questions")
  if not items then error(wrong, 3) end
  local out = {}
  for i, question in ipairs(items) do
    if type(question) == "string" then
      question = { model = model, messages = { { role = "user", content = question } } }
    end
    if not is_request(question) then
      error(("warm: question %d: a text or a request with messages expected"):format(i), 3)
    end
    out[i] = question
  end
  return out
end

-- Asks one question after the other, as long as there are some.
local function work(job)
  while job.next <= #job.requests do
    local i = job.next
    job.next = i + 1
    local reply, message, code = job.client:chat(job.requests[i], job.call)
    local failure = reply and reply.failure
    if not reply or failure then
      if failure then message, code = failure.message, failure.code end
      job.failures[#job.failures + 1] = { index = i, message = message, code = code }
    elseif reply.source == "cache" then
      job.fresh = job.fresh + 1
    else
      job.asked = job.asked + 1
    end
  end
end

local function run(loop, job)
  crew.run(loop, math.min(job.at_once, #job.requests), function() work(job) end,
    function() job.next = math.huge end)
end

--- Asks what is not yet in the cache: `{ asked =, fresh =, failures = { { index =, message =,
--- code = }, … } }`. `asked` were answered by a target, `fresh` were there already.
---@param client table with a cache
---@param list table texts, and requests as of `client:chat`
---@param given table? see `warm.schema`
---@return table result
function warm.all(client, list, given)
  local o = options.check(warm.schema, given, "warm", 3)
  if not client.cache then error("warm: the client has no cache", 2) end
  local job = { client = client, requests = requests_of(list, o.model), at_once = o.at_once,
    next = 1, asked = 0, fresh = 0, failures = {},
    call = { deadline = o.deadline, priority = o.priority, stale = false,
      cache = o.refresh and "refresh" or true } }
  loops.enter(client.loop, run, job)
  return { asked = job.asked, fresh = job.fresh, failures = job.failures }
end

return warm
