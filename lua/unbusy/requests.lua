--- What is sent: a request that is prepared once for each key and path, and a body.
local json = require "unbusy.json"
local json_fields = require "unbusy.json_fields"
local passing = require "unbusy.passing"
local question = require "unbusy.resume.question"
local trace = require "unbusy.trace"

local requests = {}

local MOST_BYTES = 64 * 1024 * 1024 -- of an expanded answer, unless the target says otherwise

-- {== Bodies ==============================================================

-- What must be different in the caller's own bytes for them to say `body`: name -> JSON, or false
-- for what must go; nil where that cannot be said.
local function edits_of(given, body)
  local edits = {}
  for name, value in next, body do
    if given[name] ~= value then
      edits[name] = type(name) == "string" and json.encode(value) or nil
      if not edits[name] then return nil end
    end
  end
  for name in next, given do
    if body[name] == nil then edits[name] = false end
  end
  return edits
end

--- Members that may not come twice in bytes that are sent as they are: a server could take the
--- first where we have read the last.
requests.once = { "model", "stream" }

-- The caller's own bytes, with no more changed than must be; nil where they are not JSON that could
-- be changed.
local function spliced(call, body)
  local raw = call.options.raw
  if body == call.request and call.options.raw_is_sound then return raw end
  local edits = edits_of(call.request, body)
  return edits and json_fields.splice(raw, edits, requests.once)
end

-- Target -> model -> true, where streams are not asked for their usage. Callers make up names: of a
-- target that refuses so many, all are taken to be like that.
local bare = setmetatable({}, { __mode = "k" })
local MOST_BARE = 100

local function is_bare(place)
  local models = bare[place.target]
  return models ~= nil and (models.count >= MOST_BARE or models.names[place.model or ""] == true)
end

local function note_bare(place)
  local models = bare[place.target] or { count = 0, names = {} }
  models.count, models.names[place.model or ""] = models.count + 1, true
  bare[place.target] = models
end

local refusals = { [400] = true, [422] = true }

-- Is it what we have added that the server does not take? Mistral's and older Azure's do not.
local function is_ours(call, message, code, detail)
  return code == "invalid" and refusals[detail.status] and call.kind ~= "responses"
    and call.request.stream_options == nil
    and (message:find("stream_options", 1, true) or message:find("include_usage", 1, true))
end

--- Would a stream of the call not be asked for its usage where it is to go?
---@param call table
---@return boolean
function requests.spares_usage(call)
  return is_bare(call.place)
end

--- A stream was refused. Was it for the usage, which we have asked for, and nobody else? Then it,
--- and all that follow there, are not asked for it any more.
---@param call table
---@param message string
---@param code string
---@param detail table
---@return boolean spared it may be sent once more
function requests.spare_usage(call, message, code, detail)
  if call.stopped or not is_ours(call, message, code, detail) then return false end
  if not is_bare(call.place) then note_bare(call.place) end
  return true
end

-- The request's path and its body's bytes; those of the try before where they would be the same.
-- What is asked is the request, or what makes the target go on with an answer that broke off.
local function encoded(call, streaming)
  local place, sent, so_far = call.place, call.sent, call.so_far
  local model, provider, spares = place.model, place.target.provider, is_bare(place)
  if sent and not so_far and sent.model == model and sent.provider == provider
    and sent.spares == spares then
    return sent.path, sent.body
  end
  local request = so_far and question.of(so_far, place.target) or call.request
  local path, body = provider.request(call.kind, request, streaming, spares)
  if body.model ~= model then
    if body == request then body = provider.copy(body) end
    body.model = model
  end
  local text = call.options.raw and spliced(call, body)
  if text then return path, text end
  local encoded_text, message = json.encode(body)
  if not encoded_text then return nil, message end
  return path, encoded_text
end

-- The same for a post: a string is sent as it is.
local function of_post(call)
  if type(call.request) == "string" then return call.path, call.request end
  local text = call.options.raw and spliced(call, call.request)
  if text then return call.path, text end
  local encoded_text, message = json.encode(call.request)
  return encoded_text and call.path, encoded_text or message
end

-- One request of a batch, with the model as the target calls it.
local function with_model(item, model, copy)
  if type(item) ~= "table" or type(item.parameters) ~= "table" then return item end
  local out = copy(item)
  out.parameters = copy(item.parameters)
  out.parameters.model = model
  return out
end

-- The same for a target's batch endpoint.
local function of_batch(call)
  local target, model = call.place.target, call.place.model
  local copy, body = target.provider.copy, call.request
  if type(body.requests) == "table" then
    local list = {}
    for i, item in ipairs(body.requests) do list[i] = with_model(item, model, copy) end
    body = copy(body)
    body.requests = list
  end
  local text, message = json.encode(body)
  return text and target.batch, text or message
end

-- The same of a request that is passed on.
local function of_pass(call)
  return call.path, passing.body(call.method, call.request)
end

-- The kinds whose paths others make up; all others are known to their provider.
local own_paths = { post = of_post, batch = of_batch, pass = of_pass }

-- }========================================================================

