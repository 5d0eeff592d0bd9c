--- Streams: server-sent events, one by one as they come.
--
-- Until the upstream's first byte of answer the call may still go elsewhere, or fail with a status
-- of its own. Whoever waits longer than `gateway.ping` is sent a comment; then status 200 is out,
-- and a failure comes as an event. `[DONE]` is only said after a good end.
local answers = require "unbusy.gateway.answers"
local errors = require "unbusy.gateway.errors"
local event_text = require "unbusy.event_text"
local json = require "unbusy.json"
local lengths = require "unbusy.gateway.lengths"
local log = require "unbusy.gateway.log"

local events = {}

-- {== Writing =============================================================

local function begin(ctx, status)
  if ctx.begun then return end
  ctx.begun, ctx.status, ngx.status = true, status, status
  local header = ngx.header
  header["content-type"] = "text/event-stream; charset=utf-8"
  header["cache-control"] = "no-cache"
  header["x-accel-buffering"] = "no" -- for an nginx before this one
end

local function write(ctx, text)
  begin(ctx, 200)
  return ngx.print(text) ~= nil
end

-- The number of the next event of a response: readers look at each, the last one's too.
local function next_number(ctx)
  local last = (ctx.last_data or ""):match '"sequence_number"%s*:%s*(%d+)'
  local number = last and tonumber(last) + 1 or 0
  return number < 2 ^ 53 and number or 0
end

-- A failure when status 200 is out.
local function error_event(ctx, refusal)
  local text = errors.text(refusal)
  if ctx.kind ~= "responses" then return "data: " .. text .. "\n\n" end
  return event_text.of { event = "error", data = assert(json.encode { type = "error",
    message = refusal.message, code = refusal.code or json.null, param = json.null,
    sequence_number = next_number(ctx), error = json.decode(text).error }) }
end

-- }========================================================================

-- {== While nothing has come ==============================================

local function ping(ctx, seconds)
  while true do
    ngx.sleep(seconds)
    if not write(ctx, ": ping\n\n") or not answers.flush() then return ctx:leave() end
  end
end

-- Makes the call; the client is told that it waits.
local function call(ctx, request, given)
  local seconds = ctx.gateway.options.ping
  local thread = seconds and ngx.thread.spawn(ping, ctx, seconds)
  local ok, stream, message, code, detail = pcall(ctx.client.stream, ctx.client, request, given)
  if thread then ngx.thread.kill(thread) end
  if not ok then error(stream, 0) end
  return stream, message, code, detail
end

-- }========================================================================

-- {== The answer ==========================================================

-- The text to write for a piece; nil for none.
local function text_of(ctx, piece)
  ctx.answered = ctx.answered + lengths.of(piece)
  if ctx.kind == "responses" and piece.data then ctx.last_data = piece.data end
  return event_text.of_piece(piece, ctx.wants_usage)
end

-- Writes events until the end: true, or false where the client has gone, or nil and a failure.
local function pump(ctx, stream)
  while true do
    local piece, message, code, detail = stream:read()
    if code then return nil, message, code, detail end
    if not piece then break end
    local text = text_of(ctx, piece)
    if text and not write(ctx, text) then return false end
    if not stream:is_ready() and not answers.flush() then return false end
  end
  return ctx.kind == "responses" or write(ctx, event_text.DONE)
end

-- As `pump`; the client is told that it waits while somebody is asked to go on with what broke off.
local function pump_on(ctx, stream)
  local seconds, thread = ctx.gateway.options.ping, nil
  if not seconds or not stream:is_resumable() then return pump(ctx, stream) end
  local function tell(begins)
    if thread then ngx.thread.kill(thread) end
    thread = begins and ngx.thread.spawn(ping, ctx, seconds) or nil
  end
  stream.on_resume = tell
  local ok, good, message, code, detail = pcall(pump, ctx, stream)
  tell(false) -- a request whose thread goes on does not end
  if not ok then error(good, 0) end
  return good, message, code, detail
end

local function failed(ctx, message, code, detail)
  log.failure(ctx, code, detail)
  if ctx.gone then return nil end
  local refusal = errors.of_call(message, code, detail, ctx.gateway.retries)
  if not ctx.begun then return refusal end
  write(ctx, error_event(ctx, refusal))
end

--- Serves a request that asks for a stream.
---@param ctx table
---@param request table
---@param given table options of the call
---@return table? refusal
function events.serve(ctx, request, given)
  ctx.wants_usage = event_text.wants_usage(request)
  local stream, message, code, detail = call(ctx, request, given)
  if not stream then return failed(ctx, message, code, detail) end
  if not ctx.begun then
    -- Who asked for a stream and gets a status of failure reads no events.
    if stream.source == "fallback" and stream.status >= 400 then
      return answers.reply(ctx, stream:reply())
    end
    answers.set_header(ctx, stream)
  end
  begin(ctx, stream.status)
  ctx.answered = 0
  local ok
  ok, message, code, detail = pump_on(ctx, stream)
  if ok == false then ctx:leave() end
  stream:close()
  local whole = ok and stream:reply()
  if whole and ctx.key.tokens then -- pieces tell of the first choice only
    ctx.answered = math.max(ctx.answered, lengths.of(whole))
  end
  log.answer(ctx, whole or stream)
  if ok == false then log.left(ctx) end
  if code then return failed(ctx, message, code, detail) end
end

-- }========================================================================

return events
