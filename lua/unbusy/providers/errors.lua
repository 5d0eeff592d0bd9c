--- Says what a server's refusal means: a code word, a message fit for a log, and details.
--
-- The words of a server are looked at only where errors are told (message, type and code), never in
-- an answer's content. What is passed on of them is short, on one line, and masked.
local json = require "unbusy.json"

local errors = {}

local phrases = {
  [400] = "bad request", [401] = "unauthorized", [402] = "payment required", [403] = "forbidden",
  [404] = "not found", [405] = "method not allowed", [408] = "request timeout", [409] = "conflict",
  [413] = "payload too large", [415] = "unsupported media type", [422] = "unprocessable content",
  [425] = "too early", [429] = "too many requests", [500] = "internal server error",
  [502] = "bad gateway", [503] = "service overloaded", [504] = "gateway timeout",
  [520] = "unknown error", [521] = "web server down", [522] = "connection timed out",
  [523] = "origin unreachable", [524] = "a timeout occurred", [529] = "overloaded",
}

local by_status = {
  [401] = "auth", [402] = "quota", [403] = "auth", [408] = "timeout", [409] = "upstream",
  [425] = "upstream", [429] = "limited", [499] = "upstream", [503] = "busy", [529] = "busy",
}

-- Exact words of an error's code or type, whatever the status.
local busy_words = {
  server_is_overloaded = true, overloaded_error = true, overloaded = true, server_overloaded = true,
  engine_overloaded_error = true, engine_overloaded = true, server_busy = true,
}

-- Of 402, 403, 429 and errors without a status of their own. Never from the message: some servers
-- say "check your plan and billing details" of a limit per minute.
local quota_words = {
  insufficient_quota = true, insufficient_balance = true, insufficient_credits = true,
  insufficient_funds = true, exceeded_current_quota_error = true, billing_not_active = true,
  billing_hard_limit_reached = true, billing_error = true,
}

-- Of a 403: the key is good, and not for this model (OpenAI's and Groq's words).
local model_words = {
  model_not_found = true, model_permission_blocked_org = true,
  model_permission_blocked_project = true,
}

local FLAGGED = "flagged_input" -- a type of ours, see `is_flagged`

-- Of errors inside a 200 or a stream, which have no status of their own.
local other_words = {
  rate_limit_exceeded = "limited", rate_limit_error = "limited", slow_down = "limited",
  rate_limit_reached_error = "limited", invalid_request_error = "invalid", invalid_api_key = "auth",
  authentication_error = "auth", permission_error = "auth", permission_denied = "auth",
  context_length_exceeded = "invalid", model_not_found = "invalid", not_found_error = "invalid",
  service_unavailable = "busy", service_unavailable_error = "busy", timeout_error = "timeout",
  invalid_prompt = "invalid", vector_store_timeout = "timeout", -- of responses, and their images:
  invalid_image = "invalid", invalid_image_format = "invalid", invalid_base64_image = "invalid",
  invalid_image_url = "invalid", image_too_large = "invalid", image_too_small = "invalid",
  image_parse_error = "invalid", image_content_policy_violation = "invalid",
  invalid_image_mode = "invalid", image_file_too_large = "invalid", empty_image_file = "invalid",
  unsupported_image_media_type = "invalid", failed_to_download_image = "invalid",
  image_file_not_found = "invalid",
}

local busy_texts = { "server busy", "server is busy", "too busy", "overloaded", "服务器繁忙", "系统繁忙" }

local function is_some(v)
  return v ~= nil and v ~= json.null
end

local function text_of(v)
  if type(v) == "string" then return v end
  local whole = json.whole(v)
  if whole and whole >= -2 ^ 53 and whole <= 2 ^ 53 then return ("%d"):format(whole) end
end

-- A run of word characters that looks like a key: a known prefix, stars in it, or long and mixed.
local function secret(run)
  if run:find("%f[%w]g?[prs]k[-_]%w%w%w") or run:find("**", 1, true) then return true end
  if run:find("%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-") then return true end
  if #run < 20 then return false end
  for piece in run:gmatch("%w+") do
    if #piece >= 16 and piece:find("%d") and piece:find("%a") then return true end
  end
  return false
end

local function cut(text, most)
  if #text <= most then return text end
  local stop = most
  while stop > 0 and text:find("^[\128-\191]", stop + 1) do stop = stop - 1 end
  return text:sub(1, stop) .. "…"
