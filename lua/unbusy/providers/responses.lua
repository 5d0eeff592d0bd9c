--- OpenAI's Responses API: what its answers and its streams' events mean.
--
-- An answer says how it stands by its `status`. A stream is a row of typed events, and ends with
-- one of them, not with `[DONE]`:
--
--     response.created, response.in_progress       accepted: no answer yet
--     response.output_item.added, ….part.added     a place for some of it: no answer either
--     response.output_text.delta, …                answer
--     response.completed, response.incomplete      the end, with the whole response
--     response.failed, error                       a failure, with its error
local answers = require "unbusy.providers.answers"
local errors = require "unbusy.providers.errors"
local json = require "unbusy.json"

local some, table_of = answers.some, answers.table_of

local responses = {}

-- {== Whole answers =======================================================

local function text_field(v)
  return type(v) == "string" and v ~= "" and v or nil
end

-- Calls f(item) for each table of a list.
local function each(list, f)
  for _, item in ipairs(table_of(list) or {}) do
    if type(item) == "table" then f(item) end
  end
end

local function joined(parts)
  return parts[1] and table.concat(parts) or nil
end

-- The strings under `field` of the parts of one type; of any, without a type.
local function add_texts(out, parts, field, kind)
  each(parts, function(part)
    if (kind == nil or part.type == kind) and text_field(part[field]) then
      out[#out + 1] = part[field]
    end
  end)
end

local readers = {}

function readers.message(item, out)
  add_texts(out.text, item.content, "text", "output_text")
  add_texts(out.refusal, item.content, "refusal", "refusal")
end

function readers.reasoning(item, out)
  local content = table_of(item.content)
  add_texts(out.reasoning, content and content[1] and content or item.summary, "text")
end

function readers.function_call(item, out)
  out.calls[#out.calls + 1] = { id = text_field(item.call_id) or text_field(item.id),
    type = "function", ["function"] = { name = some(item.name), arguments = some(item.arguments) } }
end

local function finish_of(body)
  local details = table_of(body.incomplete_details)
  return details and text_field(details.reason) or text_field(body.status)
end

--- The answer that a response holds; `finish` is its status, or why it is incomplete.
---@param body table decoded
---@return table answer as `answers.of` gives
function responses.of(_, body)
  local out = { text = {}, refusal = {}, reasoning = {}, calls = {} }
  each(body.output, function(item)
    local read = readers[item.type]
    if read then read(item, out) end
  end)
  return { body = body, model = text_field(body.model), usage = answers.usage(body.usage),
    text = joined(out.text), reasoning = joined(out.reasoning), refusal = joined(out.refusal),
    tool_calls = out.calls[1] and out.calls or nil, finish = finish_of(body) }
end

local broken = { failed = true, cancelled = true }

--- What is wrong with a response that tells no error, if anything.
---@param body table decoded
---@return string? message, string? code
function responses.fault(_, body)
  if broken[body.status] then return "200 status " .. body.status, "upstream" end
  local output = some(body.output)
  if type(output) ~= "table" then return "200 without output", "upstream" end
  if #output == 0 and (body.status == "completed" or some(body.status) == nil) then
    return "200 with no output", "empty"
  end
end

-- }========================================================================

-- {== Streams =============================================================

local no_answer = {
  ["response.created"] = true, ["response.queued"] = true, ["response.in_progress"] = true,
  ["response.output_item.added"] = true, ["response.content_part.added"] = true,
  ["response.reasoning_summary_part.added"] = true, keepalive = true, ping = true,
}

local shown = {
  ["response.output_text.delta"] = "text",
  ["response.reasoning_text.delta"] = "reasoning",
  ["response.reasoning_summary_text.delta"] = "reasoning",
  ["response.refusal.delta"] = "refusal",
}

local ends = { ["response.completed"] = true, ["response.incomplete"] = true }
local failures = { error = true, ["response.failed"] = true, ["response.cancelled"] = true }

local methods = {}
local class = { __index = methods, __metatable = false }

--- Makes an assembler, as `unbusy.providers.assembler` does.
---@param hide function? takes secrets out of what an error says
---@return table a
function responses.assembler(hide)
  return setmetatable({ kind = "responses", started = false, finished = false, done = false,
    hide = hide }, class)
end

local function fail(message, code)
  return nil, "stream: " .. message:gsub("^200 ", ""), code, errors.detail(200)
end

local function fail_event(a, body)
  local e = errors.inside(table_of(body.response)) or errors.inside(body) or errors.told(body)
  local _, message, code, detail = errors.fail(200, nil, e, a.hide)
  return nil, "stream: " .. message:gsub("^200 ", ""), code, detail
end

-- The last event: the response is there as it would be without a stream.
local function take_end(a, piece, body)
  local response = table_of(body.response)
  local message, code = "an end without a response", "upstream"
  if response then message, code = responses.fault(nil, response) end
  if message and not (response and a.started) then return fail(message, code) end
  a.whole = responses.of(nil, response)
  a.finished, a.done, a.started, piece.started = true, true, true, true
  piece.usage, piece.finish = a.whole.usage, a.whole.finish
  return piece
end

--- Takes one event of the SSE parser.
---@param event table event, data
---@return table? piece { data, event, id, text, reasoning, refusal, finish, usage, started }, nil
--- alone behind the end; string? message, string? code, table? detail
function methods:feed(event)
  local data = event.data
  if self.done or not data or data == "" then return nil end
  if data:find "^%s*%[DONE%]%s*$" then
    self.done = true
    return nil
  end
  local body = json.decode(data)
  if type(body) ~= "table" or body[1] ~= nil then
    return fail("an event that is no JSON object", "upstream")
  end
  local kind = text_field(body.type) or event.event or ""
  if failures[kind] or errors.inside(body) then return fail_event(self, body) end
  local piece = { data = data, event = event.event or kind, id = event.id }
  if ends[kind] then return take_end(self, piece, body) end
  if not no_answer[kind] then
    self.started, piece.started = true, true
    if shown[kind] then piece[shown[kind]] = text_field(body.delta) end
  end
  return piece
end

--- Whether the stream, which has ended, was a whole answer.
---@return boolean? ok, string? message, string? code "cut" when some of it had come, else "empty"
function methods:finish()
  if self.finished then return true end
  if self.started then return nil, "stream: ended before the response did", "cut" end
  return nil, "stream: ended without an answer", "empty"
end

--- The answer, once the end has come; else one without anything in it.
---@return table answer always the same table
function methods:answer()
  self.whole = self.whole or {}
  return self.whole
end

-- }========================================================================

return responses
