--- What a cached answer is: under which key it stands, which answers are kept, and as what.
--
-- The key is made in C from the whole request in a canonical form (`unbusy.cache`), without what
-- cannot change the answer. The value is the name of the target, a line end, and the answer's body.
local answers = require "unbusy.providers.answers"
local cache = require "unbusy.cache"
local headers = require "unbusy.headers"
local json = require "unbusy.json"

local stored = {}

local some = answers.some

-- Who asks, and in which form the answer is to come.
local left_out = { stream = true, stream_options = true, user = true,
  safety_identifier = true, prompt_cache_key = true }

-- Where the call wants to be answered: the target's name, a table for a pool, or false. Where
-- another model is asked in place of the first one, its answer is that model's, though a policy may
-- find that the question is the same.
local function asked_of(call, request)
  local target, pool = call.options.target, call.options.pool
  if call.again and request and request.model ~= call.model then
    return { target = target, pool = pool, model = call.model }
  end
  return target or pool and { pool = pool } or false
end

--- The key of a call; nil when its request cannot be written as JSON. A call that names its target
--- has a key of its own: it wants that target's answer. So has one that names its pool, or was
--- sent there since nobody else answered. So have clients of other servers, though they may be
--- called the same, and calls with other headers.
---@param call table
---@param request table? what counts as the question; the call's request by default
---@return userdata? key
function stored.key(call, request)
  return (cache.key_without(left_out, call.client.sources, call.kind,
    asked_of(call, request), call.extra and headers.asked_with(call.extra) or false,
    request or call.request))
end

local USUAL = 1 -- the temperature that servers take when none is given

--- May the answer to this request be kept at all? Not when several are wanted, nor when more chance
--- is asked for than `temperature`.
---@param kind string chat, complete or embed
---@param request table
---@param temperature number
function stored.may_ask(kind, request, temperature)
  if kind == "embed" then return true end
  local n, t = request.n, request.temperature
  if type(t) ~= "number" then t = USUAL end
  return (n == nil or n == 1 or n == json.null) and t <= temperature
end

-- Is this the whole answer? What was cut for its length, filtered or refused, says nothing, or asks
-- for a tool is not.
local function is_whole(kind, reply)
  if type(reply.body) ~= "table" then return false end
  if kind == "embed" then return true end
  local choices = reply.body.choices
  local message = type(choices[1].message) == "table" and choices[1].message or {}
  return #choices == 1 and reply.finish_reason == "stop" and (reply.text or "") ~= ""
    and not reply.tool_calls and not some(message.refusal) and not some(message.function_call)
end

--- The bytes to keep of a reply, or nil when it is not to be kept.
---@param kind string chat, complete or embed
---@param reply table
---@return string?
function stored.pack(kind, reply)
  local fresh = reply.source == "upstream" or reply.source == "batch"
  if not fresh or not is_whole(kind, reply) or reply:is_weak() then return nil end
  local text = reply.raw or json.encode(reply.body)
  return text and reply.target .. "\n" .. text
end

--- The name of the target, the body and the answer that were kept; nil for other bytes.
---@return string? target, string text, table answer
function stored.unpack(kind, value)
  local target, start = value:match "^([^\n]*)\n()"
  if not target then return nil end
  local text = value:sub(start)
  local body = json.decode(text)
  if type(body) ~= "table" then return nil end
  return target, text, answers.of(kind, body)
end

return stored
