-- edge: routine questions to a small model near by (targets of the pool "edge"), the others to a
-- large one far away (the pool "centre"). Where one side cannot, the other serves. Copy it: the
-- numbers and words below are a beginning, and your questions are not everybody's.
local policy = {}

local EDGE, CENTRE = "edge", "centre" -- the pools

local QUESTION = 300 -- characters of the last message; a longer one is not routine
local ALL = 4000     -- bytes of all messages together, which the small model has to read
local TURNS = 6      -- messages of the user so far; a longer conversation is not routine
local TOKENS = 300   -- tokens that may be asked for
local WAITS = true   -- a hard question waits for a centre that is full but well

-- Words of questions that a small model gets wrong, in lower case.
local HARD = {
  "why ", "explain", "analy", "compare", "prove", "step by step", "summar", "translate", "rewrite",
  "write a", "code", "function", "debug", "calculate", "```",
  "为什么", "解释", "分析", "比较", "证明", "一步一步", "总结", "翻译", "改写", "写一", "代码", "函数",
  "计算", "推导",
}

-- Writing that the small model does not read, as the bytes with which its letters begin in UTF-8.
local FOREIGN = {
  "[\206-\223]",     -- Greek, Cyrillic, Armenian, Hebrew, Arabic, Syriac
  "\224[\164-\191]", -- the scripts of India, Thai, Lao, Tibetan
  "\227[\129-\131]", -- Japanese
  "[\234-\237]",     -- Korean
}

-- What you know of your own questions: true for a hard one, false for a routine one, nil for what
-- the rules below say. `text` is the last message, in lower case; "" where it is longer than ALL.
local function own(request, text) -- luacheck: ignore 212
  return nil
end

-- {== Classifying =========================================================

-- The text of a message's content; nil where there is more in it: a picture, a sound, a file.
local function text_of(content)
  if content == nil or content == null then return "" end
  if type(content) ~= "table" then return tostring(content) end
  local parts = {}
  for i, part in ipairs(content) do
    if type(part) ~= "table" or type(part.text) ~= "string" then return nil end
    parts[i] = part.text
  end
  return table.concat(parts, "\n")
end

local function is_given(value)
  return type(value) == "table" and next(value) ~= nil
end

-- Does it want more than a few words? Tools, a form, several answers, many tokens.
local function wants_more(request)
  local format = request.response_format
  local tokens = tonumber(request.max_completion_tokens) or tonumber(request.max_tokens) or 0
  return is_given(request.tools) or is_given(request.functions) or tokens > TOKENS
    or type(format) == "table" and format.type ~= "text" or (tonumber(request.n) or 1) > 1
end

-- The last message, and whether the conversation is too much for the small model; nil where it is
-- not words alone.
local function read(messages)
  local last = messages[#messages]
  local question, bytes, turns = type(last) == "table" and text_of(last.content) or nil, 0, 0
  for _, message in ipairs(messages) do
    local text = type(message) == "table" and message.role ~= "tool" and text_of(message.content)
    if not text then return nil end
    bytes = bytes + #text
    if message.role == "user" then turns = turns + 1 end
    if bytes > ALL or turns > TURNS then return question, true end -- no need to read on
  end
  return question, false
end

local function has_any(text, list, plain)
  for _, word in ipairs(list) do
    if text:find(word, 1, plain) then return true end
  end
  return false
end

local function is_long(text)
  if #text > 4 * QUESTION then return true end
  local _, letters = text:gsub("[^\128-\191]", "")
  return letters > QUESTION
end

-- Is it a hard one? nil where it is no question in words at all: an embedding, a post.
local function is_hard(request)
  if type(request) ~= "table" then return nil end
  local text, is_much
  if type(request.messages) == "table" then
    text, is_much = read(request.messages)
  elseif request.prompt ~= nil then
    text = type(request.prompt) == "string" and request.prompt or nil
  else
    return nil
  end
  if not text then return true end
  local lower = #text <= ALL and text:lower() or ""
  local known = own(request, lower)
  if known ~= nil then return known end
  return is_much or wants_more(request) or is_long(text) or has_any(lower, HARD, true)
    or has_any(text, FOREIGN, false)
end

-- }========================================================================

-- {== Whom to ask =========================================================

-- Those that this call has not tried come first, then those of the side that is wanted, then the
-- lower priority, then the least busy for its weight, then by chance.
local function is_before(a, b)
  for _, name in ipairs { "tries", "side", "priority", "load", "chance" } do
    if a[name] ~= b[name] then return a[name] < b[name] end
  end
  return false
end

local function rank(targets, first)
  for _, t in ipairs(targets) do
    t.side = t.pool == first and 1 or (t.pool == EDGE or t.pool == CENTRE) and 2 or 3
    t.load, t.chance = (t.in_flight or 0) / math.max(t.weight or 1, 0.001), math.random()
  end
  table.sort(targets, is_before)
end

-- Full, and answering: worth waiting for.
local function is_full(t)
  return t.state == "closed" and t.limit ~= nil and (t.in_flight or 0) + 1 > t.limit
end

-- Is the centre to be waited for? Not once it has failed this call.
local function is_awaited(targets)
  local full = false
  for _, t in ipairs(targets) do
    if t.pool == CENTRE and (t.free or t.tries > 0) then return false end
    full = full or t.pool == CENTRE and is_full(t)
  end
  return full
end

local function names_of(targets, pool)
  local out = {}
  for _, t in ipairs(targets) do
    if not pool or t.pool == pool then out[#out + 1] = t.name end
  end
  return out
end

-- All of them, in order: the first that has room is asked. So a full edge sends its questions to
-- the centre, and the edge is the last resort of a centre that is down.
function policy.route(request, targets)
  local edge, centre = names_of(targets, EDGE), names_of(targets, CENTRE)
  if #edge == 0 or #centre == 0 then return nil end -- nothing to choose
  local hard = is_hard(request)
  if hard == nil then return nil end
  if hard and WAITS and is_awaited(targets) then return centre end
  rank(targets, hard and CENTRE or EDGE)
  return names_of(targets)
end

-- }========================================================================

return policy
