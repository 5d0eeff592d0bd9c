--- Refusals and failures as an OpenAI server tells them, so that every SDK knows what they are.
--
--     { "error": { "message": …, "type": …, "param": …, "code": … } }
--
-- A refusal is a table { status =, message =, type =, param =, code =, headers = }.
local codes = require "unbusy.codes"
local json = require "unbusy.json"

local errors = {}

-- Status -> type; SDKs go by the status, people and other gateways by the type.
local types = { [401] = "authentication_error", [403] = "permission_error",
  [404] = "not_found_error", [429] = "rate_limit_error", [503] = "service_unavailable_error",
  [504] = "timeout_error" }

local function type_of(status)
  return types[status] or status < 500 and "invalid_request_error" or "server_error"
end

--- A refusal of our own.
---@param status integer
---@param message string
---@param more table? param, code, headers
---@return table refusal
function errors.new(status, message, more)
  local e = { status = status, message = message, type = type_of(status) }
  for name, value in pairs(more or {}) do e[name] = value end
  return e
end

--- A request that is wrong in one of its fields.
---@param message string
---@param param string? the field
---@param code string?
---@return table refusal
function errors.invalid(message, param, code)
  return errors.new(400, message, { param = param, code = code })
end

local function seconds_text(seconds)
  return ("%.0f"):format(math.min(math.max(1, math.ceil(seconds)), 1e9))
end

--- Not now, but in so many seconds.
---@param message string
---@param seconds number
---@param code string
---@return table refusal
function errors.later(message, seconds, code)
  return errors.new(429, message,
    { code = code, headers = { ["retry-after"] = seconds_text(seconds) } })
end

-- What the server said the request was refused with goes on, where it is about the request.
local function status_of(code, detail)
  local told = detail.status
  if detail.only_cached then return 504 end -- RFC 9111 5.2.1.7
  if code == "invalid" and told and told >= 400 and told < 500 then return told end
  return codes[code].http
end

-- Adds when a client is to come again.
local function add_advice(headers, status, detail, retries)
  if status == 429 or status == 503 then
    headers["retry-after"] = seconds_text(detail.retry_after or 1)
  end
  -- One layer tries again, and that was ours. OpenAI's SDKs would, twice, and obey this.
  if retries and (detail.tries or 0) > 0 then headers["x-should-retry"] = "false" end
  return headers
end

--- The refusal that a call's failure is to its client.
---@param message string
---@param code string one of ours
---@param detail table
---@param retries boolean does the client of the upstream try again by itself?
---@return table refusal
function errors.of_call(message, code, detail, retries)
  local status = status_of(code, detail)
  local headers = { ["x-unbusy-code"] = code, ["x-unbusy-tries"] = ("%d"):format(detail.tries or 0),
    ["x-unbusy-target"] = detail.target, ["x-request-id"] = detail.request_id }
  return errors.new(status, message, { headers = add_advice(headers, status, detail, retries),
    code = code == "invalid" and detail.provider_code or code })
end

--- The refusal of what would need a client that is closed.
---@return table refusal
function errors.of_closed()
  return errors.of_call("the client is closed", "closed", {}, false)
end

--- The error that an answer of ours is to its client, where its status says that it is one.
---@param reply table with a `failure`
---@param retries boolean as `of_call`
---@return table refusal its headers are those that the answer has besides
function errors.of_fallback(reply, retries)
  local failure = reply.failure
  return errors.new(reply.status, reply.text or failure.message, { code = failure.code,
    headers = add_advice({ ["x-unbusy-code"] = failure.code }, reply.status, failure.detail,
      retries) })
end

local function encoded(value)
  return value == nil and "null" or assert(json.encode(value))
end

--- Its text.
---@param e table refusal
---@return string
function errors.text(e)
  local message = json.is_utf8(e.message) and e.message or e.message:gsub("[\128-\255]+", "?")
  return ('{"error":{"message":%s,"type":"%s","param":%s,"code":%s}}'):format(encoded(message),
    e.type, encoded(e.param), encoded(e.code))
end

--- The body of an answer of ours whose status says that it is none. SDKs look for an error there,
--- and people for the answer: it is both.
---@param body table decoded
---@param e table refusal, see `of_fallback`
---@return table
function errors.added(body, e)
  local both = {}
  for name, value in pairs(body) do both[name] = value end
  if both.error == nil or both.error == json.null then
    both.error = json.decode(errors.text(e)).error
  end
  return both
end

return errors
