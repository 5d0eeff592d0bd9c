--- How much was said, in bytes: for who counts tokens where no server tells them.
local answers = require "unbusy.providers.answers"

local lengths = {}

local function of_text(text)
  return type(text) == "string" and #text or 0
end

-- Servers write what they like there.
local function of_call(call)
  if type(call) ~= "table" then return 0 end
  local f = type(call["function"]) == "table" and call["function"] or call.custom
  if type(f) ~= "table" then return 0 end
  return of_text(f.name) + of_text(f.arguments) + of_text(f.input)
end

local function of_calls(calls)
  local sum = 0
  for _, call in ipairs(calls) do sum = sum + of_call(call) end
  return sum
end

local function of_said(text, reasoning, calls)
  return of_text(text) + of_text(reasoning) + (calls and of_calls(calls) or 0)
end

-- The text and the tools of a reply are those of its first choice; others were paid for, too.
local function of_choices(choices)
  local sum = 0
  for _, choice in ipairs(choices) do
    local message = type(choice) == "table" and (answers.table_of(choice.message) or choice) or {}
    sum = sum + of_said(answers.text_of(message.content or message.text),
      answers.reasoning_of(message), answers.table_of(message.tool_calls))
  end
  return sum
end

--- Of a reply, or of a piece of a stream: its text, what was thought, and the tools that it calls.
--- Vectors say nothing.
---@param said table
---@return integer
function lengths.of(said)
  local body = said.body
  local choices = type(body) == "table" and answers.table_of(body.choices)
  if choices and choices[2] then return of_choices(choices) end
  return of_said(said.text, said.reasoning, said.tool_calls)
end

--- Has the server not told what the answer took? Some write a usage that says nothing.
---@param usage table? of a reply
---@return boolean
function lengths.are_needed(usage)
  return not usage or (usage.prompt_tokens or 0) + (usage.completion_tokens or 0) <= 0
end

return lengths
