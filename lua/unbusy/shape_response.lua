--- Answers of our own in the shape of OpenAI's Responses API: whole, and as a stream's events.
--
--     created, in_progress                      with the response, which is empty yet
--     output_item.added, content_part.added     for each item of its output
--     output_text.delta, output_text.done       (of thoughts: reasoning_text; of what sums them up,
--                                               in parts of its own: reasoning_summary_text)
--     output_text.annotation.added              between the two, where the text cites something
--     content_part.done, output_item.done
--     completed (or incomplete)                 with the whole response
local answers = require "unbusy.providers.answers"
local json = require "unbusy.json"

local shape_response = {}

-- {== Whole ===============================================================

local reasons = { length = "max_output_tokens", content_filter = "content_filter" }

local function usage_of(said)
  local used = said.usage or {}
  local asked, told = used.prompt_tokens or 0, used.completion_tokens or 0
  return { input_tokens = asked, output_tokens = told, total_tokens = asked + told,
    input_tokens_details = { cached_tokens = 0 }, output_tokens_details = { reasoning_tokens = 0 } }
end

-- What every response has.
local function common(id, model, created)
  return { id = id, object = "response", created_at = created, model = model,
    error = json.null, incomplete_details = json.null, instructions = json.null, metadata = {},
    parallel_tool_calls = true, previous_response_id = json.null, store = false,
    temperature = json.null, tool_choice = "auto", tools = json.array {}, top_p = json.null }
end

local function reasoning_item(id, text)
  return { id = id .. "-reasoning", type = "reasoning",
    summary = { { type = "summary_text", text = text } } }
end

local function message_item(id, text, status)
  return { id = id .. "-message", type = "message", role = "assistant", status = status,
    content = { { type = "output_text", text = text, annotations = json.array {} } } }
end

--- A response that says something.
---@param id string
---@param model string
---@param said table see `unbusy.shape`
---@param created integer Unix seconds
---@return table body
function shape_response.body(id, model, said, created)
  local body, reason = common(id, model, created), reasons[said.finish]
  body.status = reason and "incomplete" or "completed"
  if reason then body.incomplete_details = { reason = reason } end
  body.output = { message_item(id, said.text, body.status) }
  if (said.reasoning or "") ~= "" then
    table.insert(body.output, 1, reasoning_item(id, said.reasoning))
  end
  body.usage = usage_of(said)
  return body
end

local function default(t, name, value)
  if t[name] == nil then t[name] = value end
end

local function fill_item(item, id)
  default(item, "type", "message")
  if item.type ~= "message" then return end
  default(item, "id", id)
  default(item, "role", "assistant")
  default(item, "status", "completed")
  for _, part in ipairs(answers.table_of(item.content) or {}) do
    if type(part) == "table" and part.type == "output_text" then
      default(part, "annotations", json.array {})
    end
  end
end

--- Adds to a response that somebody wrote what every one has. `body` is changed.
---@param body table
---@param new_id function
---@param model string
---@param created integer Unix seconds
---@return boolean false where it can be none
function shape_response.fill(body, new_id, model, created)
  local output = answers.table_of(body.output)
  if not output or #output == 0 then return false end
  for name, value in pairs(common(new_id(), model, created)) do default(body, name, value) end
  default(body, "status", "completed")
  for i, item in ipairs(output) do
    if type(item) ~= "table" then return false end
    fill_item(item, ("%s-%d"):format(tostring(body.id), i))
  end
  return true
end

-- }========================================================================