end

local function short_quote(quoted)
  if #quoted > 42 then return quoted:sub(1, 1) .. "…" .. quoted:sub(1, 1) end
end

--- The words of a server on one line, at most 200 bytes (and an ellipsis), without control
--- characters and without what looks like a key. What stands behind the first brace and in long
--- quotes is left out, since servers repeat the request there.
---@param text any
---@return string? nil when nothing is left
function errors.clean(text)
  if type(text) ~= "string" then return nil end
  local whole = #text <= 1000
  text = text:sub(1, 1000):gsub("%s*%[?{.*", "…"):gsub("[%c%s]+", " ")
  text = text:gsub("'[^']*'", short_quote):gsub('"[^"]*"', short_quote):gsub("`[^`]*`", short_quote)
  if not whole then text = text:gsub("['\"`][^'\"`]*$", "…") end -- a quote cut open
  text = text:gsub("([Bb]earer) %S+", "%1 [masked]")
  text = text:gsub("[%w_.*+=~/-]+", function(run) if secret(run) then return "[masked]" end end)
  if not json.is_utf8(text) then text = text:gsub("[\128-\255]+", "?") end
  text = cut(text:match("^%s*(.-)%s*$"), 200)
  return text ~= "" and text or nil
end

--- A server's code word when it is one: up to 64 letters, digits and "_.-"; else nil.
function errors.word(v)
  v = text_of(v)
  if v and #v <= 64 and v:find("^[%w_.-]+$") and not secret(v) then return v end
end

local MOST_FAULTS = 8 -- of a request, that are told

