--- What is sent: a request that is prepared once for each key and path, and a body.
local json = require "unbusy.json"

local requests = {}

local MOST_BYTES = 64 * 1024 * 1024 -- of an expanded answer, unless the target says otherwise

-- {== Bodies ==============================================================

-- The request's path and its body's bytes for one model name; those of the try before where they
-- would be the same.
local function encoded(call, provider, model, streaming)
  local sent = call.sent
  if sent and sent.model == model and sent.provider == provider then return sent.path, sent.body end
  local path, body = provider.request(call.kind, call.request, streaming)
  if body.model ~= model then
    if body == call.request then body = provider.copy(body) end
    body.model = model
  end
  local text, message = json.encode(body)
  if not text then return nil, message end
  return path, text
end

-- The same for a post: a string is sent as it is.
local function of_post(call)
  if type(call.request) == "string" then return call.path, call.request end
  local text, message = json.encode(call.request)
  return text and call.path, text or message
end

-- }========================================================================

-- {== What stays the same =================================================

-- Our header lines, but for those that the target sets itself, and then the target's.
local function header_lines(target, key, streaming)
  local lines, own = {}, {}
  for name, value in pairs(target.extra_headers()) do
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

local function prepare(call, path, streaming)
  local place = call.place
  local target, tls = place.target, place.target.tls or {}
  return {
    url = target.provider.url(target.url, path), method = "POST",
    headers = header_lines(target, place.key, streaming), connect = call:clock "connect",
    most = target.limits and target.limits.body or MOST_BYTES, proxy = target.proxy(),
    ca_file = tls.ca, ca_path = tls.ca_path, cert_file = tls.cert, key_file = tls.key,
    insecure = tls.verify == false, http1 = tls.http2 == false, secrets = target.secrets.known,
  }
end

-- Key -> path -> request, plain and streamed; here and in no field of a key or target, since the
-- requests hold the secret.
local weak = { __mode = "k" }
local plain, streamed = setmetatable({}, weak), setmetatable({}, weak)

local function prepared(call, path, streaming)
  -- The paths of posts, and clocks of a call's own, are not to pile up.
  if call.kind == "post" or call.options.clocks then return prepare(call, path, streaming) end
  local by_key, key = streaming and streamed or plain, call.place.key
  local by_path = by_key[key]
  if not by_path then
    by_path = {}
    by_key[key] = by_path
  end
  local request = by_path[path]
  if not request then
    request = prepare(call, path, streaming)
    by_path[path] = request
  end
  return request
end

-- }========================================================================

--- The request for the place that the call was given, as `loop.open` takes it, and its body. The
--- request is shared with other calls: nobody changes it.
---@return table? request, string body or what is wrong, string path
function requests.build(call, streaming)
  local path, body
  if call.kind == "post" then
    path, body = of_post(call)
  else
    path, body = encoded(call, call.place.target.provider, call.place.model, streaming)
  end
  if not path then return nil, body end
  return prepared(call, path, streaming), body, path
end

--- The try has failed: there may be another one, with the same bytes.
function requests.remember(call, body, path)
  local place = call.place
  call.sent = { body = body, path = path, model = place.model, provider = place.target.provider }
end

return requests
