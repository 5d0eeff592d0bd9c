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

-- The usage that we have asked for, and nobody else has.
local function is_ours(piece)
  return piece.usage and not piece.finish and not piece.started
    and piece.data:find '"choices"%s*:%s*%[%s*%]' ~= nil
end

--- What is to be written for a piece; nil for nothing.
---@param piece table see `unbusy.stream`
---@param wants_usage boolean of the request
---@return string?
function event_text.of_piece(piece, wants_usage)
  if not piece.data or not wants_usage and is_ours(piece) then return nil end
  return event_text.of(piece)
end

return event_text
