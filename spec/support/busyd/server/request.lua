--- Reads what the client asked for.
local cjson = require "cjson"
local counters = require "server.counters"

local request = {}

local KINDS = {}

for _, prefix in ipairs { "", "/v1", "/beta" } do
  KINDS[prefix .. "/chat/completions"] = "chat"
  KINDS[prefix .. "/completions"] = "completion"
  KINDS[prefix .. "/embeddings"] = "embedding"
  KINDS[prefix .. "/models"] = "models"
  KINDS[prefix .. "/responses"] = "response"
end
KINDS["/api/v1/batch"] = "batch"

local BAD_JSON = "The body is not a JSON object."

-- Connections are counted by their first request to the API.
local function count_connection()
  if ngx.var.connection_requests == "1" then counters.add "connections" end
end

--- The body, also when it was too long for memory.
---@return string
function request.body()
  ngx.req.read_body()
  local data = ngx.req.get_body_data()
  if data then return data end
  local path = ngx.req.get_body_file()
  if not path then return "" end
  local file = assert(io.open(path, "rb"))
  data = file:read "*a"
  file:close()
  return data
end

-- The text of a message's content: a string, or a list of parts.
local function content_of(message)
  local content = type(message) == "table" and message.content
  if type(content) == "string" then return content end
  local parts = {}
  for _, part in ipairs(type(content) == "table" and content or {}) do
    parts[#parts + 1] = type(part) == "table" and type(part.text) == "string" and part.text or nil
  end
  return table.concat(parts)
end

local readers = {}

local function has_role(message, role)
  return type(message) == "table" and message.role == role
end

-- A question, a text that was begun, and words behind it.
local function turn_of(messages)
  local question, begun, asked = messages[#messages - 2], messages[#messages - 1],
    messages[#messages]
  if has_role(question, "user") and has_role(begun, "assistant") and has_role(asked, "user") then
    return { question = content_of(question), begun = content_of(begun),
      asked = content_of(asked) }
  end
end

-- The last user message; the text that a prefix completion is to continue.
function readers.chat(call, asked)
  local messages = asked.messages
  if type(messages) ~= "table" or #messages == 0 then
    return "messages: expected a list with at least one message"
  end
  local last = messages[#messages]
  local continues = type(last) == "table" and last.prefix == true
    or asked.continue_final_message == true and asked.add_generation_prompt == false
  if has_role(last, "assistant") and continues then call.prefix = content_of(last) end
  call.turn, call.question = turn_of(messages), ""
  for i = #messages, 1, -1 do
    if type(messages[i]) == "table" and messages[i].role == "user" then
      call.question = content_of(messages[i])
      break
    end
  end
  call.prompt_bytes = #call.question
end

-- A text, or a list of messages among other items.
function readers.response(call, asked)
  local input = asked.input
  if type(input) == "table" and #input > 0 then
    return readers.chat(call, { messages = input })
  elseif type(input) ~= "string" then
    return "input: expected a text or a list of items"
  end
  call.question, call.prompt_bytes = input, #input
end

-- 'field' as a list of strings; the first is the question.
local function strings(call, asked, field)
  local given = asked[field]
  if type(given) == "string" then given = { given } end
  if type(given) ~= "table" or #given == 0 then
    return field .. ": expected a string or a list of strings"
  end
  call.inputs, call.prompt_bytes = given, 0
  for i, item in ipairs(given) do
    if type(item) ~= "string" then return ("%s[%d]: expected a string"):format(field, i) end
    call.prompt_bytes = call.prompt_bytes + #item
  end
  call.question = given[1]
end

function readers.completion(call, asked) return strings(call, asked, "prompt") end

function readers.embedding(call, asked) return strings(call, asked, "input") end

-- A list of prompts with their parameters; the model is that of the first.
function readers.batch(call, asked)
  local prompts, list = {}, asked.requests
  if type(list) ~= "table" or #list == 0 then return "requests: expected a list" end
  for i, item in ipairs(list) do
    local given = type(item) == "table" and item.parameters
    if type(item) ~= "table" or given and type(given) ~= "table" then
      return ("requests[%d]: expected a prompt and parameters"):format(i)
    end
    prompts[i] = item.prompt or false
    if i == 1 and given and type(given.model) == "string" then call.model = given.model end
  end
  return strings(call, { prompt = prompts }, "prompt")
end

-- What is in a POST's body; nil, or what is wrong with it.
local function read_body(call)
  local ok, asked = pcall(cjson.decode, call.body)
  if not ok or type(asked) ~= "table" then return BAD_JSON end
  call.model = type(asked.model) == "string" and asked.model or "busyd-large"
  call.stream = asked.stream == true and call.kind ~= "embedding" and call.kind ~= "batch"
  call.base64 = asked.encoding_format == "base64"
  local options = asked.stream_options
  call.include_usage = type(options) == "table" and options.include_usage == true
  return readers[call.kind](call, asked)
end

--- Reads the request at hand and counts it.
---@return table call  kind, number, key, body, model, question, inputs, prefix, stream …
---@return table? problem  { status, message } when it cannot be served
function request.read()
  count_connection()
  local uri, method = ngx.var.uri, ngx.req.get_method()
  local authorization = ngx.var.http_authorization
  local call = {
    kind = KINDS[uri], number = counters.add "received", method = method,
    authorization = authorization, key = authorization and authorization:match "^[Bb]earer (.+)",
    body = request.body(),
  }
  counters.add_named("path", call.kind and uri or "other")
  if call.key then counters.add_named("key", call.key) end
  if not call.kind then return call, { 404, "Unknown path " .. uri } end
  local expected = call.kind == "models" and "GET" or "POST"
  if method ~= expected then return call, { 405, "Only " .. expected .. " works here." } end
  local problem = expected == "POST" and read_body(call)
  if problem then return call, { 400, problem } end
  return call
end

return request
