--- What is asked and what may be answered, in a run of chaos.
--
-- Every question has a number and somebody who asks it; every answer names both, and says when it
-- was made: so one can be told from all others, and an old one from a new one.
local exact = require "spec.support.exact"
local json = require "unbusy.json"

-- `POSTED`: the model of requests that are sent as they are, of which the client knows none.
local words = { FALLBACK = "Later, please.", POSTED = "posted" }

--- Those who ask.
words.USERS = { "ann", "bob", "cid" }

local function good(n, user)
  return ("Answer %d for %s: the cat sat on mat %d, and nobody else said a word."):format(n, user,
    n)
end

local function weak(n, user)
  return ("I don't know about %d, %s."):format(n, user)
end

words.good, words.weak = good, weak

-- {== Asking ==============================================================

local QUESTION = "Tell me of question %d."

--- The request of question n.
---@param kind "chat"|"complete"|"embed"
---@param n integer
---@param user string
---@param model string
function words.request(kind, n, user, model)
  local text = QUESTION:format(n)
  if kind == "chat" then
    return { model = model, messages = { { role = "user", content = text } }, user = user,
      temperature = 0 }
  elseif kind == "complete" then
    return { model = model, prompt = text, max_tokens = 100, user = user, temperature = 0 }
  end
  return { model = model, input = text, user = user }
end

--- What a request asks: the numbers of its questions, who asks, which model, and what was said of
--- the answer before, if it is to be gone on with.
---@param body string
---@return table asked { numbers =, user =, model =, streams =, begun = }
function words.read(body)
  local numbers = {}
  for n in body:gmatch "question (%d+)%." do numbers[#numbers + 1] = tonumber(n) end
  return { numbers = numbers, user = body:match '"user":"(%w+)"' or "nobody",
    model = body:match '"model":"(%w+)"', streams = body:find('"stream":true', 1, true) ~= nil }
end

-- }========================================================================

-- {== Answering ===========================================================

-- The rest of a text that was begun: most requests begin none, and are not decoded.
local function rest_of(body, text)
  if body:find('"role":"assistant"', 1, true) or body:find("Answer %d") then
    return exact.new { text = text }:rest(json.decode(body))
  end
  return text
end

--- Is it the rest of an answer that is asked for?
function words.goes_on(body)
  return body:find('"role":"assistant"', 1, true) ~= nil or body:find("Answer %d") ~= nil
end

local USAGE = '"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}'

local function each(numbers, item)
  local out = {}
  for i, n in ipairs(numbers) do out[i] = item(i - 1, n) end
  return table.concat(out, ",")
end

local whole = {}

function whole.chat(asked, body, say, now)
  return ('{"id":"at %.6f","object":"chat.completion","model":"m","choices":[{"index":0,'
    .. '"finish_reason":"stop","message":{"role":"assistant","content":"%s"}}],%s}'):format(now,
    rest_of(body, say(asked.numbers[1], asked.user)), USAGE)
end

function whole.complete(asked, body, say, now)
  local numbers = asked.numbers
  return ('{"id":"at %.6f","object":"text_completion","model":"m","choices":[%s],%s}'):format(now,
    each(numbers, function(i, n)
      local text = say(n, asked.user)
      if #numbers == 1 then text = rest_of(body, text) end
      return ('{"index":%d,"finish_reason":"stop","text":"%s"}'):format(i, text)
    end), USAGE)
end

function whole.embed(asked, _, _, now)
  return ('{"object":"list","model":"m","data":[%s],"usage":{"prompt_tokens":5,"total_tokens":5}}')
    :format(each(asked.numbers, function(i, n)
      return ('{"object":"embedding","index":%d,"embedding":[%d,%.6f]}'):format(i, n, now)
    end))
end

--- A whole answer.
---@param kind "chat"|"complete"|"embed"
---@param asked table of `read`
---@param body string
---@param say fun(n: integer, user: string): string
---@param now number
---@return string
function words.whole(kind, asked, body, say, now)
  return whole[kind](asked, body, say, now)
end

local EVENT = 'data: {"id":"at %.6f","object":"%s","model":"m","choices":[{"index":0,%s,'
  .. '"finish_reason":%s}]}\n\n'

local function delta(kind, text)
  if kind == "complete" then return ('"text":"%s"'):format(text) end
  return ('"delta":{"content":"%s"}'):format(text)
end

--- The events of a streamed answer.
---@return string[]
function words.events(kind, asked, body, say, now)
  local text = rest_of(body, say(asked.numbers[1], asked.user))
  local object = kind == "complete" and "text_completion" or "chat.completion.chunk"
  local out, size = {}, math.max(1, math.ceil(#text / 4))
  for at = 1, #text, size do
    out[#out + 1] = EVENT:format(now, object, delta(kind, text:sub(at, at + size - 1)), "null")
  end
  out[#out + 1] = EVENT:format(now, object, delta(kind, ""), '"stop"')
  if body:find('"include_usage":true', 1, true) then
    out[#out + 1] = ('data: {"id":"at %.6f","object":"%s","model":"m","choices":[],%s}\n\n')
      :format(now, object, USAGE)
  end
  out[#out + 1] = "data: [DONE]\n\n"
  return out
end

-- }========================================================================

-- {== Judging =============================================================

local function is_beginning(text, of)
  return of:sub(1, #text) == text
end

-- What policies say that are shipped.
local OF_POLICIES = "^The service is busy, please try again in [%w ]+$"

-- For whom a text answers the question, and whether well; nil where it does not answer it.
local function read_text(text, n)
  for _, user in ipairs(words.USERS) do
    if text == good(n, user) then return user, "good" end
    if text == weak(n, user) then return user, "weak" end
  end
end

--- An answer: nil and what is wrong with it, or for whom it was made and when; `false` for whom
--- where that cannot be seen.
---@param one table { kind =, n = }
---@param reply table
---@return string|false|nil user, string|number|nil at, string? how
function words.judge(one, reply)
  if reply.source == "fallback" then
    if reply.text ~= words.FALLBACK and not reply.text:find(OF_POLICIES) then
      return nil, "no fallback of ours: " .. reply.text
    end
    return false, nil, "fallback"
  elseif one.kind == "embed" then
    local vector = reply.body.data[1].embedding
    if vector[1] ~= one.n then
      return nil, ("the vector of %s for %d"):format(tostring(vector[1]), one.n)
    end
    return false, vector[2], "good"
  end
  local user, how = read_text(reply.text, one.n)
  if not user then return nil, ("to question %d: %s"):format(one.n, tostring(reply.text)) end
  local id = reply.body and reply.body.id
  return user, type(id) == "string" and tonumber(id:match "^at ([%d.]+)$") or nil, how
end

--- Is the text the beginning of something that may be said to the call?
function words.begins(one, text)
  if is_beginning(text, words.FALLBACK) or text:find(OF_POLICIES) then return true end
  for _, user in ipairs(words.USERS) do
    if is_beginning(text, good(one.n, user)) or is_beginning(text, weak(one.n, user)) then
      return true
    end
  end
  return false
end

-- }========================================================================

return words
