--- What makes an answer a weak one: good HTTP, and not what was wanted.
--
-- | reason | the answer |
-- |---|---|
-- | `length` | was cut, and not where the request wanted it |
-- | `refused` | refuses: by the API's own field, or in words |
-- | `short` | is blank, or shorter than it may be |
-- | `json` | is no JSON, which the request asks for; or a tool call's arguments are none |
-- | `logprob` | has tokens that were mere guesses |
-- | `policy` | was turned down by the policy's `accept` |
local answers = require "unbusy.providers.answers"
local json = require "unbusy.json"
local refusals = require "unbusy.escalation.refusals"
local responses = require "unbusy.providers.responses"

local checks = {}

local some, table_of = answers.some, answers.table_of

-- {== Looking into an answer ==============================================

local function first_choice(reply)
  local body = table_of(reply.body)
  local choices = body and table_of(body.choices)
  return choices and table_of(choices[1])
end

local function message_of(reply)
  local choice = first_choice(reply)
  return choice and table_of(choice.message)
end

-- What the API says of a refusal, under the names that it has there.
local function refusal_of(kind, reply)
  if kind == "responses" then return responses.of(kind, reply.body or {}).refusal end
  local message = message_of(reply)
  return message and some(message.refusal)
end

-- Tool calls, in the older form too.
local function calls_of(reply)
  if reply.tool_calls then return reply.tool_calls end
  local message = message_of(reply)
  local call = message and table_of(message.function_call)
  return call and { { ["function"] = call } }
end

--- The mean log-probability of an answer's tokens; nil where it does not say.
---@param reply table
---@return number?
function checks.logprob(reply)
  local choice = first_choice(reply)
  local given = choice and table_of(choice.logprobs)
  local list = given and (table_of(given.content) or table_of(given.token_logprobs))
  local sum, n = 0, 0
  for _, item in ipairs(list or {}) do
    local value = type(item) == "table" and item.logprob or item
    if type(value) == "number" and value == value then sum, n = sum + value, n + 1 end
  end
  return n > 0 and sum / n or nil
end

-- }========================================================================

-- {== The checks ==========================================================

-- Each is given the options, the kind of call, its request and the reply.
local tests = {}

local cuts = { length = true, max_output_tokens = true, max_tokens = true }

-- The tokens that the request allows; nil where it does not say.
local function wanted_tokens(request)
  for _, name in ipairs { "max_completion_tokens", "max_tokens", "max_output_tokens" } do
    local n = tonumber((some(request[name])))
    if n then return n end
  end
end

-- One that has as many tokens as were asked for is what was wanted.
function tests.length(o, _, request, reply)
  if not o.cut or not cuts[reply.finish_reason] then return false end
  local wanted = wanted_tokens(request)
  if not wanted then return true end
  local usage = reply.usage
  local said = usage and usage.completion_tokens or 0
  return said > 0 and said < wanted
end

function tests.refused(o, kind, _, reply)
  if not o.phrases then return false end
  local said = refusal_of(kind, reply)
  if said and said ~= "" or reply.finish_reason == "content_filter" then return true end
  return reply.text ~= nil and not reply.tool_calls and refusals.has(reply.text, o.phrases)
end

-- Has the text so many characters, without blanks at its ends? Not all of it is looked at.
local function is_long(text, least)
  local from = text:find "%S"
  if not from then return least == 0 end
  local stop = from + 4 * least + 3
  local part = text:sub(from, stop)
  if not text:find("%S", stop + 1) then part = part:match "^.*%S" end
  local _, count = part:gsub("[^\128-\191]", "")
  return count >= least
end

function tests.short(o, _, _, reply)
  return o.short > 0 and not calls_of(reply) and not is_long(reply.text or "", o.short)
end

local function is_json(text)
  return type(text) == "string" and json.decode(text) ~= nil
end

local function has_bad_arguments(calls)
  for _, call in ipairs(calls) do
    local f = type(call) == "table" and table_of(call["function"])
    local arguments = f and some(f.arguments)
    if arguments ~= nil and arguments ~= "" and not is_json(arguments) then return true end
  end
  return false
end

function tests.json(o, _, request, reply)
  if not o.json then return false end
  local calls = calls_of(reply)
  if calls then return has_bad_arguments(calls) end
  return answers.wants_json(request) and not is_json(reply.text)
end

function tests.logprob(o, _, _, reply)
  if not o.logprob then return false end
  local mean = checks.logprob(reply)
  return mean ~= nil and mean < o.logprob
end

-- }========================================================================

local order = { "length", "refused", "short", "json", "logprob" }

--- Every reason there is, in the order in which they are looked for; the policy's comes first.
checks.reasons = { "policy" }
for i, reason in ipairs(order) do checks.reasons[i + 1] = reason end

--- Why an answer is weak by these options; nil when it is not.
---@param o table checked options, and `phrases`: a list of `refusals.list`, or false
---@param kind "chat"|"complete"|"responses"
---@param request table
---@param reply table
---@return string? reason
function checks.reason(o, kind, request, reply)
  for i = 1, #order do
    if tests[order[i]](o, kind, request, reply) then return order[i] end
  end
end

return checks
