--- The pieces of a stream as text: the server-sent events that they came as.
local event_text = {}

--- What an OpenAI server says at the end of every stream but those of responses.
event_text.DONE = "data: [DONE]\n\n"

--- One event; data of several lines is written in as many.
---@param event table { data =, event = its type, id = } as `unbusy.sse` gives
---@return string
function event_text.of(event)
  local data = event.data
  if data:find "[\r\n]" then data = data:gsub("\r\n?", "\n"):gsub("\n", "\ndata: ") end
  local name, id = event.event, event.id
  if not name and not id then return "data: " .. data .. "\n\n" end
  return (name and "event: " .. name .. "\n" or "") .. (id and "id: " .. id .. "\n" or "")
    .. "data: " .. data .. "\n\n"
end

--- Does the request ask for the usage in a stream?
---@param request table
---@return boolean
function event_text.wants_usage(request)
  local o = request.stream_options
  return type(o) == "table" and o.include_usage == true
end

-- Has a chunk no choice in it? Its list of them is empty, or, of some servers, null or not there.
local function has_no_choice(data)
  return data:find '"choices"%s*:%s*%[%s*%]' ~= nil or data:find '"choices"%s*:%s*null' ~= nil
    or not data:find('"choices"', 1, true)
end

--- Is it a chunk that has the usage and nothing else, as for who asks for that?
---@param piece table see `unbusy.stream`; with `data`
---@return boolean
function event_text.is_usage(piece)
  return piece.usage ~= nil and not piece.finish and not piece.started
    and has_no_choice(piece.data)
end

--- What is to be written for a piece; nil for nothing, as for the usage that we have asked for, and
--- nobody else has.
---@param piece table see `unbusy.stream`
---@param wants_usage boolean of the request
---@return string?
function event_text.of_piece(piece, wants_usage)
  if not piece.data or not wants_usage and event_text.is_usage(piece) then return nil end
  return event_text.of(piece)
end

return event_text
