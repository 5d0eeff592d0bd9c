--- Which path and method lead where.
local errors = require "unbusy.gateway.errors"

local routes = {}

local function words(text)
  local out = {}
  for word in text:gmatch "%S+" do out[word] = true end
  return out
end

local GET, POST = words "GET HEAD", words "POST"

-- Without the leading /v1. `kind` is the call that a POST makes, `serves` another handler.
local known = {
  ["/chat/completions"] = { methods = POST, allow = "POST", serves = "calls", kind = "chat" },
  ["/completions"] = { methods = POST, allow = "POST", serves = "calls", kind = "complete" },
  ["/embeddings"] = { methods = POST, allow = "POST", serves = "calls", kind = "embed" },
  ["/responses"] = { methods = POST, allow = "POST", serves = "calls", kind = "responses" },
  ["/models"] = { methods = GET, allow = "GET, HEAD", serves = "models" },
}

local health = {
  ["/healthz"] = { methods = GET, allow = "GET, HEAD", serves = "health", kind = "alive" },
  ["/readyz"] = { methods = GET, allow = "GET, HEAD", serves = "health", kind = "ready" },
}

local model = { methods = GET, allow = "GET, HEAD", serves = "models" }
local other = { serves = "pass" }

-- The route of a path, and the id of a model behind it.
local function of_path(path, passes)
  if health[path] then return health[path] end
  local below = path:match "^/v1(/.*)$"
  local rest = below or path
  if known[rest] then return known[rest] end
  local id = rest:match "^/models/(.+)$"
  if id then return model, id end
  if below and below ~= "/" and passes then return other end
end

--- Where a request goes.
---@param method string
---@param path string decoded and normalised, as nginx has it
---@param passes boolean is the rest of /v1 passed on?
---@return table? route { serves = module, kind =, … }, string|table|nil id or refusal
function routes.find(method, path, passes)
  local route, id = of_path(path, passes)
  if not route then
    return nil, errors.new(404, "there is nothing at this path", { code = "unknown_url" })
  end
  if route.methods and not route.methods[method] then
    return nil, errors.new(405, ("%s expected here"):format(route.allow),
      { code = "method_not_supported", headers = { allow = route.allow } })
  end
  return route, id
end

return routes
