--- What simulated servers send: lists of news as an exchange's `take` gives them.
--
-- Answers do not depend on what was asked, so that one list serves every call; those whose shape
-- does depend on it (a list of prompts, of inputs, a batch) are made for each.
local json = require "unbusy.json"

local plays = {}

local JSON = { ["content-type"] = "application/json" }
local SSE = { ["content-type"] = "text/event-stream" }

local function head(status, headers)
  return { "head", status, headers }
end

local function data(bytes)
  return { "data", bytes }
end

local THE_END = { "end", nil, nil, { phase = "body" } }

-- {== Good answers ========================================================

local TEXT = "A simulated answer."

local function usage_of(usage, times)
  return { prompt_tokens = usage.prompt_tokens * times,
    completion_tokens = usage.completion_tokens * times }
end

-- No more than is needed: each call decodes it.
local function chat(usage, finish)
  return { choices = { { finish_reason = finish or "stop", message = { content = TEXT } } },
    usage = usage_of(usage, 1) }
end

local function completions(usage, count, finish)
  local choices = {}
  for i = 1, count do
    choices[i] = { index = i - 1, finish_reason = finish or "stop", text = TEXT }
  end
  return { choices = choices, usage = usage_of(usage, count) }
end

local function embeddings(usage, count)
  local list = {}
  for i = 1, count do
    list[i] = { index = i - 1, embedding = { 0.5, -0.5 } }
  end
  return { data = list, usage = { prompt_tokens = usage.prompt_tokens * count } }
end

-- How many questions stand in a body: the items of its list, else one.
local function count_of(body, field)
  local request = json.decode(body or "")
  local list = type(request) == "table" and request[field]
  return type(list) == "table" and math.max(#list, 1) or 1
end

local function whole(value)
  return { head(200, JSON), data((json.encode(value))), THE_END }
end

local function event(delta, finish, usage)
  return "data: " .. json.encode { choices = { { index = 0, delta = delta,
    finish_reason = finish or json.null } }, usage = usage } .. "\n\n"
end

--- The pieces of a streamed answer: its head, its first piece, one of those between, the last.
local function streamed(usage)
  return { head = head(200, SSE), first = data(event { role = "assistant", content = TEXT }),
    more = data(event { content = " More of it." }),
    last = data(event({ content = " The end." }, "stop", usage_of(usage, 1)) .. "data: [DONE]\n\n"),
    weak = data(event({ content = " And" }, "length", usage_of(usage, 1)) .. "data: [DONE]\n\n"),
    over = THE_END }
end

-- The poor answers of a server: cut for their length.
local function weak(usage)
  return { chat = whole(chat(usage, "length")), complete = whole(completions(usage, 1, "length")) }
end

--- The good answers of a server.
---@param usage table { prompt_tokens =, completion_tokens = } of one question
---@return table answers of `plays.of`, and `stream` as pieces
function plays.answers(usage)
  return { usage = usage, chat = whole(chat(usage)), complete = whole(completions(usage, 1)),
    embed = whole(embeddings(usage, 1)), stream = streamed(usage), weak = weak(usage) }
end

--- The news of a good answer to a request of a kind, and how many questions it answers.
---@param answers table
---@param kind "chat"|"complete"|"embed"
---@param body string?
---@param is_weak boolean? a poor one is given, where it is one of a single question
---@return table play, integer count
function plays.of(answers, kind, body, is_weak)
  local list = is_weak and answers.weak[kind] and answers.weak or answers
  if kind == "chat" then return list.chat, 1 end
  local count = count_of(body, kind == "embed" and "input" or "prompt")
  if count == 1 then return list[kind], 1 end
  return whole((kind == "embed" and embeddings or completions)(answers.usage, count)), count
end

-- }========================================================================

-- {== Others ==============================================================

local words = { [503] = "server busy", [429] = "rate limit reached" }

local function error_body(status)
  return json.encode { error = { message = words[status] or "simulated failure",
    type = "server_error", code = status == 429 and "rate_limit_exceeded" or json.null } }
end

local REFUSED = { { "end", "network", "connection refused", { phase = "connect" } } }

--- The news of a failure: a status, or 0 for a connection that does not come about.
---@param status integer
---@param wait number? seconds of a Retry-After
function plays.failure(status, wait)
  if status == 0 then return REFUSED end
  local headers = { ["content-type"] = "application/json",
    ["retry-after"] = wait and ("%.14g"):format(wait) }
  return { head(status, headers), data(error_body(status)), THE_END }
end

--- An answer that breaks off: the head of a whole one, and the end of any.
plays.whole_head = head(200, JSON)
plays.cut = { "end", "network", "connection reset", { phase = "body" } }

-- Its bytes are those of the JSON that asks for it.
local AGAIN = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"%s More."},'
  .. '"finish_reason":null}]}\n\n'

--- The first piece of an answer that is to begin with words of the request (see
--- `unbusy.resume.question`); nil for all others.
---@param body string?
---@return table?
function plays.again(body)
  local asked = body and body:find("<<<\\n", 1, true) and body:match "<<<\\n(.-)\\n>>>"
  return asked and data((AGAIN:gsub("%%s", function() return asked end)))
end

--- What is said of a path that a simulated server does not have.
plays.unknown = plays.failure(404)

--- What shows those in a server's line that their connection lives.
plays.keep_alive = { stream = data ": keep-alive\n\n", whole = data "\n",
  stream_head = head(200, SSE), whole_head = head(200, JSON) }

-- }========================================================================

return plays
