--- DeepSeek: OpenAI's protocol, with or without /v1, and some calls under /beta.
--
-- Fill-in-the-middle completions and answers that continue a given beginning (a last message with
-- `prefix = true`) are served under /beta only; on DeepSeek's own host the path is changed for
-- them, other hosts are asked as they are. Its signs of a queue (blank lines and
-- `insufficient_system_resource`) and its cache counts are read for every provider, since relays
-- pass them on.
local openai = require "unbusy.providers.openai"

local host = "api.deepseek.com"

local function continues(body)
  local messages = body.messages
  local last = type(messages) == "table" and messages[#messages]
  return type(last) == "table" and last.prefix == true
end

local function request(kind, body, streaming, bare)
  local path, copy = openai.request(kind, body, streaming, bare)
  if kind == "complete" or kind == "chat" and continues(body) then path = "/beta" .. path end
  return path, copy
end

-- Of a URL of DeepSeek's own: what is before its path, and its query; nil for all others.
local function own_parts(target_url)
  local at, base = target_url:match("^%a+://([^/?#]*)()")
  if not at or at:lower():gsub(":%d+$", "") ~= host then return nil end
  local tail, query = target_url:match("^([^?#]*)(%??[^#]*)", base)
  tail = tail:gsub("/+$", "")
  if tail ~= "" and tail ~= "/v1" and tail ~= "/beta" then return nil end
  return target_url:sub(1, base - 1), query
end

local function url(target_url, path)
  local beta, rest = path:match("^(/beta)(/.*)")
  if not beta then return openai.url(target_url, path) end
  local server, query = own_parts(target_url)
  if server then return server .. path .. query end
  return openai.url(target_url, rest)
end

-- Whether a relay takes the flag, nobody knows: its target has to say so.
local function prefix(target_url)
  return own_parts(target_url) and "flag" or false
end

return openai.new { name = "deepseek", host = host, request = request, url = url, prefix = prefix,
  keeps_thoughts = true }
