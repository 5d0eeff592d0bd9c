--- Reads the answer out of a decoded body: text, tool calls, usage.
local json = require "unbusy.json"

local answers = {}

local type, floor, null = type, math.floor, json.null

--- A value, or nil for JSON's null.
function answers.some(v)
  if v ~= null then return v end
end

local some = answers.some

local function is_object(v)
  return type(v) == "table" and v[1] == nil and not json.is_array(v)
end

--- The table behind a field, or nil.
function answers.table_of(v)
  return v ~= nil and type(v) == "table" and v or nil -- mostly there is nothing
end

local table_of = answers.table_of

--- How many texts a prompt or an input is: one, or a list of them. (A list of numbers is one.)
---@param given any
---@return integer
function answers.texts_in(given)
  return type(given) == "table" and type(given[1]) ~= "number" and #given or 1
end

--- The text of a content: a string, or a list of parts of which the text ones count.
---@return string?
function answers.text_of(content)
  if type(content) == "string" then return content end
  if type(content) ~= "table" then return nil end
  local out = {}
  for _, part in ipairs(content) do
    if type(part) == "table" and part.type == "text" and type(part.text) == "string" then
      out[#out + 1] = part.text
    end
  end
  return #out > 0 and table.concat(out) or nil
end

--- The thoughts among the parts of a content, as Mistral's models tell them:
--- {"type":"thinking","thinking":[{"type":"text","text":"…"}]}.
---@return string?
function answers.thoughts_in(content)
  if content == nil or type(content) ~= "table" then return nil end
  local out = {}
  for _, part in ipairs(content) do
    if type(part) == "table" and part.type == "thinking" then
      out[#out + 1] = answers.text_of(part.thinking)
    end
  end
  return out[1] and table.concat(out) or nil
end

--- The thoughts that go before an answer, under either name that servers give them, or in it.
---@return string?
function answers.reasoning_of(message)
  local text = some(message.reasoning_content) or some(message.reasoning)
    or answers.thoughts_in(message.content)
  return type(text) == "string" and text ~= "" and text or nil
end

local of_json = { json_object = true, json_schema = true }

--- Does a request ask for JSON? (In the Responses API the format stands under `text`.)
---@param request table
---@return boolean
function answers.wants_json(request)
  local text = table_of(request.text)
  local format = table_of(request.response_format) or text and table_of(text.format)
  return format ~= nil and of_json[format.type] == true
end

local none = {}

local MOST = 2 ^ 53 -- tokens: from here on sums are not exact, and sometime infinite

-- A count of tokens, as Lua writes a whole number; 0 for all that is none.
local function count(n)
  if n == nil or type(n) ~= "number" or not (n > 0 and n < MOST) then return 0 end
  local whole = floor(n)
  return whole == n and whole or 0
end

-- A `usage` of the Responses API under the names of the others.
local function of_response(u)
  if u.input_tokens == nil then return u end
  return { prompt_tokens = u.input_tokens, completion_tokens = u.output_tokens,
    total_tokens = u.total_tokens, prompt_tokens_details = u.input_tokens_details,
    completion_tokens_details = u.output_tokens_details }
end

--- Counts the tokens of a `usage` object; cached ones as OpenAI, DeepSeek, Kimi and relays write
--- them.
--- Thoughts are part of the completion, also where a server tells them beside it.
---@param u any
---@return table? usage prompt_tokens completion_tokens total_tokens cached_tokens reasoning_tokens
function answers.usage(u)
  if not is_object(u) then return nil end
  u = of_response(u)
  local prompt, completion = count(u.prompt_tokens), count(u.completion_tokens)
  local of_prompt = table_of(u.prompt_tokens_details) or none
  local of_completion = table_of(u.completion_tokens_details) or none
  local cached, total = count(of_prompt.cached_tokens), count(u.total_tokens)
  local reasoning = count(of_completion.reasoning_tokens)
  if cached == 0 then cached = count(u.prompt_cache_hit_tokens) end
  if cached == 0 then cached = count(u.cached_tokens) end
  if reasoning > 0 and total == prompt + completion + reasoning then
    completion = completion + reasoning -- xAI tells them beside it
  end
  return { prompt_tokens = prompt, completion_tokens = completion,
    total_tokens = total > 0 and total or prompt + completion, cached_tokens = cached,
    reasoning_tokens = reasoning }
end

local function text_field(v)
  return v ~= nil and type(v) == "string" and v ~= "" and v or nil
end

--- The answer that a complete body holds; of several choices, the one with the least index.
---@param kind string
---@param body table? decoded
---@return table answer body text reasoning tool_calls finish model usage refusal
function answers.of(kind, body)
  if type(body) ~= "table" then return {} end
  local choices = table_of(body.choices)
  local choice = kind ~= "embed" and choices and table_of(choices[1]) or none
  local message = kind ~= "complete" and table_of(choice.message) or none
  local content, calls = choice.text, table_of(message.tool_calls)
  if message ~= none then content = message.content end
  return { -- eight fields, of which most answers fill six
    body = body, model = text_field(body.model), usage = answers.usage(body.usage),
    finish = text_field(choice.finish_reason), text = answers.text_of(content),
    reasoning = answers.reasoning_of(message), refusal = text_field(message.refusal),
    tool_calls = calls and #calls > 0 and calls or nil,
  }
end

--- finish_reasons that say there is no answer, and the failure each one is.
answers.unfinished = {
  insufficient_system_resource = "busy", -- DeepSeek, and relays in front of it
  error = "upstream",
}

local function choice_fault(kind, choice)
  if type(choice) ~= "table" then return "200 with a choice that is no object", "upstream" end
  local bad = answers.unfinished[choice.finish_reason]
  if bad then return "200 finish_reason " .. choice.finish_reason, bad end
  if kind == "chat" then
    if not is_object(choice.message) then return "200 without a message", "empty" end
  elseif type(choice.text) ~= "string" then
    return "200 without text", "empty"
  end
end

local function list_fault(body, name)
  local list = some(body[name])
  if type(list) ~= "table" then return "200 without " .. name, "upstream" end
  if #list == 0 then return "200 with no " .. name, "empty" end
end

-- Whatever has several answers in it has some table.
local function batch_fault(body)
  for _, value in next, body do
    if type(value) == "table" then return nil end
  end
  return "200 without answers", "upstream"
end

--- What is wrong with the body of a success, if anything.
---@param kind string chat, complete, embed or batch
---@param body table decoded
---@return string? message, string? code
function answers.fault(kind, body)
  if kind == "embed" then return list_fault(body, "data") end
  if kind == "batch" then return batch_fault(body) end
  local message, code = list_fault(body, "choices")
  if message then return message, code end
  local choices = body.choices
  message, code = choice_fault(kind, choices[1]) -- mostly the only one
  if message then return message, code end
  for i = 2, #choices do
    message, code = choice_fault(kind, choices[i])
    if message then return message, code end
  end
end

return answers
