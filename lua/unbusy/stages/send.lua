--- One try: sends the request to the place that was given and judges what comes back.
--
-- A stream comes back at its first byte of answer: until then every stage above may still go
-- elsewhere. Six clocks run: connect (in the engine), headers and start (from sending;
-- keep-alives and blank lines re-arm nothing), token (between bytes of answer), the try's own, and
-- the call's deadline over all.
--
-- A policy's `classify` is asked after each try that failed, and for each whole good answer; the
-- code that it gives is what everybody is told.
local codes = require "unbusy.codes"
local facts = require "unbusy.policy.facts"
local news = require "unbusy.news"
local passed = require "unbusy.passed"
local passing = require "unbusy.passing"
local reply = require "unbusy.reply"
local requests = require "unbusy.requests"
local retry_after = require "unbusy.retry_after"
local source = require "unbusy.source"
local spliced = require "unbusy.resume.spliced"
local tokens = require "unbusy.token_clock"
local watch = require "unbusy.watch"

local byte, huge = string.byte, math.huge

local SHORT = 2 -- seconds; a clock of the caller's own below that says nothing of a target
local REFUSAL = 5 -- seconds that the body of a refusal may take; its status says enough

-- {== Failures ============================================================

local ours = { cancelled = true, closed = true, nomem = true } -- nothing of these is the upstream's

-- A server that kept us in its queue, and then let us go without an answer, was busy.
local gone = { empty = true, cut = true, network = true }

-- The failure as a policy sees it: another code, perhaps, and then nothing else that was concluded
-- from the first one.
local function reclassified(call, try, message, code, detail)
  local policy, target = call.policy, call.place.target
  if ours[code] or not policy:decides("classify", target) then return message, code end
  try.message, try.default_code = message, code
  local decided, other = policy:ask(call, "classify", target, facts.try(call, try, code, detail))
  if not decided or other == code then return message, code end
  detail.verdict, detail.lasting, detail.should_retry = nil, nil, nil
  return ("%s (%s, says the policy)"):format(message, other), other
end

-- Why a try failed, whatever its server seems to say; and what the policy makes of that.
local function judged(call, try, message, code, detail)
  if call.stopped or call.lost then
    if not call.stopped then call.place:outrun(call.loop.now() - try.began) end
    message, code = call:reason()
    return message, code, {}
  elseif try.given_up then
    return ("%.3g s in its queue, and another target is free"):format(call.loop.now() - try.began),
      "busy", { phase = "start", verdict = "queued" }
  end
  detail = detail or {}
  if gone[code] and try.keep_alives and not try.start then
    code, message = "busy", "nothing but keep-alives, then the end"
  end
  message = call.place.target.secrets.hide(message)
  if call.policy then
    facts.note(call, try, try.said)
    message, code = reclassified(call, try, message, code, detail)
  end
  return message, code, detail
end

-- The try has failed, told outside-in: "deepseek: start: nothing but keep-alives for 20 s".
local function fail(call, try, message, code, detail)
  detail.target, detail.status = try.target, detail.status or try.status
  local id = try.headers and try.headers["x-request-id"]
  if type(id) == "string" then detail.request_id = call.place.target.secrets.hide(id) end
  try.code, try.message, try.seconds = code, message, call.loop.now() - try.began
  try.headers = nil -- they have been read, and may repeat what is secret
  local text = detail.phase and ("%s: %s: %s"):format(try.target, detail.phase, message)
    or ("%s: %s"):format(try.target, message)
  call:emit("failed", { target = try.target, number = try.number, code = code, message = text,
    status = detail.status, phase = detail.phase, seconds = try.seconds })
  return nil, text, code, detail
end

local function failed(call, try, message, code, detail)
  return fail(call, try, judged(call, try, message, code, detail))
end

-- What a clock that ran out says about the target. Nothing, when the caller gave less than an
-- answer usually takes, or when most of the time went by before the try began.
local function verdict_of_silence(call, clock, waited)
  if call:shortened(clock) then
    local l = call.place.target:limiter(call.place.model)
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
  if try.keep_alives and not try.start then
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

-- When a try's own clock runs out.
local function try_end_of(call, try)
  local seconds = (call.options.clocks or call.client.clocks).try
  return seconds and try.began + seconds or huge
end

-- Until when a try may last: to the end of its own clock or the call's, and which of them it is.
local function end_of(call, try)
  local at, deadline = try_end_of(call, try), call.deadline
  if at < deadline then return at, "try" end
  return deadline, "total"
end

-- The nearer of that and the clock's end that runs while something is waited for: "headers" or
-- "start". A "whole" answer has one, for its start, only where the call was given that.
local function limit_of(call, try, clock)
  local last, name = end_of(call, try)
  if clock == "whole" then
    local given = call.options.given_clocks
    if not (given and given.start) then return last, name end
    clock = "start"
  end
  local seconds = call:clock(clock)
  local at = seconds and try.began + seconds or huge
  if at < last then return at, clock end
  return last, name
end

-- It was the call's time that was up at `limit`, and one who has more of it has joined since.
local function has_more_time(call, clock, limit)
  return clock == "total" and call.deadline > limit
end

-- libcurl has sent the request a second time, since a kept connection was dead: the server may have
-- seen both, and the count of tries does not show it.
local function note_resent(call, try)
  try.resent = true
  call:emit("resent", { target = try.target, number = try.number })
end

-- What the end of a transfer says of its failure: `lasting` when it would come again.
local function of_end(info)
  return { phase = info.phase, lasting = info.lasting or nil }
end

-- The next news of a try that has not begun to answer. Mostly it is there, and nobody watches.
local function await(call, try, x, limit)
  if try.watch then return try.watch:await(x, limit) end
  local kind, a, b, c, d = x:take()
  if kind then return kind, a, b, c, d end
  return news.wait(call.loop, x, limit)
end

-- Notes the answer's status and headers in the try; or a failure.
local function await_head(call, try, x, waits_for)
  local limit, clock = limit_of(call, try, waits_for)
  local kind, a, b, c, echoes = await(call, try, x, limit)
  if kind == "head" then
    if c then note_resent(call, try) end
    try.status, try.headers = a, b
    call.place:told(b)
    if echoes ~= false then try.echoes = true end -- some loops do not know
    return true
  end
  if kind == "late" then
    if has_more_time(call, clock, limit) then return await_head(call, try, x, waits_for) end
    return too_late(call, try, clock)
  end
  if c.resent then note_resent(call, try) end
  return failed(call, try, b or "no answer", a or "upstream", of_end(c))
end

-- The server keeps the connection, and that is all it does: the call stands in its queue. True
-- where whoever reads is to look at that.
local function note_keep_alive(call, try, count)
  local seconds = call.loop.now() - try.began
  try.keep_alives, try.queued = count, seconds
  call.place:queues(seconds)
  call:emit("keep_alive", { target = try.target, number = try.number, seconds = seconds })
  return try.watch and try.watch:hear()
end

-- The answer has begun, and will be given. (Of a whole one the beginning has been noted already.)
local function note_start(call, try)
  local begins = not try.start
  if begins then try.start = call.loop.now() - try.began end
  call.place:started(try.start)
  if begins and try.watch then try.watch:started(try.start) end
  if call.race then call.race:lead(call) end
end

-- The body of a refusal, or what has come of it in a short while.
local function read_refusal(call, try, x)
  local limit = math.min(call.loop.now() + REFUSAL, (end_of(call, try)))
  local parts = {}
  while true do
    local kind, bytes = news.await(call.loop, x, limit)
    if kind ~= "data" or call.loop.now() >= limit then return table.concat(parts) end
    parts[#parts + 1] = bytes
  end
end

-- Reads up to the first bytes that are not blank: the bytes, or "" where none came. Blank bytes
-- before them are keep-alives.
local function read_first(call, try, x, waits_for)
  local limit, clock = limit_of(call, try, waits_for)
  local kind, a, b, c = await(call, try, x, limit)
  local now = call.loop.now()
  if (kind == "late" or now >= limit) and not has_more_time(call, clock, limit) then
    return too_late(call, try, clock)
  elseif kind == "late" then
    return read_first(call, try, x, waits_for)
  elseif kind == "end" then
    if a then return failed(call, try, b, a, of_end(c)) end
    return ""
  elseif byte(a) > 32 or a:find "%S" then
    try.start = now - try.began
    call.place:begins(try.start)
    if try.watch then try.watch:started(try.start) end
    return a
  end
  note_keep_alive(call, try, (try.keep_alives or 0) + 1)
  return read_first(call, try, x, waits_for)
end

local LARGE = 262144 -- bytes of a body after which the rest is waited for in one piece

-- Reads on behind `parts`; most bodies come in one.
local function read_more(call, try, x, parts)
  local limit, name = end_of(call, try)
  local size, gathers = #parts[1] + #(parts[2] or ""), x.gather == nil
  repeat
    if size > LARGE and not gathers then -- once
      gathers = true
      if x:gather(table.concat(parts)) then parts = {} end
    end
    local kind, a, b, c = news.await(call.loop, x, limit)
    if kind == "late" then
      if not has_more_time(call, name, limit) then return too_late(call, try, name) end
      limit, name = end_of(call, try)
    elseif kind == "end" and a then
      return failed(call, try, b, a, of_end(c))
    else
      parts[#parts + 1], size = a, size + (a and #a or 0)
    end
  until kind == "end"
  return parts[2] and table.concat(parts) or parts[1]
end

-- Reads the body to its end.
local function read_body(call, try, x, waits_for)
  local first, message, code, detail = read_first(call, try, x, waits_for)
  if not first or first == "" then return first, message, code, detail end
  local kind, a, b, c = x:take()
  if kind == "end" then -- most bodies come in one, with their end right behind
    if a then return failed(call, try, b, a, of_end(c)) end
    return first
  end
  return read_more(call, try, x, kind and { first, a } or { first })
end

-- A plain answer that nobody looks into but to pass it on; nil for all others.
local function glance(call, try, text)
  local look = call.place.target.provider.glance
  local answer = look and try.status == 200 and look(call.kind, text) or nil
  if answer then answer.raw = text end
  return answer
end

-- The whole answer whose head has come, or what is wrong with it. It is perhaps not decoded, where
-- the call allows that.
local function judge(call, try, x, waits_for, undecoded)
  local target, answer = call.place.target
  local text, message, code, detail
  if try.status >= 300 then
    text = read_refusal(call, try, x)
  else
    text, message, code, detail = read_body(call, try, x, waits_for)
    if not text then return nil, message, code, detail end
    answer = undecoded and glance(call, try, text)
    if answer then return answer end
  end
  answer, message, code, detail =
    target.provider.read(call.reads or call.kind, try.status, try.headers, text,
      target.secrets.hide)
  if answer then
    answer.raw = text
    return answer
  end
  try.said = call.policy and text
  return failed(call, try, message, code, note_wait(detail, try.headers, text))
end

local function is_event_stream(try)
  local kind = try.headers["content-type"] or ""
  return try.status == 200 and kind:lower():find("text/event-stream", 1, true) == 1
end

-- }========================================================================

-- {== Streams =============================================================

local function failed_piece(call, try, message, code, detail, clock)
  if code == "late" then return too_late(call, try, clock) end
  return failed(call, try, message, code, detail)
end

local function read_piece(try, pieces, limit)
  if try.watch then return try.watch:read(pieces, limit) end
  return pieces:read(limit)
end

-- Reads up to the first byte of answer; what came before it is put back.
local function await_start(call, try, pieces)
  local limit, clock = limit_of(call, try, "start")
  local seen = {}
  pieces.on_keep_alive = function(count) return note_keep_alive(call, try, count) end
  repeat
    local piece, message, code, detail = read_piece(try, pieces, limit)
    if code == "late" and has_more_time(call, clock, limit) then
      limit, clock = limit_of(call, try, "start")
    elseif code then
      return failed_piece(call, try, message, code, detail, clock)
    end
    seen[#seen + 1] = piece
  until not code and (not piece or piece.started)
  pieces.on_keep_alive = nil
  pieces:unread(seen)
  note_start(call, try)
  return true
end

-- The rest of an answer that is wanted whole. Where a stream that is held back breaks off, it is
-- not gone on with: the next one may be given as it comes, and the caller has no beginning yet.
local function read_rest(call, try, pieces)
  local clock = tokens.new(call, try_end_of(call, try))
  while true do
    local piece, message, code, detail = clock:read(pieces)
    if code then
      if not call.streaming then spliced.note_cut(call, pieces) end
      return failed(call, try, message, code, detail)
    end
    if not piece then return pieces:answer() end
  end
end

-- A stream was asked for and a whole answer came: one piece.
local function whole_as_stream(call, try, x)
  local answer, message, code, detail = judge(call, try, x, "start")
  if not answer then return nil, message, code, detail end
  note_start(call, try)
  return source.of_answer(call.kind, answer)
end

local function open_pieces(call, try, x)
  if not is_event_stream(try) then return whole_as_stream(call, try, x) end
  local target = call.place.target
  local assembler = target.provider.assembler(call.kind, target.secrets.hide, call.request)
  local pieces = source.new(call.loop, x, assembler)
  local ok, message, code, detail = await_start(call, try, pieces)
  if not ok then return nil, message, code, detail end
  return pieces
end

-- The answer of which a part was said in tries before this one.
local function spliced_answer(call, try, rest)
  local answer, message, code, detail = spliced.join(call, rest)
  if not answer then return failed(call, try, message, code, detail) end
  local made = reply.of_answer(call, try, answer)
  if answer.resumed then made.resumed, made.cost = answer.resumed, answer.cost or nil end
  return made
end

local function receive_stream(call, try, x)
  local ok, message, code, detail = await_head(call, try, x, "headers")
  if not ok then return nil, message, code, detail end
  local pieces
  pieces, message, code, detail = open_pieces(call, try, x)
  if not pieces then return nil, message, code, detail end
  if call.streaming and not (call.holds and call.holds(call.place.target)) then
    return reply.of_stream(call, try, pieces)
  end
  local answer
  answer, message, code, detail = read_rest(call, try, pieces)
  if not answer then return nil, message, code, detail end
  if call.so_far then return spliced_answer(call, try, answer) end
  return reply.of_answer(call, try, answer)
end

-- }========================================================================

local function receive_whole(call, try, x)
  local ok, message, code, detail = await_head(call, try, x, "whole")
  if not ok then return nil, message, code, detail end
  local answer
  answer, message, code, detail = judge(call, try, x, "whole", call.options.undecoded)
  if not answer then return nil, message, code, detail end
  return reply.of_answer(call, try, answer)
end

-- {== Passing on ==========================================================

local ERROR_BYTES = 1024 * 1024 -- an error has to be read before it is passed on

-- The body of an error; or nil where it is too large, too slow or cut.
local function read_error(call, x)
  local limit = math.min(call.loop.now() + REFUSAL, call.deadline)
  local parts, size = {}, 0
  while true do
    local kind, bytes = news.await(call.loop, x, limit)
    if kind == "end" and not bytes then return table.concat(parts) end
    if kind ~= "data" then return nil end
    parts[#parts + 1], size = bytes, size + #bytes
    if size > ERROR_BYTES then return nil end
  end
end

-- An error's answer: one that says "busy" is a failure as ever, and kept for the case that nothing
-- better comes; any other is the answer. A request that somebody made up says nothing of our key
-- and account, whatever is refused to it.
local function pass_error(call, try, x)
  local target, body = call.place.target, read_error(call, x)
  local _, message, code, detail =
    target.provider.read(call.kind, try.status, try.headers, body or "", target.secrets.hide)
  if code == "busy" or code == "limited" then
    detail, try.said = note_wait(detail, try.headers, body or ""), call.policy and body
    call.refused = body and reply.of_error(call, try, body) or call.refused
    return failed(call, try, message, code, detail)
  elseif not body then
    return failed(call, try, message .. " (and a body that does not end)", "upstream", detail)
  end
  return reply.of_error(call, try, body, codes[code].breaker == "fail" and code or "invalid")
end

local function passed_on(call, try, x)
  local ok, message, code, detail = await_head(call, try, x, "whole")
  if not ok then return nil, message, code, detail end
  if try.status >= 400 then return pass_error(call, try, x) end
  note_start(call, try)
  return reply.of_passed(call, try, passed.source(call.loop, x))
end

-- Where the server has perhaps done what may not be done twice, the failure says so.
local function receive_passed(call, try, x)
  local answer, message, code, detail = passed_on(call, try, x)
  if answer then return answer end
  local said = try.default_code or code -- whatever a policy calls it
  local refused = said == "busy" or said == "limited"
  if not refused and detail.phase ~= "connect" and not passing.idempotent[call.method] then
    detail.maybe_done = true
  end
  return nil, message, code, detail
end

-- }========================================================================

-- A whole good answer, unless the policy finds that it is none.
local function approved(call, try, answer)
  local policy, target = call.policy, call.place.target
  if not policy:decides("classify", target) then return answer end
  facts.note(call, try, nil, answer)
  local decided, code = policy:ask(call, "classify", target, facts.try(call, try))
  try.seen = nil
  if not decided then return answer end
  return fail(call, try, "a poor answer, says the policy", code, {})
end

local function count_at_end(call, try, target, streaming, answer)
  answer:on_end(function(ended, how)
    call.client.meter:try_ends(call, try, target, streaming, ended, how, true)
  end)
end

-- Counts the try: now, or when its stream has ended. (LuaJIT compiles no way through a function
-- that may make another one.)
local function count(meter, call, try, streaming, answer, code)
  local target = call.place.target
  if answer and answer.pieces then
    return count_at_end(call, try, target, streaming, answer)
  end
  return meter:try_ends(call, try, target, streaming, answer, answer and answer.how or code)
end

local streams = { chat = true, complete = true, responses = true }

-- Is the whole answer to come as a stream, so that queue and start show?
local function asks_for_stream(call)
  local wanted = call.options.upstream_stream
  if wanted == nil then return call.client.upstream_stream end
  return wanted
end

-- Sends the request of a try that has begun, and receives what comes back.
local function perform(call, try, request, body, streaming)
  if try.stopped then return failed(call, try, nil, nil, { phase = "connect" }) end
  local x, message, code = call.loop.open(request, body)
  if not x then return failed(call, try, message, code, { phase = "connect" }) end
  call.exchange = x
  local policy = call.policy
  if policy or call.client.hedges.on then try.watch = watch.of(call, try, streaming) end
  local receive = streaming and receive_stream
    or call.kind == "pass" and receive_passed or receive_whole
  local answer, why, how, detail = receive(call, try, x)
  if policy and answer and answer.ended and not answer.how then
    answer, why, how, detail = approved(call, try, answer)
  end
  if not (answer and answer.pieces) then
    call.exchange = false
    x:close()
  end
  return answer, why, how, detail
end

---@param client table
---@return fun(call: table): table?, string?, string?, table?
return function(_, client)
  local meter = client.meter

  local function send(call, streaming, spares)
    local request, body, path = requests.build(call, streaming)
    if not request then return nil, body, "invalid", {} end -- nothing was sent: no try
    local try = call:begin_try(call.place)
    if meter then meter:try_begins(call, call.place.target) end
    local answer, why, how, detail = perform(call, try, request, body, streaming)
    if meter then count(meter, call, try, streaming, answer, how) end
    if not answer then
      requests.remember(call, body, path, spares)
    elseif client.on_event then
      call:emit("answer", { target = try.target, number = try.number, seconds = try.seconds })
    end
    return answer, why, how, detail
  end

  return function(call)
    local streaming = call.streaming or streams[call.kind] and asks_for_stream(call)
    local spares = requests.spares_usage(call)
    if not streaming or spares then return send(call, streaming, spares) end
    local answer, why, how, detail = send(call, streaming, false)
    if answer or not requests.spare_usage(call, why, how, detail) then
      return answer, why, how, detail
    end
    return send(call, streaming, true)
  end
end