-- {== Streams =============================================================

local function shallow(t, changes)
  local out = {}
  for k, v in next, t do out[k] = v end
  for k, v in next, changes do out[k] = v end
  return out
end

-- Adds events one by one: each has a number and its type. What is no JSON (of a server's: 1e999)
-- spoils them all.
local function writer()
  local pieces = {}
  return pieces, function(kind, fields, piece)
    fields.type, fields.sequence_number = kind, #pieces
    piece = piece or {}
    piece.event, piece.data = kind, json.encode(fields)
    if not piece.data then pieces.spoilt = true end
    pieces[#pieces + 1] = piece
  end
end

local function tables_of(list)
  local out = {}
  for _, v in ipairs(answers.table_of(list) or {}) do
    if type(v) == "table" then out[#out + 1] = v end
  end
  return out
end

local function words_of(v)
  return type(v) == "string" and v or ""
end

-- SDKs read what a text cites, and how likely it was, out of these events alone.
local function write_text(add, part, at)
  local text, logprobs = words_of(part.text), answers.table_of(part.logprobs) or json.array {}
  if text ~= "" then
    add("response.output_text.delta", shallow(at, { delta = text, logprobs = logprobs }),
      { text = text, started = true })
  end
  for i, annotation in ipairs(tables_of(part.annotations)) do
    add("response.output_text.annotation.added",
      shallow(at, { annotation = annotation, annotation_index = i - 1 }), { started = true })
  end
  add("response.output_text.done", shallow(at, { text = text, logprobs = logprobs }),
    { started = true })
end

local function write_refusal(add, part, at)
  local refusal = words_of(part.refusal)
  add("response.refusal.delta", shallow(at, { delta = refusal }), { started = true })
  add("response.refusal.done", shallow(at, { refusal = refusal }), { started = true })
end

-- How a part of a message looks before anything of it has come.
local function begun_part(part)
  local out = shallow(part, { [part.type == "refusal" and "refusal" or "text"] = "" })
  if answers.table_of(part.annotations) then out.annotations = json.array {} end
  if answers.table_of(part.logprobs) then out.logprobs = json.array {} end
  return out
end

local function write_message(add, item, index)
  for i, part in ipairs(tables_of(item.content)) do
    local at = { item_id = item.id, output_index = index, content_index = i - 1 }
    local refuses = part.type == "refusal"
    add("response.content_part.added", shallow(at, { part = begun_part(part) }))
    if refuses then write_refusal(add, part, at)
    elseif part.type == "output_text" then write_text(add, part, at) end
    add("response.content_part.done", shallow(at, { part = part }), { started = true })
  end
end

local function write_summary(add, item, index)
  for i, part in ipairs(tables_of(item.summary)) do
    local at = { item_id = item.id, output_index = index, summary_index = i - 1 }
    local text = words_of(part.text)
    add("response.reasoning_summary_part.added",
      shallow(at, { part = shallow(part, { text = "" }) }))
    add("response.reasoning_summary_text.delta", shallow(at, { delta = text }),
      { reasoning = text, started = true })
    add("response.reasoning_summary_text.done", shallow(at, { text = text }), { started = true })
    add("response.reasoning_summary_part.done", shallow(at, { part = part }), { started = true })
  end
end

local function write_thoughts(add, part, at)
  local text = words_of(part.text)
  add("response.reasoning_text.delta", shallow(at, { delta = text }),
    { reasoning = text, started = true })
  add("response.reasoning_text.done", shallow(at, { text = text }), { started = true })
end

-- Thoughts themselves, where a server tells them, or what sums them up. Each has its place before
-- its words, as a text has: OpenAI's SDK raises where there is none.
local function write_reasoning(add, item, index)
  local parts = tables_of(item.content)
  if not parts[1] then return write_summary(add, item, index) end
  for i, part in ipairs(parts) do
    local at = { item_id = item.id, output_index = index, content_index = i - 1 }
    add("response.content_part.added", shallow(at, { part = shallow(part, { text = "" }) }))
    if part.type == "reasoning_text" then write_thoughts(add, part, at) end
    add("response.content_part.done", shallow(at, { part = part }), { started = true })
  end
end

local function write_call(add, item, index)
  local at = { item_id = item.id, output_index = index }
  local arguments = words_of(item.arguments)
  add("response.function_call_arguments.delta", shallow(at, { delta = arguments }),
    { started = true })
  add("response.function_call_arguments.done",
    shallow(at, { arguments = arguments, name = item.name }), { started = true })
end

local writers = { message = write_message, reasoning = write_reasoning,
  function_call = write_call }

-- How an item looks before anything of it has come.
local empty = { message = { content = json.array {} },
  reasoning = { summary = json.array {} }, function_call = { arguments = "" } }

local function write_item(add, item, index)
  local begun = shallow(item, empty[item.type] or {})
  if item.type == "message" or item.type == "function_call" then begun.status = "in_progress" end
  if item.type == "reasoning" then begun.content = nil end
  add("response.output_item.added", { output_index = index, item = begun })
  local write = writers[item.type]
  if write then write(add, item, index) end
  add("response.output_item.done", { output_index = index, item = item }, { started = true })
end

--- What goes before the last event of a stream that gives a response.
---@param body table decoded
---@return table[] pieces none where they would not be JSON
function shape_response.before_end(body)
  local pieces, add = writer()
  local begun = shallow(body, { status = "in_progress", output = json.array {}, usage = json.null,
    incomplete_details = json.null })
  add("response.created", { response = begun })
  add("response.in_progress", { response = begun })
  for i, item in ipairs(tables_of(body.output)) do write_item(add, item, i - 1) end
  return pieces.spoilt and {} or pieces
end

--- The name of that last event.
---@param body table?
---@return string
function shape_response.last(body)
  return body and body.status == "incomplete" and "response.incomplete" or "response.completed"
end

--- A response of `body` as the pieces of a stream.
---@param body table
---@return table[] pieces
function shape_response.pieces(body)
  local pieces = shape_response.before_end(body)
  local details, kind = answers.table_of(body.incomplete_details), shape_response.last(body)
  local fields = { type = kind, sequence_number = #pieces, response = body }
  pieces[#pieces + 1] = { event = kind, data = assert(json.encode(fields)), started = true,
    finish = details and details.reason or body.status, usage = answers.usage(body.usage) }
  return pieces
end

-- }========================================================================

return shape_response
