--- What lua-openai asks for: a request as LuaSocket takes it, as a call of ours.
local json = require "unbusy.json"

local asked = {}

local function words(text)
  local out = {}
  for word in text:gmatch "%S+" do out[word] = true end
  return out
end

-- With which the path of an API's endpoint begins: what is before that is the server's base URL.
local first = words [[assistants audio batches chat completions containers conversations embeddings
  evals files fine_tuning images models moderations responses threads uploads vector_stores videos]]

-- A POST to such a path is a call of ours.
local kinds = { ["/chat/completions"] = "chat", ["/completions"] = "complete",
  ["/embeddings"] = "embed", ["/responses"] = "responses" }

-- Where the longest of these paths begins, with which this one ends.
local function start_of_call(path)
  local at
  for endpoint in pairs(kinds) do
    local start = #path - #endpoint + 1
    if start >= 1 and path:sub(start) == endpoint then at = math.min(at or start, start) end
  end
  return at
end

-- Where the API begins in a path: with a word behind a version ("/v1/files"), else with the first
-- word there is. Another may follow: "/vector_stores/ID/files" is one path, and so is the model
-- "/models/embeddings".
local function start_of_api(path)
  local at, before
  for start, word in path:gmatch "()/([^/]+)" do
    if first[word] then
      if before and before:find "^v%d+$" then return start end
      at = at or start
    end
    before = word
  end
  return at
end

-- The base URL, and the path below it with its query; nil where none of the words comes. A base URL
-- may have such a word, too (".../models/NAME/chat/completions"): what ends as a call is one.
local function split(method, url)
  local server, path, query = url:match "^(https?://[^/?#]+)([^?#]*)([^#]*)"
  if not server then return nil end
  local at = method == "POST" and start_of_call(path) or start_of_api(path)
  if not at then return nil end
  return server .. path:sub(1, at - 1), path:sub(at) .. query
end

-- {== Parts ===============================================================

-- All that a source gives; nil and a message where it fails.
local function drained(source)
  local parts = {}
  if not source then return "" end
  while true do
    local bytes, message = source()
    if not bytes then
      if message then return nil, tostring(message) end
      return table.concat(parts)
    end
    parts[#parts + 1] = bytes
  end
end

-- The key, and the headers besides it. A number is what it is written as.
local function split_headers(given)
  local others, key = {}, nil
  for name, value in pairs(given or {}) do
    if type(value) == "number" then value = tostring(value) end
    if type(name) == "string" and type(value) == "string" then
      if name:lower() == "authorization" then key = value:match "^[Bb]earer%s+(%S+)%s*$"
      else others[name] = value end
    end
  end
  return key, others
end

-- }========================================================================

-- {== Calls ===============================================================

local function has(body, field) return body[field] ~= nil and body[field] ~= json.null end

-- What a body must have to be a call of its kind. Others are passed on, for the server to refuse.
local sound = {}

function sound.chat(body) return type(body.messages) == "table" and body.messages[1] ~= nil end

function sound.complete(body)
  return has(body, "prompt") and body.messages == nil and body.input == nil
    and not (type(body.prompt) == "table" and body.prompt.id ~= nil)
end

function sound.embed(body) return has(body, "input") end

function sound.responses(body) return has(body, "input") and body.messages == nil end

local function call_of(method, path, text)
  local kind = method == "POST" and kinds[path] or nil
  local body = kind and json.decode(text)
  if type(body) ~= "table" or body.model ~= nil and type(body.model) ~= "string"
    or not sound[kind](body) then return nil end
  return kind, body
end

-- }========================================================================

--- Reads a request; raises at the caller's line for what is none.
---@param o table { url =, method = "GET", headers =, source =, sink = }
---@return table? request { base =, path =, key =, headers =, method =, body = bytes, sink =, and
--- for a call of ours kind =, decoded = }, string? message
function asked.read(o)
  if type(o) ~= "table" or type(o.url) ~= "string" then
    error("lua_openai: request: a table with a url expected", 3)
  end
  local method = o.method or "GET"
  local base, path = split(method, o.url)
  if not base then return nil, "lua_openai: the URL leads to no endpoint of OpenAI's API" end
  local body, message = drained(o.source)
  if not body then return nil, "lua_openai: source: " .. message end
  local key, headers = split_headers(o.headers)
  local kind, decoded = call_of(method, path, body)
  return { base = base, path = path, key = key, headers = headers, method = method, body = body,
    sink = o.sink, kind = kind, decoded = decoded }
end

return asked
