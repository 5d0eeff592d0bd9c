--- One try: sends the request to the place that was given and judges what comes back.
--
-- A stream comes back at its first byte of answer: until then every stage above may still go
-- elsewhere. Five clocks run: connect (in the engine), headers and start (from sending;
-- keep-alives and blank lines re-arm nothing), token (between bytes of answer), and the call's
-- own deadline over all.
local json = require "unbusy.json"
local news = require "unbusy.news"
local reply = require "unbusy.reply"
local retry_after = require "unbusy.retry_after"
local source = require "unbusy.source"
local tokens = require "unbusy.token_clock"

local SHORT = 2 -- seconds; a clock of the caller's own below that says nothing of a target
local REFUSAL = 5 -- seconds that the body of a refusal may take; its status says enough
local MOST_BYTES = 64 * 1024 * 1024 -- of an expanded answer, unless the target says otherwise

-- {== The request =========================================================

-- The body's bytes for one model name; the same for every try with that name.
local function encoded(call, provider, model, streaming)
  if call.kind == "post" then
    if type(call.request) == "string" then return call.path, call.request end
    local text, message = json.encode(call.request)
    return text and call.path, text or message
  end
  local known = call.bodies and call.bodies[model or ""]
  if known then return known.path, known.text end
  local path, body = provider.request(call.kind, call.request, streaming)
  body.model = model
  local text, message = json.encode(body)
  if not text then return nil, message end
  call.bodies = call.bodies or {}
  call.bodies[model or ""] = { path = path, text = text }
  return path, text
end

-- Our header lines, but for those that the target sets itself, and then the target's.
local function header_lines(target, key, streaming)
  local lines, own = {}, {}
  for name, value in pairs(target.extra_headers) do
    lines[#lines + 1] = name .. ": " .. value
    own[name:lower()] = true
  end
  local ours = target.provider.headers(key:secret())
  ours[#ours + 1] = "content-type: application/json"
  ours[#ours + 1] = streaming and "accept: text/event-stream" or "accept: application/json"
  ours[#ours + 1] = "user-agent: unbusy"
  for _, line in ipairs(ours) do
    if not own[line:match("^[^:]+"):lower()] then lines[#lines + 1] = line end
  end
  return lines
end

local function build(call, streaming)
  local place = call.place
  local target, tls = place.target, place.target.tls or {}
  local path, body = encoded(call, target.provider, place.model, streaming)
  if not path then return nil, body end
  return {
    url = target.provider.url(target.url, path), method = "POST", body = body,
    headers = header_lines(target, place.key, streaming), connect = call.clocks.connect,
    most = target.limits and target.limits.body or MOST_BYTES, proxy = target.proxy,
    ca_file = tls.ca, ca_path = tls.ca_path, cert_file = tls.cert, key_file = tls.key,
    insecure = tls.verify == false, http1 = tls.http2 == false,
  }
end

-- }========================================================================

-- {== Failures ============================================================

local function without(message, secret)
  if not secret or #secret < 4 then return message end
  return (message:gsub(secret:gsub("%p", "%%%0"), "***"))
end

-- A server may repeat the key or a header it was sent: nobody else is to read it.
local function masked(call, message)
  message = without(message, call.place.key:secret())
  for _, value in pairs(call.place.target.extra_headers) do message = without(message, value) end
  return message
end

-- A server that kept us in its queue, and then let us go without an answer, was busy.
local gone = { empty = true, cut = true, network = true }

-- A failure of this try, told outside-in: "deepseek: start: nothing but keep-alives for 20 s".
local function failed(call, try, message, code, detail)
  detail = detail or {}
  if gone[code] and try.keep_alives > 0 and not try.start then
    code, message = "busy", "nothing but keep-alives, then the end"
  end
  detail.target, detail.status = try.target, detail.status or try.status
  detail.phase = detail.phase or try.phase
  message = masked(call, message)
  try.code, try.message, try.seconds = code, message, call.loop.now() - try.began
  local text = detail.phase and ("%s: %s: %s"):format(try.target, detail.phase, message)
    or ("%s: %s"):format(try.target, message)
  call:emit("failed", { target = try.target, number = try.number, code = code, message = text,
    status = detail.status, phase = detail.phase, seconds = try.seconds })
  return nil, text, code, detail
end

-- What a clock that ran out says about the target. Nothing, when the caller gave less than an
-- answer usually takes, or when most of the time went by before the try began.
local function verdict_of_silence(call, clock, waited)
  if call:shortened(clock) then
    local l = call.place.limiter
    local usual = l and l:stats().round_trip or 0
    return waited < math.max(SHORT, usual) and "neutral" or "silent"
  elseif clock == "total" and waited < (call.deadline - call.started) / 2 then
    return "neutral"
  end
end

-- A clock ran out. Keep-alives and nothing else are the sign of a busy server.
local function too_late(call, try, clock)
  local waited = call.loop.now() - try.began
  local detail = { phase = clock }
  local code, message = "timeout", ("nothing for %.3g s"):format(waited)
  if try.keep_alives > 0 and not try.start then
    message = ("nothing but keep-alives for %.3g s"):format(waited)
    detail.verdict = "busy"
    if clock == "start" then code = "busy" end
  end
  if detail.verdict == nil then detail.verdict = verdict_of_silence(call, clock, waited) end
  return failed(call, try, message, code, detail)
end

-- The wait that the server asks for, in its header or its words.
local function note_wait(detail, headers, text)
  detail.retry_after = retry_after.parse(headers, { body = text })
  return detail
end

-- }========================================================================

-- {== Reading =============================================================

-- The nearer of a clock's end and the call's deadline, and which of them it is.
local function limit_of(call, try, clock)
  local seconds = clock and call.clocks[clock]
  local at = seconds and try.began + seconds or math.huge
  if at < call.deadline then return at, clock end
  return call.deadline, "total"
end

-- libcurl has sent the request a second time, since a kept connection was dead: the server may have
-- seen both, and the count of tries does not show it.
local function note_resent(call, try)
  try.resent = true
  call:emit("resent", { target = try.target, number = try.number })
end

local function await_head(call, try, x, clock)
  local limit, name = limit_of(call, try, clock)
  local kind, a, b, c = news.await(call.loop, x, limit)
  if kind == "late" then return too_late(call, try, name) end
  if kind == "head" and c or kind == "end" and c.resent then note_resent(call, try) end
  if kind == "end" then
    return failed(call, try, b or "no answer", a or "upstream", { phase = c.phase })
  end
  try.status, try.phase = a, nil
  return { status = a, headers = b }
end

-- The server keeps the connection, and that is all it does.
local function note_keep_alive(call, try, count)
  try.keep_alives = count
  call:emit("keep_alive", { target = try.target, number = try.number,
    seconds = call.loop.now() - try.began })
end

local function note_start(call, try)
  try.start = call.loop.now() - try.began
  call.place:started(try.start)
end

-- The body of a refusal, or what has come of it in a short while.
local function read_refusal(call, x)
  local limit = math.min(call.loop.now() + REFUSAL, call.deadline)
  local parts = {}
  while true do
    local kind, bytes = news.await(call.loop, x, limit)
    if kind ~= "data" or call.loop.now() >= limit then return table.concat(parts) end
    parts[#parts + 1] = bytes
  end
end

-- Reads the body to its end. Blank bytes before the first other one are keep-alives.
local function read_body(call, try, x, clock)
  local limit, name = limit_of(call, try, clock)
  local parts, begun = {}, false
  while true do
    local kind, a, b, c = news.await(call.loop, x, limit)
    local over = kind == "late" or not begun and call.loop.now() >= limit
    if over then return too_late(call, try, name) end
    if kind == "end" then
      if a then return failed(call, try, b, a, { phase = c.phase }) end
      return table.concat(parts)
    elseif a:find "%S" then
      if not begun then
        begun, try.start = true, call.loop.now() - try.began
        limit, name = limit_of(call, try)
      end
      parts[#parts + 1] = a
    elseif begun then
      parts[#parts + 1] = a
    else
      note_keep_alive(call, try, try.keep_alives + 1)
    end
  end
end

-- The whole answer of a head that has come, or what is wrong with it.
local function judge(call, try, x, head, clock)
  local text, message, code, detail
  if head.status >= 300 then
    text = read_refusal(call, x)
  else
    text, message, code, detail = read_body(call, try, x, clock)
    if not text then return nil, message, code, detail end
  end
  local answer
  answer, message, code, detail =
    call.place.target.provider.read(call.kind, head.status, head.headers, text)
  if answer then return answer end
  return failed(call, try, message, code, note_wait(detail, head.headers, text))
end

local function is_event_stream(head)
  local kind = head.headers["content-type"] or ""
  return head.status == 200 and kind:lower():find("text/event-stream", 1, true) == 1
end

-- }========================================================================

-- {== Streams =============================================================

local function failed_piece(call, try, message, code, detail, clock)
  if code == "late" then return too_late(call, try, clock) end
  return failed(call, try, message, code, detail)
end

-- Reads up to the first byte of answer; what came before it is put back.
local function await_start(call, try, pieces)
  local limit, clock = limit_of(call, try, "start")
  local seen = {}
  pieces.on_keep_alive = function(count) note_keep_alive(call, try, count) end
  repeat
    local piece, message, code, detail = pieces:read(limit)
    if code then return failed_piece(call, try, message, code, detail, clock) end
    seen[#seen + 1] = piece
  until not piece or piece.started
  pieces.on_keep_alive = nil
  pieces:unread(seen)
  note_start(call, try)
  return true
end

-- The rest of an answer that the caller wants whole.
local function read_rest(call, try, pieces)
  local clock = tokens.new(call)
  while true do
    local piece, message, code, detail = clock:read(pieces)
    if code then return failed(call, try, message, code, detail) end
    if not piece then return pieces:answer() end
  end
end

-- A stream was asked for and a whole answer came: one piece.
local function whole_as_stream(call, try, x, head)
  local answer, message, code, detail = judge(call, try, x, head, "start")
  if not answer then return nil, message, code, detail end
  note_start(call, try)
  local piece = { text = answer.text, reasoning = answer.reasoning, tool_calls = answer.tool_calls,
    finish = answer.finish, usage = answer.usage, started = true }
  return source.of_list({ piece }, answer)
end

local function open_pieces(call, try, x, head)
  if not is_event_stream(head) then return whole_as_stream(call, try, x, head) end
  local pieces = source.new(call.loop, x, call.place.target.provider.assembler(call.kind))
  local ok, message, code, detail = await_start(call, try, pieces)
  if not ok then return nil, message, code, detail end
  return pieces
end

local function receive_stream(call, try, x)
  local head, message, code, detail = await_head(call, try, x, "headers")
  if not head then return nil, message, code, detail end
  local pieces
  pieces, message, code, detail = open_pieces(call, try, x, head)
  if not pieces then return nil, message, code, detail end
  if call.streaming then return reply.of_stream(call, try, head, pieces) end
  local answer
  answer, message, code, detail = read_rest(call, try, pieces)
  if not answer then return nil, message, code, detail end
  return reply.of_answer(call, try, head, answer)
end

-- }========================================================================

local function receive_whole(call, try, x)
  local start = call.options.given_clocks and call.options.given_clocks.start and "start" or nil
  local head, message, code, detail = await_head(call, try, x, start)
  if not head then return nil, message, code, detail end
  local answer
  answer, message, code, detail = judge(call, try, x, head, start)
  if not answer then return nil, message, code, detail end
  return reply.of_answer(call, try, head, answer)
end

local streams = { chat = true, complete = true }

---@param call table
return function(call)
  local streaming = call.streaming or call.upstream_stream and streams[call.kind]
  local request, message = build(call, streaming)
  if not request then return nil, message, "invalid", {} end -- nothing was sent: no try
  local try = call:begin_try(call.place)
  local x, code
  x, message, code = call.loop.open(request)
  if not x then return failed(call, try, message, code, { phase = "connect" }) end
  call:hold(x)
  local receive = streaming and receive_stream or receive_whole
  local answer, why, how, detail = receive(call, try, x)
  if not (answer and answer.pieces) then
    call:release(x)
    x:close()
  end
  if answer then
    try.seconds = call.loop.now() - try.began
    call:emit("answer", { target = try.target, number = try.number, seconds = try.seconds })
  end
  return answer, why, how, detail
end