-- Where in the request a fault is: { "body", "messages", 0 } is "messages.0".
local function place_of(loc)
  local parts = {}
  for i, part in ipairs(type(loc) == "table" and loc or {}) do
    local word = text_of(part)
    if word and not (i == 1 and word == "body") then parts[#parts + 1] = word end
  end
  return parts[1] and table.concat(parts, ".") .. ": " or ""
end

-- What FastAPI's servers find wrong with a request, as one text: [{"loc":[…],"msg":…}, …], which
-- some have in a `detail` of their own. (Its `input` is the request's, and left out.)
local function faults_of(list)
  if type(list) ~= "table" then return nil end
  if type(list.detail) == "table" then list = list.detail end
  local out = {}
  for i = 1, math.min(#list, MOST_FAULTS) do
    local fault = list[i]
    local words = type(fault) == "table" and text_of(fault.msg)
    if words then out[#out + 1] = place_of(fault.loc) .. words end
  end
  return out[1] and table.concat(out, "; ")
end

-- Was it the question that was not let through? So OpenRouter says why, behind a 403.
local function is_flagged(e)
  local more = e.metadata
  return type(more) == "table" and is_some(more.flagged_input)
end

-- The error told by a decoded body: { message =, code =, type = }, or nil. Servers write it as
-- {"error":{…}}, {"error":"…"}, [{"error":{…}}], {"message":…,"code":…}, {"detail":"…"} or
-- {"detail":[{…}]}.
local function told(body)
  if type(body) ~= "table" then return nil end
  if type(body[1]) == "table" then body = body[1] end
  local inner = body.error
  if type(inner) == "string" then
    return { message = inner, code = text_of(body.code), type = text_of(body.error_type) }
  end
  local e = type(inner) == "table" and inner or body
  return { message = text_of(e.message) or text_of(e.msg) or text_of(e.detail)
      or faults_of(e.detail) or faults_of(e.message),
    code = text_of(e.code), type = text_of(e.type) or text_of(e.status)
      or is_flagged(e) and FLAGGED or nil }
end

local function says_busy(e)
  if busy_words[e.code] or busy_words[e.type] then return true end
  for _, words in ipairs { e.message or "", e.code or "", e.type or "" } do
    words = words:sub(1, 1000):lower()
    for _, text in ipairs(busy_texts) do
      if words:find(text, 1, true) then return true end
    end
  end
  return false
end

local function class_of_status(status)
  if by_status[status] then return by_status[status] end
  return status >= 400 and status < 500 and "invalid" or "upstream"
end

-- The code; and what a refused key was refused for, where that is one "model" only.
local function classify(status, e)
  local own = status >= 200 and status < 300 -- an error inside a 200: its code may be a status
  if own then
    local inner = tonumber(e.code)
    if inner and inner >= 400 and inner < 600 then status, own = inner, false end
  end
  if own or status == 402 or status == 403 or status == 429 then
    if quota_words[e.code] or quota_words[e.type] then return "quota" end
  end
  if says_busy(e) then return "busy" end
  if own then return other_words[e.code] or other_words[e.type] or "upstream" end
  if status == 403 and e.type == FLAGGED then return "invalid" end
  if status == 403 and (model_words[e.code] or model_words[e.type]) then return "auth", "model" end
  return class_of_status(status)
end

--- What every failure says beside its code.
---@param status integer?
---@param headers table? lower-case name -> value
---@param e table? the error told: code, type
---@return table detail status, should_retry (x-should-retry), provider_code, provider_type
function errors.detail(status, headers, e)
  local asked = headers and headers["x-should-retry"]
  local should
  if asked == "true" then should = true elseif asked == "false" then should = false end
  return { status = status, should_retry = should,
    provider_code = e and errors.word(e.code), provider_type = e and errors.word(e.type) }
end

local function message_of(status, e)
  local word = errors.word(e.code) or errors.word(e.type)
  if word == tostring(status) or word == "unknown_error" then word = nil end
  local message = ("%d %s"):format(status, word or phrases[status] or "an error")
  local said = errors.clean(e.message)
  return said and message .. ": " .. said or message
end

--- The error that a body with status 2xx or a stream's event tells, or nil when it tells none.
---@param body any decoded
---@return table? e
function errors.inside(body)
  if type(body) ~= "table" then return nil end
  if is_some(body.error) and body.error ~= false and body.error ~= "" then return told(body) end
  if body.object == "error" or body.type == "error" then return told(body) end
  if type(body[1]) == "table" and is_some(body[1].error) then return told(body) end
end

--- The error told by a body without an answer in it, where any message, code and type count.
errors.told = told

-- The error with every secret hidden. Before its words are shortened: a part of one would stay.
local function hidden(e, hide)
  if not hide then return e end
  local out = {}
  for name, words in pairs(e) do out[name] = hide(words) end
  return out
end

--- Makes a failure out of an error told with a status.
---@param status integer
---@param headers table?
---@param e table? message, code, type
---@param hide (fun(text: string): string)? takes secrets out of what the server said
---@return nil, string message, string code, table detail
function errors.fail(status, headers, e, hide)
  e = e or {}
  if status >= 300 and status < 400 then
    local detail = errors.detail(status, headers)
    detail.lasting = true
    return nil, ("%d redirected, not followed"):format(status), "upstream", detail
  end
  local shown = hidden(e, hide)
  local code, about = classify(status, e)
  local detail = errors.detail(status, headers, shown)
  detail.about = about
  return nil, message_of(status, shown), code, detail
end

local function is_of_type(headers, pattern)
  local kind = headers and headers["content-type"]
  return type(kind) == "string" and kind:lower():find(pattern) ~= nil
end

-- Is a body said to be words for people, and no page? Proxies and some servers (axum's) refuse so.
local function is_plain(headers)
  return is_of_type(headers, "^%s*text/plain%f[^%w/+-]")
end

-- Or a page? Not the API has refused then, but what stands before it: a firewall, which looks at
-- what is asked.
local function is_page(headers)
  return is_of_type(headers, "^%s*text/html%f[^%w/+-]")
end

--- The failure of a response whose status is not 2xx.
---@param status integer
---@param headers table?
---@param text string its body; when it is not JSON, only its first 512 bytes are asked for "busy",
--- and only plain text is told
---@param hide function? see `errors.fail`
---@return nil, string message, string code, table detail
function errors.of_response(status, headers, text, hide)
  local body = json.decode(text)
  if type(body) == "table" then return errors.fail(status, headers, told(body), hide) end
  local words = is_plain(headers) and hidden({ message = text }, hide) or nil
  local _, message, code, detail = errors.fail(status, headers)
  if words and status >= 400 then message = message_of(status, words) end
  if status >= 400 and says_busy { message = text:sub(1, 512) } then code = "busy" end
  if status == 403 and code == "auth" and is_page(headers) then detail.about = "request" end
  return nil, message, code, detail
end

return errors
