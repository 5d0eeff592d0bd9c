-- Stands in for leafo's lua-openai where that is not installed: the part of its interface that
-- docs/lua_openai.md uses, with its HTTP done in the same way, and nothing else of it.
local cjson = require "cjson"
local ltn12 = require "ltn12"

local Client = { api_base = "https://api.openai.com/v1" }
Client.__index = Client

-- The events that complete lines of `data: …` bring, decoded, to `f`.
local function filter(f)
  local rest = ""
  return function(bytes)
    rest = (rest .. (bytes or "")):gsub("([^\n]*)\n", function(line)
      local ok, event = pcall(cjson.decode, line:match "^data: ({.*)$")
      if ok then f(event) end
      return ""
    end)
    return bytes
  end
end

local function send(self, path, payload, on_event)
  local body, out = cjson.encode(payload), {}
  local sink = ltn12.sink.table(out)
  if on_event then sink = ltn12.sink.chain(filter(on_event), sink) end
  local _, status, headers = assert(require(self.config.http_provider).request {
    url = self.api_base .. path, method = "POST", sink = sink, source = ltn12.source.string(body),
    headers = { ["Content-Type"] = "application/json", ["Content-Length"] = #body,
      Authorization = "Bearer " .. self.api_key } })
  local text = table.concat(out)
  local ok, decoded = pcall(cjson.decode, text)
  return status, ok and decoded or text, headers
end

function Client:create_chat_completion(messages, options, on_event)
  local payload = { messages = messages, model = "gpt-4.1" }
  for name, value in pairs(options or {}) do payload[name] = value end
  return send(self, "/chat/completions", payload, payload.stream and on_event)
end

return { new = function(key, config)
  return setmetatable({ api_key = key, config = config }, Client)
end }
