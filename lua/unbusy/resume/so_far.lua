--- What has been said of an answer that broke off, and what it has cost.
--
-- It holds what the caller has been given, over all continuations, and of each part of it (a try
-- that was cut) the usage that its server has told, or what its length tells.
local answers = require "unbusy.providers.answers"
local cost = require "unbusy.cost"
local estimate = require "unbusy.resume.estimate"
local json = require "unbusy.json"
local seam = require "unbusy.resume.seam"

local so_far = {}
so_far.__index = so_far

local function set_text(self, text)
  self.text = text
  self.kept = seam.trim(text)
end

-- A part has ended; `said` is what its own server has said, which may be more than was given on.
local function add_part(self, said, before, price)
  local usage = answers.usage(said.usage)
  self.told = usage ~= nil
  self.parts[#self.parts + 1] = { usage = usage, price = price,
    before = before, tokens = estimate.tokens(said.text) + estimate.tokens(said.reasoning) }
end

--- What was said before the first cut; nil where it is not text and nothing else, or where nobody
--- can tell.
---@param kind string
---@param request table
---@param pieces table of the answer, see `unbusy.source`
---@param price table? of its target
---@return table? self
function so_far.new(kind, request, pieces, price)
  local assembler = pieces.assembler
  local said = assembler and assembler.so_far and assembler:so_far()
  if not said then return nil end
  local self = setmetatable({ kind = kind, request = request, how = false, count = 0,
    dropped = false, reasoning = said.reasoning, head = said.head, finish = said.finish,
    told = false, parts = {}, refused = {} }, so_far)
  add_part(self, said, 0, price)
  set_text(self, said.text)
  return self
end

local function copy(t)
  local out = {}
  for k, v in next, t do out[k] = v end
  return out
end

--- The same, to be added to where another try beside this one may go on with it, too.
---@return table
function so_far:copy()
  local out = setmetatable(copy(self), so_far)
  out.parts, out.refused = copy(self.parts), copy(self.refused)
  return out
end

--- A continuation has broken off, too: `given` of it was given on.
---@param pieces table of the continuation
---@param given string
---@param price table?
---@param finish string? that was given on, too
---@return boolean good false where it was not text and nothing else
function so_far:add(pieces, given, price, finish)
  if not self:add_refused(pieces, price) then return given == "" end
  self.finish = finish
  set_text(self, self.text .. given)
  return true
end

--- A continuation that cannot be joined: it has cost something, and nothing of it was given on.
---@param pieces table of the continuation
---@param price table?
---@return boolean good false where nobody can tell what it was
function so_far:add_refused(pieces, price)
  local assembler = pieces.assembler
  local said = assembler and assembler:so_far()
  if not said then return false end
  add_part(self, said, estimate.tokens(self.kept), price)
  return true
end

--- A whole answer that is not given on, or not with its own end: what it has cost counts.
---@param answer table
---@param price table?
function so_far:add_answer(answer, price)
  self.parts[#self.parts + 1] = { usage = answer.usage, price = price,
    before = estimate.tokens(self.kept), tokens = estimate.tokens(answer.text or "")
      + estimate.tokens(answer.reasoning or "") }
end

--- Is there anything that only the text would say? Else it is as good as nothing.
---@return boolean
function so_far:is_text()
  return self.text ~= "" and json.is_utf8(self.kept) and true or false
end

--- The tokens of all that was said, about.
---@return integer
function so_far:written()
  return estimate.tokens(self.text) + estimate.tokens(self.reasoning)
end

