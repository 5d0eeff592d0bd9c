--- How to talk to a server of OpenAI's protocol: paths, headers, bodies, and what its answers mean.
--
-- Other providers are made with `openai.new` from what differs. No model is named anywhere.
local answers = require "unbusy.providers.answers"
local assembler = require "unbusy.providers.assembler"
local errors = require "unbusy.providers.errors"
local glance = require "unbusy.glance"
local json = require "unbusy.json"
local responses = require "unbusy.providers.responses"

local paths = { chat = "/chat/completions", complete = "/completions", embed = "/embeddings",
  responses = "/responses" }

local some = answers.some

local function copy(t)
  local out = {}
  for k, v in next, t do out[k] = v end
  return out
end

-- Asking for usage in a stream: OpenAI sends none otherwise, but for responses.
local function request(kind, body, streaming, bare)
  local path = paths[kind]
  if not path then
    local got = tostring(kind)
    error(("provider: kind chat, complete, embed or responses expected, got '%s'"):format(got), 2)
  end
  if streaming then
    body = copy(body)
    body.stream = true
    if body.stream_options == nil and kind ~= "responses" and not bare then
      body.stream_options = { include_usage = true }
    end
  elseif body.stream ~= nil or body.stream_options ~= nil then
    body = copy(body)
    body.stream, body.stream_options = nil, nil
  end
  return path, body
end

local function url(target_url, path)
  local base, query = target_url:match("^([^?#]*)(%??[^#]*)")
  base = base:gsub("/+$", "")
  path = "/" .. path:gsub("^/+", "")
  if base:find("/v1$") and path:find("^/v1/") then path = path:sub(4) end
  if query ~= "" and path:find("?", 1, true) then query = query:gsub("^%?", "&") end
  return base .. path .. query
end

local function headers(key)
  return key and { "Authorization: Bearer " .. key } or {}
end

local function fail(status, header, message, code, keep_alive)
  local detail = errors.detail(status, header)
  detail.keep_alive = keep_alive
  return nil, message:gsub("^200", status), code, detail
end

-- What a decoded body of a success is: the answer, or what is wrong with it.
local function judge(kind, status, header, body, hide)
  local e = errors.inside(body)
  if e then return errors.fail(status, header, e, hide) end
  local reader = kind == "responses" and responses or answers
  local message, code = reader.fault(kind, body)
  if not message then return reader.of(kind, body) end
  e = errors.told(body) -- {"code":50603,"message":"System is too busy"} and the like
  if code == "upstream" and not some(body.choices) and not some(body.data)
    and not some(body.output) and (e.message or e.code) then
    return errors.fail(status, header, e, hide)
  end
  return fail(status, header, message, code)
end

local function read_answer(kind, status, header, text, hide)
  if text == "" then return fail(status, header, "200 with an empty body", "empty") end
  if not text:find("%S") then
    return fail(status, header, "200 with nothing but blank lines", "empty", true)
  end
  local body = json.decode(text)
  if type(body) ~= "table" then
    local html = text:find("^%s*<")
    return fail(status, header, "200 with " .. (html and "a page of HTML" or "malformed JSON"),
      "upstream")
  end
  return judge(kind, status, header, body, hide)
end

local function read(kind, status, header, text, hide)
  text = text or ""
  if status < 200 or status >= 300 then return errors.of_response(status, header, text, hide) end
  if kind == "post" then return answers.of(kind, (json.decode(text))) end
  return read_answer(kind, status, header, text, hide)
end

local function new_assembler(kind, hide, asked)
  if kind == "responses" then return responses.assembler(hide) end
  return assembler.new(kind, hide, asked)
end

local openai = {}

--- Makes a provider. Its fields, none of which takes a self:
--
-- - `name`, `host` (the one its key from the environment may be sent to)
-- - `request(kind, body, streaming, bare) -> path, body`: what to send; `kind` is chat, complete,
--   embed or responses. `body` itself is never changed: it is given back, or a copy of its first
--   level. A stream is asked for its usage where the body says nothing, unless it is `bare`
-- - `copy(body)`: such a copy
-- - `url(target_url, path) -> url`: `target_url` is what SDKs call base_url
-- - `headers(key) -> { "Name: value", … }`
-- - `read(kind, status, headers, text, hide) -> answer | nil, message, code, detail`: a whole body;
--   `headers` by names in lower case; `hide(text)`, if given, takes secrets out of a server's
--   words. answer: body text reasoning tool_calls finish model usage refusal. detail: status
--   should_retry provider_code provider_type keep_alive (nothing but blank lines came: a queue that
--   gave up) lasting (the same server would say the same again) about (of "auth": the key was
--   refused for this "model" only, or this "request")
-- - `judge(kind, status, headers, body, hide)`: the same of a body of a success that is decoded. Of
--   kind "batch", which has several answers in it, `read` and `judge` see only what concerns all
-- - `glance(kind, text) -> answer | nil`: the same of a body with status 200, without decoding it:
--   only finish, model and usage, and `undecoded` = kind; nil where `read` has to look. Left out
--   where a provider has a `read` of its own
-- - `prefix(target_url) -> way or false`: how a message that was begun is gone on with there, see
--   `unbusy.resume.question`; nil where it is not
-- - `keeps_thoughts`: does such a message take its `reasoning_content` along?
-- - `assembler(kind, hide, request) -> a`: see `unbusy.providers.assembler` and `responses`
---@param own table name, host, and the functions that differ
---@return table provider
function openai.new(own)
  return { name = own.name, host = own.host, request = own.request or request, copy = copy,
    url = own.url or url, headers = own.headers or headers, read = own.read or read,
    judge = judge, prefix = own.prefix, keeps_thoughts = own.keeps_thoughts or false,
    glance = not own.read and glance.of or nil, assembler = new_assembler }
end

local provider = openai.new { name = "openai", host = "api.openai.com" }
for k, v in next, provider do if k ~= "new" then openai[k] = v end end

return openai
