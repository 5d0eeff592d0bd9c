--- What a cached answer is: under which key it stands, which answers are kept, and as what bytes.
--
-- The key is made in C from the whole request in a canonical form (`unbusy.cache`), without what
-- cannot change the answer. The value:
--
--     \1 · ttl in ms, 15 digits · bytes of the body, 12 · of the pieces, 12 · target \n body pieces
--
-- With \2 in place of \1 it is the answer to a stream that wanted no usage, and got none.
-- (`unbusy.caching.recording` has the pieces of a stream.) Places that are always the same: what
-- LuaJIT cannot compile, a pattern for one, would cost each hit as much as all stages together.
local answers = require "unbusy.providers.answers"
local cache = require "unbusy.cache"
local headers = require "unbusy.headers"
local json = require "unbusy.json"
local json_fields = require "unbusy.json_fields"

local stored = {}

local some = answers.some
local byte, find, sub = string.byte, string.find, string.sub

-- {== Keys ================================================================

-- Who asks, and in which form the answer is to come.
local NEVER = { "stream", "stream_options", "user", "safety_identifier", "prompt_cache_key" }

-- What every server does in any case, said or not: { field, value }. What only some take for their
-- default (a temperature of 1, say) is another request.
local usual = {
  chat = { { "n", 1 }, { "logprobs", false } },
  complete = { { "n", 1 }, { "echo", false } },
  embed = { { "encoding_format", "float" } },
}

-- Kind -> a bit for each of its usual fields -> the names to leave out.
local left_out = {}
for kind, fields in pairs(usual) do
  left_out[kind] = {}
  for mask = 0, 2 ^ #fields - 1 do
    local names = {}
    for _, name in ipairs(NEVER) do names[name] = true end
    for i, field in ipairs(fields) do
      if math.floor(mask / 2 ^ (i - 1)) % 2 == 1 then names[field[1]] = true end
    end
    left_out[kind][mask] = names
  end
end

-- The names of this request to leave out.
local function names_of(kind, request)
  local fields, mask, bit = usual[kind], 0, 1
  for i = 1, #fields do
    if request[fields[i][1]] == fields[i][2] then mask = mask + bit end
    bit = bit * 2
  end
  return left_out[kind][mask]
end

-- The names of a pool's targets: a cache may outlive the configuration that says which these are.
local function members_of(call, pool)
  local names = {}
  for i, t in ipairs(call.client.pools.by_name[pool]) do names[i] = t.name end
  return names
end

-- Where the call wants to be answered: the target's name, a table for a pool, or false. Where
-- another model is asked in place of the first one, its answer is that model's, though a policy may
-- find that the question is the same.
local function asked_of(call, request)
  local target, pool = call.options.target, call.options.pool
  local members = pool and not target and members_of(call, pool) or nil
  if call.again and request and request.model ~= call.model then
    return { target = target, pool = pool, members = members, model = call.model }
  end
  return target or pool and { pool = pool, members = members } or false
end

local function header_of(call, name)
  for _, h in ipairs(call.extra or {}) do
    if h.name == name then return h.value end
  end
end

-- Whose answers the call may have, where not all callers share them: of which sort the name is, and
-- the name. False and false for everybody's; nil where that has to be known, and is not.
local function owner_of(call)
  local per, tenant = call.client.caching.per, call.options.tenant
  if not per then return tenant and "tenant" or false, tenant or false end
  if per == "tenant" then
    if tenant then return per, tenant end
    return nil
  end
  local sort, name = per, call.request.user
  if type(per) == "table" then
    sort, name = "header " .. per.header, tenant or header_of(call, per.header)
  else
    if not some(name) then name = call.request.safety_identifier end
    if tenant then sort = { per, tenant } end -- two tenants may call their users the same
  end
  if type(name) == "string" and name ~= "" then return sort, name end
end

--- The key of a call; nil when its request cannot be written as JSON, or whose it is has to be
--- known, and is not. A call that names its target has a key of its own: it wants that target's
--- answer. So has one that names its pool, or was sent there since nobody else answered. So have
--- clients of other servers, though they may be called the same, calls with other headers, and
--- those of another tenant.
---@param call table
---@param request table? what counts as the question; the call's request by default
---@return userdata? key
function stored.key(call, request)
  local sort, owner = owner_of(call)
  if sort == nil then return nil end
  return (cache.key_without(names_of(call.kind, request or call.request), call.client.sources,
    call.kind, asked_of(call, request), call.extra and headers.asked_with(call.extra) or false,
    sort, owner, request or call.request))
end

local BEYOND = 2 ^ 53 -- from here on JSON's whole numbers and Lua's are not the same

-- How many members the objects in it have, those within each other too; nil where it holds a
-- number that may stand for several.
local function count_members(t)
  local count = 0
  for name, value in next, t do
    if type(name) == "string" then count = count + 1 end
    local kind = type(value)
    if kind == "table" then
      local inner = count_members(value)
      if not inner then return nil end
      count = count + inner
    elseif kind == "number" and (value >= BEYOND or value <= -BEYOND) then
      return nil
    end
  end
  return count
end

--- Is the key all that a server will be told? Not where numbers are rounded as they are read, nor
--- where a name comes twice in the bytes that are sent: a server could take the other one, and its
--- answer is none to the question that we have read.
---@param call table with a key
---@return boolean
function stored.is_sound(call)
  local count, raw = count_members(call.request), call.options.raw
  return count ~= nil and (raw == nil or json_fields.members(raw) == count)
end

-- }========================================================================

local MOST_TAG = 64 -- bytes