-- {== Usage ===============================================================

-- What the request alone has taken: what the continuation's has, less the text that stood in it.
local function asked(self, usage)
  local tokens = usage and usage.prompt_tokens - estimate.tokens(self.kept) or 0
  return tokens > 0 and tokens or estimate.asked(self.request)
end

local sums = { "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens",
  "reasoning_tokens" }

-- The usage of one part.
local function of_part(part, base)
  if part.usage then return part.usage end
  local prompt = base + part.before
  return { prompt_tokens = prompt, completion_tokens = part.tokens, cached_tokens = 0,
    reasoning_tokens = 0, total_tokens = prompt + part.tokens,
    estimated_tokens = prompt + part.tokens }
end

--- The usage of all parts that were cut.
---@param usage table? of the part that was not; what the request took is told by it
---@return table sum, table[] each
function so_far:used(usage)
  local sum, each, base = { estimated_tokens = 0 }, {}, asked(self, usage)
  for _, name in ipairs(sums) do sum[name] = 0 end
  for i, part in ipairs(self.parts) do
    local u = of_part(part, base)
    for _, name in ipairs(sums) do sum[name] = sum[name] + u[name] end
    sum.estimated_tokens = sum.estimated_tokens + (u.estimated_tokens or 0)
    each[i] = { usage = u, price = part.price }
  end
  return sum, each
end

--- The usage and the cost of the whole answer.
---@param usage table? of the last part; nil: its server has not told it
---@param price table? of its target
---@return table? usage, number? cost
function so_far:total(usage, price)
  if not usage then return nil, nil end
  local sum, each = self:used(usage)
  for _, name in ipairs(sums) do sum[name] = sum[name] + usage[name] end
  each[#each + 1] = { usage = usage, price = price }
  return sum, so_far.cost(each)
end

--- What several parts cost together; nil where it is not known of one.
---@param each table[] { usage =, price = }
---@return number?
function so_far.cost(each)
  local sum = 0
  for _, part in ipairs(each) do
    local one = cost.of(part.usage, part.price)
    if not one then return nil end
    sum = sum + one
  end
  return sum
end

local function add_to(object, name, n)
  local known = json.whole(object[name])
  if known then object[name] = json.whole(known + n) end
end

--- The `usage` object of a continuation, with that of all parts before it in it.
---@param object table as its server has sent it
---@return table
function so_far:with_usage(object)
  local usage, out = answers.usage(object), {}
  if not usage then return object end
  local sum = self:used(usage)
  for k, v in next, object do out[k] = v end
  add_to(out, "prompt_tokens", sum.prompt_tokens)
  add_to(out, "completion_tokens", sum.completion_tokens)
  add_to(out, "total_tokens", sum.total_tokens)
  add_to(out, "cached_tokens", sum.cached_tokens)
  add_to(out, "prompt_cache_hit_tokens", sum.cached_tokens)
  add_to(out, "prompt_cache_miss_tokens", sum.prompt_tokens - sum.cached_tokens)
  return out
end

-- }========================================================================

-- {== The answer ==========================================================

local function set_message(self, choice, text)
  local message = answers.table_of(choice.message) or {}
  choice.message = message
  message.role, message.content = message.role or "assistant", text
  message.reasoning_content, message.reasoning = nil, nil
  if self.reasoning ~= "" then message.reasoning_content = self.reasoning end
end

--- The whole answer: that of the continuation, with what was said before in it. It is changed.
---@param answer table as an assembler gives it
---@param rest string what of the continuation was given on
---@param price table? of its target
---@return table answer with its `cost`, or false where that is not known
function so_far:whole(answer, rest, price)
  local body, text = answer.body, self.text .. rest
  local choice = body.choices[1]
  for name, value in next, self.head do body[name] = value end
  if self.kind == "complete" then choice.text = text else set_message(self, choice, text) end
  if type(body.usage) == "table" then body.usage = self:with_usage(body.usage) end
  answer.text, answer.model = text, body.model or answer.model
  answer.raw = nil -- of the rest alone, where it came whole
  answer.reasoning = self.reasoning ~= "" and self.reasoning or nil
  local usage, sum = self:total(answer.usage, price)
  answer.usage, answer.cost = usage, sum or false
  return answer
end

local objects = { chat = "chat.completion", complete = "text_completion" }

--- The answer that was said so far as a whole one, whose usage is an estimate.
---@param finish string its finish reason
---@return table answer as `so_far:whole` gives
function so_far:ended(finish)
  local usage, each = self:used()
  local choice = { index = 0, finish_reason = finish, logprobs = json.null }
  local body = { object = objects[self.kind], choices = json.array { choice },
    usage = { prompt_tokens = usage.prompt_tokens, completion_tokens = usage.completion_tokens,
      total_tokens = usage.total_tokens } }
  for name, value in next, self.head do body[name] = value end
  if self.kind == "chat" then set_message(self, choice, self.text) else choice.text = self.text end
  return { body = body, text = self.text, model = body.model, finish = finish, usage = usage,
    reasoning = self.reasoning ~= "" and self.reasoning or nil,
    cost = so_far.cost(each) or false }
end

-- }========================================================================

return so_far
