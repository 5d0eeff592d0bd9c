--- What lua-openai is given: an answer as LuaSocket gives it, of a call of ours.
--
-- A failure is an answer too, with an error as OpenAI's servers and our gateway tell it. Only a
-- body that breaks off after its status is nil and a message, which lua-openai raises.
local errors = require "unbusy.gateway.errors"
local event_text = require "unbusy.event_text"
local json = require "unbusy.json"

local answer = {}

-- {== Headers =============================================================

-- Headers of an answer, and what is to be known of how it came.
local function headers_of(reply, length)
  local out = {}
  for name, value in pairs(reply.headers or {}) do out[name] = value end
  out["transfer-encoding"], out["content-length"] = nil, length and ("%d"):format(length)
  out["x-unbusy-source"], out["x-unbusy-target"] = reply.source, reply.target
  out["x-unbusy-tries"] = reply.tries and ("%d"):format(reply.tries)
  if reply.failure then out["x-unbusy-code"] = reply.failure.code end
  return out
end

local function result(status, headers)
  return 1, status, headers, ("HTTP/1.1 %d"):format(status)
end

-- }========================================================================

-- {== Bodies ==============================================================

local function nowhere() return 1 end

-- Gives the sink all that `read` gives: true; or nil and a message where that breaks off or the
-- sink wants no more. `close` ends what has not been read; an error of the sink is raised.
local function pump(read, close, sink)
  repeat
    local bytes, message, code = read()
    local ok, taken, refused = pcall(sink, bytes, message)
    if not ok then
      close()
      error(taken, 0)
    end
    if code then return nil, message end
    if bytes and not taken then
      close()
      return nil, refused or "the sink takes no more"
    end
  until not bytes
  return true
end

-- A body that is whole.
local function whole(r, status, text, headers)
  local rest = text ~= "" and text or nil
  local ok, message = pump(function()
    local bytes = rest
    rest = nil
    return bytes
  end, nowhere, r.sink or nowhere)
  if not ok then return nil, message end
  return result(status, headers)
end

-- The status is the server's own, where the failure is one that it has told by a status.
local function failed(r, message, code, detail)
  local refusal, told = errors.of_call(message, code, detail, false), detail.status or 0
  if told >= 400 then
    refusal = errors.new(told, message, { code = refusal.code, headers = refusal.headers })
  end
  local text = errors.text(refusal)
  refusal.headers["content-type"] = "application/json"
  refusal.headers["content-length"] = ("%d"):format(#text)
  return whole(r, refusal.status, text, refusal.headers)
end

-- }========================================================================

-- {== Calls ===============================================================

local function of_reply(r, reply)
  local text = reply.raw
  if not text then
    local body = reply.body
    if reply.source == "fallback" and reply.status >= 400 then
      body = errors.added(body, errors.of_fallback(reply, false))
    end
    text = assert(json.encode_mended(body))
  end
  local headers = headers_of(reply, #text)
  headers["content-type"] = headers["content-type"] or "application/json"
  return whole(r, reply.status, text, headers)
end

-- What gives the events of a stream as text, and its end.
local function reader(r, stream)
  local wants_usage, ended = event_text.wants_usage(r.decoded), r.kind == "responses"
  return function()
    while true do
      local piece, message, code = stream:read()
      if code then return nil, message, code end
      if not piece then
        if ended then return nil end
        ended = true
        return event_text.DONE
      end
      local text = event_text.of_piece(piece, wants_usage)
      if text then return text end
    end
  end
end

local function of_stream(r, stream)
  if stream.source == "fallback" and stream.status >= 400 then
    return of_reply(r, stream:reply())
  end
  local headers = headers_of(stream)
  headers["content-type"] = headers["content-type"] or "text/event-stream"
  local ok, message = pump(reader(r, stream), function() stream:close() end, r.sink or nowhere)
  if not ok then return nil, message end
  return result(stream.status, headers)
end

local function of_passed(r, passed)
  local headers = headers_of(passed, tonumber(passed.headers["content-length"]))
  local ok, message = pump(function() return passed:read() end, function() passed:close() end,
    r.sink or nowhere)
  if not ok then return nil, message end
  return result(passed.status, headers)
end

local function options_of(r, given)
  local out = {}
  for name, value in pairs(given) do out[name] = value end
  out.headers, out.raw = r.headers, r.kind and r.body or nil
  return out
end

-- }========================================================================

--- Makes the call, and gives its answer to the request's sink.
---@param client table
---@param r table see `unbusy.lua_openai.asked`
---@param given table options of the call
---@return integer? one, integer|string status nil: a message; table? headers, string? status_line
function answer.give(client, r, given)
  local o = options_of(r, given)
  local way, got, message, code, detail
  if not r.kind then
    way, o.headers = of_passed, nil
    got, message, code, detail = client:pass({ method = r.method, path = r.path,
      headers = r.headers, body = r.body ~= "" and r.body or nil }, o)
  elseif r.decoded.stream == true and r.kind ~= "embed" then
    way = of_stream
    got, message, code, detail = client:stream(r.decoded, o)
  else
    way = of_reply
    got, message, code, detail = client[r.kind](client, r.decoded, o)
  end
  if not got then return failed(r, message, code, detail) end
  return way(r, got)
end

return answer