--- The tag of the answers of a model or a target; of a long name its first whole characters.
---@param sort "model"|"target"
---@param name string
---@return string
function stored.tag(sort, name)
  local tag, last = sort .. ":" .. name, MOST_TAG
  if #tag <= MOST_TAG then return tag end
  while last > 0 and byte(tag, last + 1) >= 0x80 and byte(tag, last + 1) < 0xC0 do
    last = last - 1
  end
  return sub(tag, 1, last)
end

-- {== What is kept ========================================================

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

local function is_text(text)
  return text ~= nil and text ~= ""
end

-- Is this choice a whole answer? What was cut for its length, filtered or refused, says nothing, or
-- asks for a tool (unless tools are kept too) is not.
local function is_whole_choice(kind, choice, tools)
  if type(choice) ~= "table" then return false end
  local finish = choice.finish_reason
  if kind == "complete" then return finish == "stop" and is_text(answers.text_of(choice.text)) end
  local message = type(choice.message) == "table" and choice.message or {}
  if some(message.refusal) then return false end
  local calls = some(message.tool_calls)
  if type(calls) == "table" and #calls > 0 or some(message.function_call) then
    return tools and (finish == "tool_calls" or finish == "function_call" or finish == "stop")
  end
  return finish == "stop" and is_text(answers.text_of(message.content))
end

local function is_embedding(item)
  if type(item) ~= "table" or some(item.error) ~= nil then return false end
  local vector = some(item.embedding)
  if vector == nil then vector = some(item.embeddings) end -- one for each token
  return is_text(vector) and (type(vector) ~= "table" or next(vector) ~= nil)
end

-- Is there one for each of the texts?
local function are_whole_embeddings(call, body)
  local data = body.data
  if type(data) ~= "table" or #data < answers.texts_in(call.request.input) then return false end
  for i = 1, #data do
    if not is_embedding(data[i]) then return false end
  end
  return true
end

-- Is it all that was asked for? `says` is what the policy says of it.
local function is_whole(call, reply, says)
  local body = reply.body
  if type(body) ~= "table" then return false end
  if call.kind == "embed" then return are_whole_embeddings(call, body) end
  local n = call.request.n
  local wanted = says and type(n) == "number" and n or 1
  if #body.choices ~= wanted then return false end
  for _, choice in ipairs(body.choices) do
    if not is_whole_choice(call.kind, choice, type(says) == "table" and says.tools) then
      return false
    end
  end
  return true
end

local WHOLE, BARE = 1, 2 -- the first byte

--- Is it a stream whose caller wants no usage? Where the request says nothing, we ask for it.
---@param call table
---@return boolean
function stored.is_bare(call)
  if not call.streaming then return false end
  local o = call.request.stream_options
  return o ~= nil and not (type(o) == "table" and o.include_usage == true)
end

--- Is the usage missing, which this call would have had from a server?
---@param call table
---@param value string
---@return boolean
function stored.lacks_usage(call, value)
  return byte(value, 1) == BARE and not stored.is_bare(call)
end

local fresh = { upstream = true, batch = true }

-- Has its server told what it has used, as a call that wants to know is told? (Not of a stream that
-- was gone on with or ended by ourselves, of which it is estimated.)
local function tells_usage(reply)
  return reply.usage ~= nil and (reply.usage.estimated_tokens or 0) == 0
end

--- The bytes to keep of a reply, or nil when it is not to be kept.
---@param call table
---@param reply table
---@param ttl number seconds that it will be fresh
---@param pieces string? of `recording`
---@return string?
function stored.pack(call, reply, ttl, pieces)
  if not fresh[reply.source] or not is_whole(call, reply, call.keeps) or reply:is_weak() then
    return nil
  end
  local text = reply.raw or json.encode(reply.body)
  pieces = pieces or ""
  local mark = not tells_usage(reply) and stored.is_bare(call) and BARE or WHOLE
  return text and ("%c%015.0f%012d%012d%s\n"):format(mark, math.min(ttl * 1000, 1e14), #text,
    #pieces, reply.target) .. text .. pieces
end

-- Names of targets that have been looked at: messages have them, and the bytes may be anybody's.
local names, known = {}, 0
local MOST_NAMES = 1000
local MOST_NAME = 64 -- bytes, as in a configuration

local function is_name(name)
  if names[name] then return true end
  if #name > MOST_NAME or name:find "%c" or not json.is_utf8(name) then return false end
  if known >= MOST_NAMES then names, known = {}, 0 end
  names[name], known = true, known + 1
  return true
end

local function is_packed(value)
  local mark = byte(value, 1)
  return mark == WHOLE or mark == BARE
end

--- What `pack` has put together; nil for other bytes.
---@param value string
---@return string? target, string text the body, integer pieces where they begin
function stored.unpack(value)
  if not is_packed(value) then return nil end
  local length, pieces = tonumber(sub(value, 17, 28)), tonumber(sub(value, 29, 40))
  local mark = find(value, "\n", 41, true)
  if not (mark and length and pieces) or mark + length + pieces ~= #value then return nil end
  if length < 0 or pieces < 0 or length % 1 ~= 0 then return nil end
  local target = sub(value, 41, mark - 1)
  if not is_name(target) then return nil end
  return target, sub(value, mark + 1, mark + length), mark + length + 1
end

--- For how many seconds it was to be fresh; nil for other bytes.
---@param value string
---@return number?
function stored.ttl(value)
  local ms = is_packed(value) and tonumber(sub(value, 2, 16))
  return ms and ms / 1000 or nil
end

-- }========================================================================

return stored