-- {== What stays the same =================================================

-- Our header lines, but for those that the target sets itself, and then the target's.
local function header_lines(target, key, passes, streaming)
  local lines, own = {}, {}
  for name, value in pairs(target.extra_headers()) do
    -- ";" is how libcurl sends one without a value.
    lines[#lines + 1] = value:find "%S" and name .. ": " .. value or name .. ";"
    own[name:lower()] = true
  end
  local ours = target.provider.headers(key:secret())
  if passes then
    ours[#ours + 1] = "content-type:" -- how libcurl is told to make up none
  else
    ours[#ours + 1] = "content-type: application/json"
    ours[#ours + 1] = streaming and "accept: text/event-stream" or "accept: application/json"
  end
  ours[#ours + 1] = "user-agent: unbusy"
  for _, line in ipairs(ours) do
    if not own[line:match("^[^:]+"):lower()] then lines[#lines + 1] = line end
  end
  return lines
end

-- A URL without its path: a batch endpoint is named from the top of its server.
local function root_of(url)
  local server, query = url:match "^(%a+://[^/?]+)[^?]*(.*)$"
  return server .. query
end

local function prepare(call, path, streaming)
  local place, passes = call.place, call.kind == "pass"
  local target, tls = place.target, place.target.tls or {}
  local method = passes and call.method or "POST"
  local base = call.kind == "batch" and root_of(target.url) or target.url
  return {
    url = target.provider.url(base, path), method = method,
    headers = header_lines(target, place.key, passes, streaming), connect = call:clock "connect",
    most = target.limits and target.limits.body or not passes and MOST_BYTES or nil,
    once = passes and not passing.idempotent[method], proxy = target.proxy(),
    ca_file = tls.ca, ca_path = tls.ca_path, cert_file = tls.cert, key_file = tls.key,
    insecure = tls.verify == false, http1 = tls.http2 == false, streams = streaming or nil,
    secrets = target.secrets.known,
  }
end

-- Key -> path -> request, plain and streamed; here and in no field of a key or target, since the
-- requests hold the secret.
local weak = { __mode = "k" }
local plain, streamed = setmetatable({}, weak), setmetatable({}, weak)

local posted = setmetatable({}, weak) -- key -> { path =, request = } of the last post

-- Paths that callers make up are not to pile up: mostly it is the same one again.
local function prepared_post(call, path)
  local key = call.place.key
  local last = posted[key]
  if not last or last.path ~= path then
    last = { path = path, request = prepare(call, path, false) }
    posted[key] = last
  end
  return last.request
end

local function prepared(call, path, streaming)
  local kind = call.kind
  if call.options.clocks or kind == "pass" or kind == "batch" then
    return prepare(call, path, streaming)
  end
  if kind == "post" then return prepared_post(call, path) end
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

-- {== What a call adds ====================================================

local replaceable = { ["user-agent"] = true, accept = true, ["content-type"] = true }

-- A body that we write says itself what it is.
local function is_of_body(name)
  return name == "accept" or name:find("content-", 1, true) == 1
end

-- Lower-case name -> true, for what the target sets itself.
local function own_names(target)
  local own = {}
  for name in pairs(target.extra_headers()) do own[name:lower()] = true end
  return own
end

-- The lines of `base` and the call's own. What the target sets and what says who we are stays;
-- where a line of the call takes the place of one of ours, ours goes.
local function merged_lines(call, base)
  local own, ours, out, added = own_names(call.place.target), {}, {}, {}
  for _, line in ipairs(base) do ours[line:match("^[^:]+"):lower()] = true end
  for _, h in ipairs(call.extra) do
    local keeps_ours = own[h.name] or ours[h.name] and not replaceable[h.name]
      or not call.path and is_of_body(h.name)
    if not keeps_ours then
      added[h.name] = true
      out[#out + 1] = h.line
    end
  end
  for _, line in ipairs(base) do
    if not added[line:match("^[^:]+"):lower()] then out[#out + 1] = line end
  end
  return out
end

-- Of a packed answer, a range would be no use: libcurl could not unpack it.
local function asks_for_range(call)
  for _, h in ipairs(call.extra) do
    if h.name == "range" then return true end
  end
end

-- A request of this call alone, after one that is shared.
local function with_extra(call, base)
  local request, lines = {}, merged_lines(call, base.headers)
  for name, value in pairs(base) do request[name] = value end
  if asks_for_range(call) then lines[#lines + 1] = "accept-encoding: identity" end
  if call.trace then
    local parent, state = trace.lines(call.trace, call:tries_made() + 1)
    lines[#lines + 1] = parent
    lines[#lines + 1] = state
  end
  request.headers = lines
  return request
end

-- }========================================================================

--- The request for the place that the call was given, as `loop.open` takes it, and its body. The
--- request is shared with other calls: nobody changes it.
---@return table? request, string body or what is wrong, string path
function requests.build(call, streaming)
  local own = own_paths[call.kind]
  local path, body = (own or encoded)(call, streaming)
  if not path then return nil, body end
  local request = prepared(call, path, streaming)
  if call.extra then request = with_extra(call, request) end
  return request, body, path
end

--- The try has failed: there may be another one, with the same bytes. `spares` is what
--- `spares_usage` said when they were built.
function requests.remember(call, body, path, spares)
  local place = call.place
  if call.so_far then return end -- the next one may have more to go on with
  call.sent = { body = body, path = path, model = place.model, provider = place.target.provider,
    spares = spares }
end

return requests
