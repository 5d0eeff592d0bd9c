--- Which path and method lead where.
local errors = require "unbusy.gateway.errors"

local routes = {}

local function words(text)
  local out = {}
  for word in text:gmatch "%S+" do out[word] = true end
  return out
end

local GET, POST = words "GET HEAD", words "POST"

local function call(kind)
  return { methods = POST, allow = "POST", serves = "calls", kind = kind, reads = true }
end

local function health(kind)
  return { methods = GET, allow = "GET, HEAD", serves = "health", kind = kind, open = true }
end

local function status(kind)
  return { methods = GET, allow = "GET, HEAD", serves = "status", kind = kind, open = true }
end

-- A batch counts its requests itself.
local batch = { methods = POST, allow = "POST", serves = "batch", reads = true, calls = 0 }
local models = { methods = GET, allow = "GET, HEAD", serves = "models" }
local other = { serves = "pass", reads = true }
local metrics = { methods = GET, allow = "GET, HEAD", serves = "metrics", open = true }

local known = { ["/api/v1/batch"] = batch, ["/metrics"] = metrics, ["/healthz"] = health "alive",
  ["/readyz"] = health "ready", ["/status"] = status "page", ["/status.json"] = status "json" }

for path, route in pairs { ["/chat/completions"] = call "chat", ["/completions"] = call "complete",
  ["/embeddings"] = call "embed", ["/responses"] = call "responses", ["/models"] = models } do
  known[path], known["/v1" .. path] = route, route
end

-- The route of a path, and the id of a model behind it.
local function of_path(path, passes)
  if known[path] then return known[path] end
  local below = path:match "^/v1(/.*)$"
  local id = (below or path):match "^/models/(.+)$"
  if id then return models, id end
  if below and below ~= "/" and passes then return other end
end

--- Where a request goes.
---@param method string
---@param path string decoded and normalised, as nginx has it
---@param passes boolean is the rest of /v1 passed on?
---@param shows boolean is there a status to be seen?
---@return table? route { serves = module, kind =, reads = its handler reads the body, open = for
--- everybody, calls = that it counts for (1) }, string|table|nil id or refusal
function routes.find(method, path, passes, shows)
  local route, id = of_path(path, passes)
  if not route or route.serves == "status" and not shows then
    return nil, errors.new(404, "there is nothing at this path", { code = "unknown_url" })
  end
  if route.methods and not route.methods[method] then
    return nil, errors.new(405, ("%s expected here"):format(route.allow),
      { code = "method_not_supported", headers = { allow = route.allow } })
  end
  return route, id
end

--- A path as one of a few, for whoever counts requests.
---@param path string
---@return string
function routes.label(path)
  if known[path] then return path end
  if path:find "^/models/." or path:find "^/v1/models/." then return "/v1/models/{id}" end
  return path:find "^/v1/." and "/v1/{other}" or "other"
end

return routes
