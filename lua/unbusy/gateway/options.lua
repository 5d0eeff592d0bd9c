--- The options of a gateway: the table `gateway` of a configuration.
local headers = require "unbusy.headers"
local options = require "unbusy.options"

local gateway_options = {}

--- Request headers that are passed on to the upstream when nothing else is said.
gateway_options.forward = { "openai-organization", "openai-project", "openai-beta",
  "idempotency-key", "x-request-id", "traceparent", "tracestate", "accept-language" }

--- What a request's own headers may say when nothing else is said.
gateway_options.controls = { "deadline", "priority", "cache" }

local key = {
  key = { type = "string", required = true, doc = "what the client sends" },
  name = { type = "string", doc = "in the log; \"key 1\", \"key 2\", … by default" },
  calls = { type = "number", above = 0, max = 1e9, doc = "most calls in a minute" },
  tokens = { type = "number", above = 0, max = 1e12,
    doc = "most tokens in a minute: asked and answered" },
}

gateway_options.schema = {
  keys = { type = "list", min = 1, max = 10000, each = { type = "string|table", fields = key },
    doc = "accepted client keys, texts or tables; without them everybody is served" },
  body = { type = "whole", default = 16 * 1024 * 1024, min = 1, max = 2 ^ 40, unit = "bytes",
    doc = "largest request" },
  batch = { type = "table|boolean", doc = "`/api/v1/batch`; false: there is none", fields = {
    requests = { type = "whole", default = 100, min = 1, max = 10000,
      doc = "most requests in one batch" },
    at_once = { type = "whole", default = 64, min = 1, max = 1000,
      doc = "of one batch under way at a time" },
  } },
  ping = { type = "number|boolean", default = 15, min = 1, max = 1e6, unit = "s",
    doc = "a stream that waits says so, so often; false: never, and every failure before the "
      .. "first byte has a status" },
  forward = { type = "list", each = { type = "string" }, default = gateway_options.forward,
    doc = "request headers that are passed on" },
  controls = { type = "list", default = gateway_options.controls,
    each = { type = "string",
      one_of = { "deadline", "priority", "cache", "target", "cache-control" } },
    doc = "which `x-unbusy-…` headers of a request are obeyed, and whether `cache-control` is" },
  pass = { type = "boolean", default = true,
    doc = "pass on what is below /v1 and not known here" },
  status = { type = "boolean|table", default = true, fields = {
      token = { type = "string", required = true, doc = "what whoever may see it sends as a key" },
    }, doc = "`/status`: for this machine alone (true), for whoever sends the token, or none" },
  metrics = { type = "boolean|table", default = true, fields = {
      token = { type = "string", required = true, doc = "what whoever may see it sends as a key" },
    }, doc = "`/metrics`: as `status`; what is counted says the client's own `metrics`" },
  trace = { type = "boolean", default = false,
    doc = "begin a trace for requests that have none" },
}

-- {== What a schema cannot say ============================================

local function fail(where, message, level)
  error(("%s: %s"):format(where, message), level + 1)
end

local function check_word(text, where, level)
  if text == "" or text:find "[%z\1-\32\127]" then
    fail(where, "a text without blanks and control characters expected", level + 1)
  end
end

-- All keys as tables with a name; no key stands in a message.
local function filled_keys(given, where, level)
  local out, keys, names = {}, {}, {}
  for i, item in ipairs(given) do
    local k = type(item) == "string" and { key = item } or item
    local at = ("%s.keys[%d]"):format(where, i)
    local name = k.name or ("key %d"):format(i)
    check_word(k.key, at, level + 1)
    if #name > 64 or name:find "[%z\1-\31\127]" then
      fail(at, "a name of at most 64 plain characters expected", level + 1)
    end
    if keys[k.key] then fail(at, ("the same as keys[%d]"):format(keys[k.key]), level + 1) end
    if names[name] then fail(at, ("the name of keys[%d]"):format(names[name]), level + 1) end
    keys[k.key], names[name] = i, i
    out[i] = { key = k.key, name = name, named = k.name ~= nil, calls = k.calls,
      tokens = k.tokens }
  end
  return out
end

local traces = { traceparent = true, tracestate = true }

-- Where a client's key may stand besides `authorization`: see `unbusy.gateway.keys`.
local key_names = { ["api-key"] = true, ["x-api-key"] = true }

-- The names in lower case. Those that never go through are refused here, not dropped later.
local function filled_forward(given, keys, where, level)
  local out = {}
  for i, name in ipairs(given) do
    local at = ("%s.forward[%d]"):format(where, i)
    local list = headers.of_request { name .. ": x" }
    if not list then fail(at, "no name of a header", level + 1) end
    out[i] = name:lower()
    if not list[1] and not traces[out[i]] then
      fail(at, ("'%s' is never passed on"):format(out[i]), level + 1)
    end
    if keys and key_names[out[i]] then
      fail(at, ("'%s' is a client's key here, and never passed on"):format(out[i]), level + 1)
    end
  end
  return out
end

-- `true` stands for the defaults of a table.
local function defaults_of(field)
  return options.field({ type = "table", fields = field.fields }, {}, "")
end

-- }========================================================================

--- Checks a gateway's options and fills them in.
---@param given table? as the configuration has it
---@param level integer of `error`, as the caller sees it
---@return table
function gateway_options.read(given, level)
  local where = "unbusy: gateway"
  local o = options.check(gateway_options.schema, given, where, level + 2)
  if o.keys then o.keys = filled_keys(o.keys, where, level + 1) end
  o.forward = filled_forward(o.forward, o.keys, where, level + 1)
  if given and given.batch == true then o.batch = defaults_of(gateway_options.schema.batch) end
  for _, name in ipairs { "status", "metrics" } do
    if type(o[name]) == "table" then
      check_word(o[name].token, ("%s.%s.token"):format(where, name), level + 1)
    end
  end
  if o.ping == true then o.ping = gateway_options.schema.ping.default end
  return o
end

return gateway_options
