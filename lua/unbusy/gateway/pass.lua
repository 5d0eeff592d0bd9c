--- Whatever else is below /v1: the upstream's answer as it is.
local answers = require "unbusy.gateway.answers"
local body = require "unbusy.gateway.body"
local controls = require "unbusy.gateway.controls"
local errors = require "unbusy.gateway.errors"
local headers = require "unbusy.headers"
local json = require "unbusy.json"
local log = require "unbusy.gateway.log"
local usage = require "unbusy.providers.answers"

local pass = {}

-- Headers of such requests that go on besides `gateway.forward`: what the body is, what is wanted,
-- and on which conditions. Half of these would be another request.
local more = { "content-type", "content-encoding", "accept", "range", "if-range", "if-match",
  "if-none-match", "if-modified-since", "if-unmodified-since" }

-- What nginx writes by itself, or the answer's own way decides.
local own = { date = true, server = true, connection = true, ["content-length"] = true,
  ["content-type"] = true }

-- What a server says of its whole site, or to browsers of who may read its answers: this is another
-- site, and the upstream has no say in it. (Beside `access-control-…`.)
for name in ([[alt-svc clear-site-data content-security-policy content-security-policy-report-only
  cross-origin-embedder-policy cross-origin-opener-policy cross-origin-resource-policy nel
  permissions-policy refresh report-to reporting-endpoints service-worker-allowed
  strict-transport-security timing-allow-origin x-content-type-options]]):gmatch "%S+" do
  own[name] = true
end

-- What a proxy before this gateway would obey: to send a file of its own machine instead, or one of
-- its places that nobody may ask for. (Beside `x-accel-…`, but for whether it gathers the answer.)
for name in ("x-sendfile x-lighttpd-send-file x-litespeed-location")
  :gmatch "%S+" do
  own[name] = true
end

local MOST = 64 -- headers of an answer that go on

-- Bytes of a value: of a place that is signed, as those of stores of files are, thousands.
local longest = { location = 8192 }

-- The path as it is sent: nginx has decoded it, so that no two readings of it are possible.
local function path_of(ctx)
  local path = ctx.path:gsub("^/v1", ""):gsub("[^%w%-._~!$&'()*+,;=:@/]", function(c)
    return ("%%%02X"):format(c:byte())
  end)
  local query = ngx.var.args
  return query and query ~= "" and path .. "?" .. query or path
end

