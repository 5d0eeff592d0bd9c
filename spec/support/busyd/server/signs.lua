--- Presets that are one HTTP answer: the signs of being busy, broken, or asked the wrong thing, and
--- the 200s that are no answer. Each is { fields, make }; `make(call, spec)` gives a play.
local cjson = require "cjson"
local answers = require "server.answers"
local schema = require "server.schema"
local stream = require "server.stream"

local encode = cjson.encode

local signs = {}    -- the presets by name
local module = { presets = signs }

-- name = { status, message, type, code }
local ERRORS = {
  busy_503 = { 503, "The server is overloaded or not ready yet. Please try again later.",
    "service_unavailable_error", "service_unavailable_error" },
  busy_text_cn = { 503, "服务器繁忙,请稍后再试", "server_error" },
  overloaded_body = { 200, "The server is currently overloaded.", "server_error",
    "server_is_overloaded" },
  rate_limited = { 429, "Rate limit reached for requests. Please slow down.", "requests",
    "rate_limit_exceeded" },
  slow_down = { 429, "Slow down: requests grow too fast.", "requests", "slow_down" },
  insufficient_quota = { 429, "You exceeded your current quota, please check your plan.",
    "insufficient_quota", "insufficient_quota" },
  payment_402 = { 402, "Insufficient Balance", "unknown_error", "invalid_request_error" },
  unauthorized = { 401, "Authentication Fails, your api key is invalid",
    "authentication_error", "invalid_api_key" },
  forbidden = { 403, "You have no access to this model.", "permission_error", "forbidden" },
  invalid_400 = { 400, "Invalid request: messages is malformed.", "invalid_request_error" },
  unprocessable_422 = { 422, "Invalid parameter: temperature.", "invalid_request_error" },
  not_found = { 404, "The model does not exist.", "invalid_request_error", "model_not_found" },
  server_500 = { 500, "The server had an error while processing your request.", "server_error" },
}

for name, e in pairs(ERRORS) do
  signs[name] = { make = function() return answers.error(e[1], e[2], e[3], e[4]) end }
end

local function page(status, headers, body)
  headers["Content-Type"] = headers["Content-Type"] or "text/html"
  return { status = status, headers = headers, pieces = { body } }
end

local function html(status, title, server)
  local body = ("<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>"
    .. "\r\n<hr><center>%s</center>\r\n</body>\r\n</html>\r\n"):format(title, title, server)
  return { make = function() return page(status, { Server = server }, body) end }
end

signs.bad_gateway_502 = html(502, "502 Bad Gateway", "nginx")
signs.timeout_504 = html(504, "504 Gateway Time-out", "nginx")
signs.cloudflare_520 = html(520, "520: Web server is returning an unknown error", "cloudflare")

signs.overloaded_529 = { make = function()
  return page(529, { ["Content-Type"] = "application/json" },
    '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
end }

-- The server decides: true asks to retry what looks final, false forbids it for what does not.
signs.should_retry = { fields = { value = schema.boolean }, make = function(_, spec)
  local value = spec.value ~= false
  local play = answers.error(value and 400 or 503, "See x-should-retry.", "server_error")
  play.headers["x-should-retry"] = tostring(value)
  return play
end }

signs.redirect = { fields = { location = schema.string }, make = function(_, spec)
  return page(302, { Location = spec.location or "http://127.0.0.1:1/" }, "")
end }

signs.echo_key = { make = function(call)
  return answers.error(401, "Incorrect API key provided: " .. (call.authorization or "none"),
    "invalid_request_error", "invalid_api_key")
end }

signs.empty_200 = { make = function(call)
  return page(200, { ["Content-Type"] = call.stream and "text/event-stream" or "application/json" },
    "")
end }

-- 'body' as the only thing said: a JSON body, or the one event of a stream before [DONE].
local function only(call, body, unfinished)
  if not call.stream then return page(200, { ["Content-Type"] = "application/json" }, body) end
  local play = page(200, { ["Content-Type"] = "text/event-stream" },
    stream.event(body) .. (unfinished and "" or stream.event "[DONE]"))
  play.sse = true
  return play
end

signs.no_choices = { make = function(call)
  local object = call.stream and "chat.completion.chunk" or "chat.completion"
  return only(call, answers.head(call, object) .. '"choices":[]}')
end }

signs.malformed_json = { make = function(call)
  return only(call, answers.head(call, "chat.completion") .. '"choices":[{"index":0,"mess', true)
end }

local MAX_DEPTH = 1e7

signs.deep_json = { fields = { depth = schema.integer(1, MAX_DEPTH) }, make = function(call, spec)
  local depth = spec.depth or 10000
  return only(call, '{"choices":' .. ("["):rep(depth) .. ("]"):rep(depth) .. "}")
end }

signs.insufficient_system_resource = { make = function(call)
  local changed = setmetatable({ finish_reason = "insufficient_system_resource" },
    { __index = call.answer })
  local play = answers.play(setmetatable({ answer = changed }, { __index = call }))
  play.good = false
  return play
end }

--- A plain error of any status, for specs that name nothing but a status.
function module.plain(status)
  return answers.error(status, "status " .. status, status < 500 and "invalid_request_error"
    or "server_error")
end

--- The play of a spec's own `body` or `json`.
function module.custom(spec)
  return page(spec.status or 200, { ["Content-Type"] = "application/json" },
    spec.body or encode(spec.json))
end

return module
