--- Several chats in one request to a target's own batch endpoint (its option `batch`):
--
--     { "requests":  [ { "prompt": "…", "parameters": { "model": "…", … } }, … ] }
--     { "responses": [ { "choices": [ { "message": { … } } ] }, { "error": { … } }, … ] }
--
-- A chat goes in where a prompt says all of it: one message of the user's, which is a text. The
-- rest of the request are its parameters, so that those may differ within a batch; only the model
-- is one.
local rule = {}

local function without(t, names)
  local out = {}
  for key, value in pairs(t) do
    if not names[key] then out[key] = value end
  end
  return out
end

-- The text of a user's message that has nothing else.
local function text_of(message)
  if type(message) ~= "table" or message.role ~= "user" then return nil end
  for key in pairs(message) do
    if key ~= "role" and key ~= "content" then return nil end
  end
  return type(message.content) == "string" and message.content or nil
end

local function is_single(request)
  local messages, n = request.messages, request.n
  return type(messages) == "table" and #messages == 1 and text_of(messages[1]) ~= nil
    and (n == nil or n == null or n == 1) and request.tools == nil and request.functions == nil
end

--- Which requests go together.
function rule.batch(request)
  if not is_single(request) then return nil end
  return { key = { model = request.model }, endpoint = true }
end

local apart = { messages = true, stream = true, stream_options = true }

--- Their prompts and parameters.
function rule.merge(requests)
  local list = {}
  for i, request in ipairs(requests) do
    list[i] = { prompt = text_of(request.messages[1]), parameters = without(request, apart) }
  end
  return { requests = list }
end

local common = { responses = true, usage = true, object = true }

-- A message, from a choice that has only its text.
local function completed(choice)
  choice.index = 0
  if choice.message == nil and type(choice.text) == "string" then
    choice.message = { role = "assistant", content = choice.text }
    choice.text = nil
  end
  return choice
end

-- One response as the answer of a single chat; what all have in common stands once in the body.
local function answer_of(response, body)
  if type(response) ~= "table" then return nil end
  if response.error ~= nil and response.error ~= null then return { error = response.error } end
  local answer = without(body, common)
  for key, value in pairs(response) do answer[key] = value end
  if answer.choices == nil and type(response.text) == "string" then
    answer.choices, answer.text = { { text = response.text, finish_reason = "stop" } }, nil
  end
  if type(answer.choices) ~= "table" or type(answer.choices[1]) ~= "table" then return nil end
  answer.object = "chat.completion"
  answer.choices = { completed(answer.choices[1]) }
  return answer
end

--- Each response as the answer of a single chat.
function rule.split(body)
  local out = {}
  if type(body.responses) ~= "table" then return nil end
  for i, response in ipairs(body.responses) do out[i] = answer_of(response, body) end
  return out
end

return rule