local function add_headers(ctx, given)
  local lines = given.headers or {}
  for _, name in ipairs(more) do
    local value = ctx.headers[name]
    if type(value) == "string" then lines[#lines + 1] = name .. ": " .. value end
  end
  given.headers = lines[1] and lines or nil
end

local function is_order(name)
  return name:find "^access%-control%-" or name:find "^x%-accel%-" and name ~= "x-accel-buffering"
end

local function goes_on(name, value)
  return not own[name] and not is_order(name) and answers.is_plain(value, longest[name])
end

-- The name as nginx writes it: with a hyphen for "_", which may make it one that ends here.
local function written(name)
  local other, changed = name:gsub("_", "-")
  return (changed == 0 or not headers.ends_here(other)) and other
end

-- The upstream's, as far as they go on. In a browser its bytes would be a page of the gateway's:
-- one in which nothing runs.
local function set_header(ctx, answer)
  local header, count = ngx.header, 0
  for given, value in pairs(answer.headers) do
    local name = written(given)
    if count < MOST and name and goes_on(name, value) then
      header[name] = value
      count = count + 1
    end
  end
  header["x-content-type-options"] = "nosniff"
  header["content-security-policy"] = "default-src 'none'; sandbox"
  answers.set_header(ctx, answer)
end

-- {== Tokens ==============================================================

-- Bytes of an answer in which its usage is looked for: mostly it stands at the end; before a long
-- list of results, at the start.
local TAIL, LEAD = 16384, 4096

-- Notes a piece of an answer that may tell what it has used; only where somebody wants to know.
local function note(ctx, bytes)
  if not ctx.key.tokens or ctx.method ~= "POST" then return end
  ctx.answered = (ctx.answered or 0) + #bytes
  ctx.tail = ((ctx.tail or "") .. bytes):sub(-TAIL)
  local lead = ctx.lead or ""
  if #lead < LEAD then ctx.lead = (lead .. bytes):sub(1, LEAD) end
end

-- The last `usage` in some of an answer.
local function usage_in(some)
  local text
  for object in some:gmatch '"usage"%s*:%s*(%b{})' do text = object end
  return text and usage.usage(json.decode(text))
end

local function usage_of(ctx)
  return usage_in(ctx.tail) or usage_in(ctx.lead)
end

-- What is passed on counts for its key too: another spelling of a path is no way round its tokens.
-- Of answers that do not say, streams are taken for what their length tells.
local function spend(ctx, text, kind)
  if not ctx.answered then return end
  local u, used = usage_of(ctx), 0
  if u then
    local record = log.notes(ctx)
    record.prompt_tokens, record.completion_tokens = u.prompt_tokens, u.completion_tokens
    used = u.total_tokens
  end
  local streams = kind and kind:lower():find "^text/event%-stream"
  ctx.gateway.quotas:spend(ctx.key, used, streams and #text + ctx.answered)
end

-- }========================================================================

-- Sends the body as it comes. One that breaks off must not look whole.
local function send_body(ctx, answer)
  local length = answer.headers["content-length"]
  if length and length:find "^%d+$" then ngx.header["content-length"] = length end
  ngx.send_headers()
  while true do
    local bytes, _, code, detail = answer:read()
    if code then
      ctx.broken = true
      return log.failure(ctx, code, detail)
    end
    if not bytes then return end
    note(ctx, bytes)
    if not answers.write(bytes) then
      answer:close()
      log.left(ctx)
      return ctx:leave()
    end
  end
end

-- The client's own key was good, or it would not be here.
local function key_refused(ctx, answer)
  log.notes(ctx).code = "auth"
  return errors.of_call(answer.target .. ": the gateway's key was refused", "auth",
    { tries = answer.tries, target = answer.target }, ctx.gateway.retries)
end

-- What says busy has been asked again as often as it may be, all else is left to who asks.
local busy = { [429] = true, [503] = true }

-- An error has been read whole, so that keys in it could be masked.
local function send(ctx, answer)
  if answer.status == 401 then return key_refused(ctx, answer) end
  set_header(ctx, answer)
  local tried = busy[answer.status] or answer.status >= 400 and answer.tries > 1
  if tried and ctx.gateway.retries then
    ngx.header["x-should-retry"] = "false"
  end
  local kind = answer.headers["content-type"]
  kind = answers.is_plain(kind) and kind or nil
  if answer.status >= 400 then
    local text, message, code, detail = answer:body()
    if not text then return errors.of_call(message, code, detail, ctx.gateway.retries) end
    return answers.send(ctx, answer.status, text, kind or "application/octet-stream")
  end
  ctx.begun, ctx.status, ngx.status = true, answer.status, answer.status
  if kind then ngx.header["content-type"] = kind end
  send_body(ctx, answer)
end

--- Serves a request.
---@param ctx table
---@return table? refusal
function pass.serve(ctx)
  ctx.kind = "pass"
  local given, refusal = controls.read(ctx)
  if not given then return refusal end
  local text
  text, refusal = body.read(ctx.headers, ctx.gateway.options.body)
  if not text then return refusal end
  add_headers(ctx, given)
  given.cancel = ctx:canceller()
  local answer, message, code, detail = ctx.client:pass({ method = ctx.method,
    path = path_of(ctx), body = text ~= "" and text or nil }, given)
  if not answer then
    log.failure(ctx, code, detail)
    return errors.of_call(message, code, detail, ctx.gateway.retries)
  end
  log.answer(ctx, answer)
  refusal = send(ctx, answer)
  spend(ctx, text, answer.headers["content-type"])
  return refusal
end

return pass
