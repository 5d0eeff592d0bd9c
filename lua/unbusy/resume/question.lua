--- What is asked of a target so that it goes on with an answer that broke off, and of whom.
--
-- | way | what is sent | to whom |
-- |---|---|---|
-- | `flag` | the text so far as the last message, `prefix = true` in it | DeepSeek, others |
-- | `continue` | the same, with `continue_final_message` | vLLM, SGLang, llama.cpp |
-- | `plain` | the prompt of a completion, with the text so far behind it | everybody |
-- | `prompt` | the text so far as a message, and in words to go on | everybody, where allowed |
-- | `anew` | the request as it was, where nothing but blanks has been said | everybody |
--
-- The first two are for targets whose `prefix` says so, which DeepSeek's own does by itself.
local answers = require "unbusy.providers.answers"
local estimate = require "unbusy.resume.estimate"
local json = require "unbusy.json"
local seam = require "unbusy.resume.seam"

local some = answers.some

local question = {}

-- {== What can be resumed at all ==========================================

-- Answers under a grammar: a server would begin the grammar anew.
local grammars = { "guided_json", "guided_regex", "guided_choice", "guided_grammar",
  "structured_outputs", "grammar", "json_schema", "regex", "ebnf", "structural_tag" }

-- What several answers, or more than a text, are asked by.
local function is_wanted(v)
  return some(v) ~= nil and v ~= false
end

local function offers_tools(request)
  local tools = some(request.tools) or some(request.functions)
  if type(tools) ~= "table" or #tools == 0 then return false end
  return (some(request.tool_choice) or some(request.function_call)) ~= "none"
end

local function has_form(request)
  local format = some(request.response_format)
  if format ~= nil and not (type(format) == "table" and format.type == "text") then return true end
  for _, name in ipairs(grammars) do
    if is_wanted(request[name]) then return true end
  end
end

local function is_several(v)
  return some(v) ~= nil and v ~= 1
end

local function wants_sound(request)
  if is_wanted(request.audio) then return true end
  for _, kind in ipairs(answers.table_of(request.modalities) or {}) do
    if kind ~= "text" then return true end
  end
end

-- How the request itself has an answer begun for the model: false for not at all, nil where that
-- is not known.
local function own_beginning(request)
  local last = request.messages[#request.messages]
  if type(last) ~= "table" or last.role ~= "assistant" then return false end
  if type(last.content) ~= "string" then return nil end
  return last.prefix == true and "flag" or request.continue_final_message == true and "continue"
    or nil
end

local function chat_fault(request)
  local messages = request.messages
  if type(messages) ~= "table" or #messages == 0 then return "it has no messages" end
  if own_beginning(request) == nil then return "it ends with a message of the assistant" end
end

local function completion_fault(request)
  if type(request.prompt) ~= "string" then return "it has several prompts" end
end

local faults = { chat = chat_fault, complete = completion_fault }

--- Why an answer to this request cannot be gone on with; nil where it can.
---@param kind string
---@param request table
---@return string?
function question.fault(kind, request)
  if not faults[kind] then return "it is neither chat nor completion" end
  if offers_tools(request) then return "it offers tools" end
  if has_form(request) then return "it wants a form" end
  if is_several(request.n) or is_several(request.best_of) then return "it wants several answers" end
  if is_wanted(request.logprobs) or is_wanted(request.top_logprobs) then
    return "it wants probabilities"
  end
  if wants_sound(request) then return "it wants more than text" end
  if is_wanted(request.echo) then return "it wants what is before it repeated" end
  return faults[kind](request)
end

-- }========================================================================

local function copy(t)
  local out = {}
  for k, v in next, t do out[k] = v end
  return out
end

--- The request as it is now, whatever its owner makes of it while the answer comes.
---@param request any
---@return any
function question.kept(request)
  if type(request) ~= "table" then return request end
  local out = copy(request)
  if type(out.messages) == "table" then out.messages = copy(out.messages) end
  return out
end

--- Does an answer to it tell its usage at the end? It is asked for where the request says nothing.
---@param request table
---@return boolean
function question.tells_usage(request)
  local given = answers.table_of(request.stream_options)
  return given == nil or given.include_usage == true
end

-- {== Who can go on =======================================================

--- The way in which a target goes on; nil where it cannot, or may not.
---@param so_far table see `unbusy.resume.so_far`
---@param target table
---@return "flag"|"continue"|"plain"|"prompt"|"anew"|nil
function question.way(so_far, target)
  if so_far.dropped or so_far.refused[target.name] then return nil end
  if so_far.kept == "" then return "anew" end
  if so_far.kind == "complete" then return "plain" end
  local own, prefix = own_beginning(so_far.request), target.prefix
  if prefix and (not own or own == prefix) then return prefix end
  return so_far.how == "prompt" and not own and "prompt" or nil
end

-- }========================================================================

-- {== What is sent ========================================================

local PROMPT = "Your last message was cut off on its way. Go on with it exactly where it breaks "
  .. "off, as if nothing had happened: without a greeting, a comment or a new beginning. Start by "
  .. "repeating, letter for letter, its last words, which stand here between <<< and >>>, and go "
  .. "straight on from there.\n<<<\n%s\n>>>"

-- The messages, with the text so far as the last one.
local function with_text(so_far, target, way)
  local out, own = {}, own_beginning(so_far.request)
  for i, message in ipairs(so_far.request.messages) do out[i] = message end
  local last = own and copy(table.remove(out)) or { role = "assistant", content = "" }
  last.content = last.content .. so_far.kept
  if way == "flag" then
    last.prefix = true
    if so_far.reasoning ~= "" and target.provider.keeps_thoughts then
      last.reasoning_content = so_far.reasoning
    end
  end
  out[#out + 1] = last
  return json.array(out)
end

local writers = {}

function writers.flag(so_far, target, body)
  body.messages = with_text(so_far, target, "flag")
end

function writers.continue(so_far, target, body)
  body.messages = with_text(so_far, target, "continue")
  body.continue_final_message, body.add_generation_prompt = true, false
end

function writers.plain(so_far, _, body)
  body.prompt = body.prompt .. so_far.kept
end

function writers.prompt(so_far, target, body)
  local anchor = seam.anchor(so_far.kept)
  local messages = with_text(so_far, target, "prompt")
  messages[#messages + 1] = { role = "user", content = PROMPT:gsub("%%s", function()
    return anchor
  end) }
  body.messages = messages
end

-- Limits of an answer's length, in tokens.
local limits = { "max_tokens", "max_completion_tokens" }

--- The tokens that an answer may still have; nil where it has no limit.
---@param so_far table
---@return number?
function question.room(so_far)
  local least
  for _, name in ipairs(limits) do
    local most = so_far.request[name]
    if type(most) == "number" then least = math.min(least or most, most) end
  end
  return least and least - so_far:written()
end

local function shorten(so_far, body, more)
  local written = so_far:written()
  for _, name in ipairs(limits) do
    if type(body[name]) == "number" then
      body[name] = json.whole(math.max(1, body[name] - written + more))
    end
  end
  if type(body.min_tokens) == "number" then -- vLLM's: before them an answer may not end
    body.min_tokens = json.whole(math.max(0, body.min_tokens - written + more))
  end
end

--- The request that makes a target go on.
---@param so_far table
---@param target table
---@return table? request nil where the target cannot
function question.of(so_far, target)
  local way = question.way(so_far, target)
  if not way then return nil end
  if way == "anew" then return so_far.request end
  local body = copy(so_far.request)
  writers[way](so_far, target, body)
  shorten(so_far, body, way == "prompt" and estimate.tokens(seam.anchor(so_far.kept)) or 0)
  return body
end

--- The seam behind which the target's answer is put.
---@param so_far table
---@param target table
---@return table
function question.seam(so_far, target)
  return seam.new(so_far.text, { anchored = question.way(so_far, target) == "prompt",
    stop = so_far.request.stop })
end

-- }========================================================================

return question
