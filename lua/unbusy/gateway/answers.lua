--- Answers as they leave: their header, and bodies that are whole.
local errors = require "unbusy.gateway.errors"
local json = require "unbusy.json"
local log = require "unbusy.gateway.log"

local answers = {}

-- What of an upstream's header goes on to the client.
local passed_groups = { "^x%-request%-id$", "^openai%-[%w_-]*$", "^x%-ratelimit%-[%w_-]*$" }

local LONGEST = 1024 -- bytes of a value that goes on
local MOST = 32      -- of them, in all

local passes, names = {}, 0 -- what was found out: upstreams always send the same names
local MOST_NAMES = 1000

local function goes_on(name)
  local known = passes[name]
  if known ~= nil then return known end
  known = false
  for _, group in ipairs(passed_groups) do known = known or name:find(group) ~= nil end
  if names >= MOST_NAMES then passes, names = {}, 0 end
  passes[name], names = known, names + 1
  return known
end

--- Can the value stand in a header as it is?
---@param value any
---@param most integer? bytes that it may have
function answers.is_plain(value, most)
  return type(value) == "string" and #value <= (most or LONGEST)
    and not value:find "[%z\1-\31\127-\255]"
end

-- The upstream's own header, as far as it goes on.
local function set_theirs(headers)
  local count = 0
  for name, value in pairs(headers or {}) do
    if count < MOST and goes_on(name) and answers.is_plain(value) then
      ngx.header[name] = value
      count = count + 1
    end
  end
end

--- Sets what an answer says of its call.
---@param ctx table
---@param answer table reply or stream
function answers.set_header(ctx, answer)
  local header = ngx.header
  set_theirs(answer.headers)
  if not header["x-request-id"] then header["x-request-id"] = ctx:id() end
  header["x-unbusy-source"] = answer.source
  if answers.is_plain(answer.target) then header["x-unbusy-target"] = answer.target end
  header["x-unbusy-tries"] = answer.tries
  if answer.hedged then header["x-unbusy-hedged"] = answer.hedged.won and "won" or "lost" end
  if answer.age then header["age"] = ("%.0f"):format(math.floor(answer.age)) end
  if answer.failure then header["x-unbusy-code"] = answer.failure.code end
  if answer.fallback then header["x-unbusy-fallback"] = answer.fallback.kind end
  if answer.weak then header["x-unbusy-weak"] = answer.weak end
  if answer.escalated then header["x-unbusy-escalated"] = answer.escalated.reason end
end

--- Sends what was printed, and waits for a slow reader: nobody's memory fills. False when the
--- client has gone. One of HTTP 1.0 is sent everything at the end: nginx keeps it.
---@return boolean
function answers.flush()
  local ok, message = ngx.flush(true)
  return ok ~= nil or message == "buffering"
end

--- Sends some of a body.
---@param bytes string|string[]
---@return boolean is somebody there?
function answers.write(bytes)
  return ngx.print(bytes) ~= nil and answers.flush()
end

local function set_status(ctx, status, length, kind)
  ctx.status = status
  ngx.status = status
  ngx.header["content-type"] = kind or "application/json"
  ngx.header["content-length"] = length
end

--- Sends a body that is whole.
---@param ctx table
---@param status integer
---@param text string
---@param kind string? its type; JSON by default
function answers.send(ctx, status, text, kind)
  set_status(ctx, status, #text, kind)
  if ctx.method ~= "HEAD" then ngx.print(text) else ngx.send_headers() end
end

local SOME = 16384 -- bytes that are sent at a time

--- Sends a body whose pieces are there, some at a time. (As one text it would be copied at once,
--- into memory that the system has to find first, while nobody else has a turn.)
---@param ctx table
---@param pieces string[]
---@param kind string its type
---@param pause function called now and then
function answers.send_pieces(ctx, pieces, kind, pause)
  local length, some, size = 0, {}, 0
  for i = 1, #pieces do length = length + #pieces[i] end
  set_status(ctx, 200, length, kind)
  if ctx.method == "HEAD" then return ngx.send_headers() end
  for _, piece in ipairs(pieces) do
    if size >= SOME then
      if not answers.write(some) then return end
      some, size = {}, 0
      pause()
    end
    some[#some + 1], size = piece, size + #piece
  end
  ngx.print(some) -- whoever has all of it finds the request counted: nothing waits from here on
end

--- Sends a reply: the upstream's bytes, where they came whole.
---@param ctx table
---@param reply table
function answers.reply(ctx, reply)
  log.answer(ctx, reply)
  answers.set_header(ctx, reply)
  local body = reply.body
  if reply.source == "fallback" and reply.status >= 400 then
    local e = errors.of_fallback(reply, ctx.gateway.retries)
    for name, value in pairs(e.headers) do ngx.header[name] = value end
    body = errors.added(reply.body, e)
  end
  answers.send(ctx, reply.status, reply.raw or assert(json.encode_mended(body)))
end

--- Sends a refusal.
---@param ctx table
---@param refusal table see `unbusy.gateway.errors`
---@param text string? in place of its own
function answers.refuse(ctx, refusal, text)
  for name, value in pairs(refusal.headers or {}) do
    if answers.is_plain(value) then ngx.header[name] = value end
  end
  if not ngx.header["x-request-id"] then ngx.header["x-request-id"] = ctx:id() end
  local record = log.notes(ctx)
  if not record.code then record.code = refusal.code end
  answers.send(ctx, refusal.status, text or errors.text(refusal))
end

return answers
