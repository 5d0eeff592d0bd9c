--- The events of a continuation, as those of the stream that it continues.
--
-- To whom they are passed on they are one answer: each has the `id`, `created` and `model` of the
-- first part, and no role, which was told. All other bytes stay as they are, but in the few events
-- where the text itself is another one, or thoughts are taken out.
local answers = require "unbusy.providers.answers"
local json = require "unbusy.json"
local json_fields = require "unbusy.json_fields"

local chunks = {}

--- What all chunks of one answer have in common.
chunks.shared = { "id", "created", "model" }

--- The edits that make a chunk one of that answer.
---@param head table its id, created and model, as far as it has them
---@return table<string, string>
function chunks.edits(head)
  local edits = {}
  for _, name in ipairs(chunks.shared) do
    if head[name] ~= nil then edits[name] = json.encode(head[name]) end
  end
  return edits
end

local function rewritten(data, head, change)
  local body = json.decode(data)
  for name, value in next, head do body[name] = value end
  change(body)
  return json.encode(body)
end

--- The chunk with another head, and another usage perhaps.
---@param data string
---@param edits table of `chunks.edits`
---@param usage table?
---@return string? nil where its bytes cannot simply be changed
function chunks.moved(data, edits, usage)
  if usage then
    local own = { usage = json.encode(usage) }
    for name, value in next, edits do own[name] = value end
    edits = own
  end
  return (json_fields.splice(data, edits))
end

-- A string as JSON, whatever its bytes are: a server that tears characters in two sends halves.
local function quoted(text)
  return '"' .. text:gsub('[%z\1-\31\\"]', function(c)
    return ("\\u%04x"):format(c:byte())
  end) .. '"'
end

local MARK = "unbusy-resume-text"

local function set_text(kind, choice, text)
  if kind == "complete" then
    choice.text = text
    return
  end
  local delta = answers.table_of(choice.delta) or answers.table_of(choice.message) or {}
  choice.delta, choice.message = delta, nil
  delta.role, delta.reasoning_content, delta.reasoning = nil, nil, nil
  delta.content = text ~= "" and text or nil
end

--- The chunk with another text and without thoughts.
---@param kind string
---@param data string
---@param head table
---@param text string
---@param usage table?
---@return string? nil for what is no JSON
function chunks.saying(kind, data, head, text, usage)
  local function said(words)
    return rewritten(data, head, function(body)
      for _, choice in ipairs(answers.table_of(body.choices) or {}) do
        local is_first = type(choice) == "table" and (json.whole(choice.index) or 0) == 0
        if is_first then set_text(kind, choice, words) end
      end
      body.usage = usage or body.usage
    end)
  end
  local out = said(text)
  if out then return out end
  out = said(MARK)
  return out and out:gsub('"' .. MARK:gsub("%-", "%%-") .. '"', function()
    return quoted(text)
  end, 1) or nil
end

local objects = { chat = "chat.completion.chunk", complete = "text_completion" }

-- A chunk of our own.
local function made(kind, head, choices, usage)
  local body = { object = objects[kind], choices = json.array(choices), usage = usage }
  for name, value in next, head do body[name] = value end
  return json.encode(body)
end

--- The pieces that end an answer which nobody has to go on with.
---@param kind string
---@param head table
---@param finish string? nil: that was said already
---@param usage table? where it is to be told
---@return table[]
function chunks.ending(kind, head, finish, usage)
  local pieces = {}
  if finish then
    local choice = { index = 0, finish_reason = finish, logprobs = json.null }
    if kind == "chat" then choice.delta = {} else choice.text = "" end
    pieces[1] = { finish = finish, data = made(kind, head, { choice }) }
  end
  if not usage then return pieces end
  local object = { prompt_tokens = json.whole(usage.prompt_tokens),
    completion_tokens = json.whole(usage.completion_tokens),
    total_tokens = json.whole(usage.total_tokens) }
  pieces[#pieces + 1] = { usage = usage, data = made(kind, head, {}, object) }
  return pieces
end

return chunks
