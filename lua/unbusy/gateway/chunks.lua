--- A whole answer as the events of a stream: of a cache, or of a server that streams nothing.
local json = require "unbusy.json"

local chunks = {}

local function copy(t)
  local out = {}
  for name, value in pairs(t) do out[name] = value end
  return out
end

local function head_of(body, object)
  local out = copy(body)
  out.object, out.choices, out.usage = object, nil, nil
  return out
end

local function chunk(head, choices, usage)
  local out = copy(head)
  out.choices, out.usage = choices, usage
  return json.encode(out)
end

-- A message as the delta that makes it: its tool calls are numbered.
local function delta_of(message)
  local out = copy(message)
  if type(out.tool_calls) == "table" then
    local calls = {}
    for i, call in ipairs(out.tool_calls) do
      calls[i] = copy(call)
      calls[i].index = i - 1
    end
    out.tool_calls = calls[1] and calls or nil
  end
  return out
end

local builders = {}

function builders.chat(body)
  local head, deltas, ends = head_of(body, "chat.completion.chunk"), {}, {}
  for i, choice in ipairs(body.choices) do
    deltas[i], ends[i] = copy(choice), { index = choice.index, delta = {} }
    deltas[i].message, deltas[i].delta = nil, delta_of(choice.message)
    ends[i].finish_reason = choice.finish_reason
    deltas[i].finish_reason = json.null
  end
  return head, { chunk(head, deltas), chunk(head, ends) }
end

function builders.complete(body)
  local head = head_of(body, body.object)
  return head, { chunk(head, body.choices) }
end

--- The data of the events, in order, without the end mark.
---@param kind "chat"|"complete"|"responses"
---@param body table decoded
---@param usage boolean does the client want it in an event of its own?
---@return table[] list of { data =, event = }
function chunks.of(kind, body, usage)
  if kind == "responses" then
    local out = {}
    for i, name in ipairs { "response.created", "response.completed" } do
      out[i] = { event = name, data = json.encode { type = name, sequence_number = i - 1,
        response = body } }
    end
    return out
  end
  local head, list = builders[kind](body)
  for i, data in ipairs(list) do list[i] = { data = data } end
  if usage and type(body.usage) == "table" then
    list[#list + 1] = { data = chunk(head, json.array(), body.usage) }
  end
  return list
end

return chunks
