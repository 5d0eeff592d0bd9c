--- Keeps answers, once they have come to their good end.
--
--     answer ──► at its end: whole? asked as it was? ──► bytes ──► client.cache, under `call.key`
--
-- Called for the call whose answer it is, and for a call that is made for several others (see
-- `adopt`). A failure, a cut, a weak, partial or kept answer never takes the place of a good one:
-- see `unbusy.caching.stored`. What cannot be kept (for want of memory, or since the client was
-- closed meanwhile) takes no good answer away.
local recording = require "unbusy.caching.recording"
local stored = require "unbusy.caching.stored"

local keeping = {}

-- For how many seconds the answer will be fresh. Only what the client says for all of them is
-- shortened by chance, so that what was asked together does not end together.
local function ttl_of(call)
  local own = call.options.cache
  if type(own) == "number" then return own end
  own = call.keeps
  if type(own) == "table" then own = own.ttl end
  if type(own) == "number" then return own end
  local caching = call.client.caching
  return caching.ttl * (1 - caching.jitter * caching.chance())
end

local function add_all(list, more)
  for i = 1, more and #more or 0 do list[#list + 1] = more[i] end
end

local function add_model(list, model)
  if type(model) == "string" then list[#list + 1] = stored.tag("model", model) end
end

-- Whose answer it is, by its models (the one that was asked for, and what the server calls it) and
-- target; and what the call and its policy say.
local function tags_of(call, answer)
  local list = { stored.tag("target", answer.target) }
  add_model(list, call.model)
  if answer.model ~= call.model then add_model(list, answer.model) end
  add_all(list, call.options.cache_tags)
  if type(call.keeps) == "table" then add_all(list, call.keeps.tags) end
  while #list > 16 do list[#list] = nil end
  return list
end

local function bytes_of(tags)
  local sum = 0
  for _, tag in ipairs(tags) do sum = sum + #tag end
  return sum
end

-- Puts the answer under the key, unless the request has changed since its own key was made, or what
-- was asked for later, anew, is there already. Its pieces are left out where there is no room for
-- both.
local function put(call, key, answer, record)
  if call.overtaken then return end
  local ttl, pieces = ttl_of(call), record and record:bytes()
  local value = stored.pack(call, answer, ttl, pieces)
  if not value or stored.key(call) ~= (call.own_key or key) then return end
  local tags, client = tags_of(call, answer), call.client
  if pieces and #key + #value + bytes_of(tags) > client.caching.bytes then
    value = stored.pack(call, answer, ttl)
  end
  answer.stored = client.cache:set(key, value, { ttl = ttl, tags = tags }) ~= nil
  if answer.stored and call.options.cache == "refresh" then client.flights:renewed(call, key) end
end

--- Keeps the answer of a call once it has come to its good end. Of a stream its pieces are kept
--- too, as `unbusy.stream` reads them; whoever reads `answer.pieces` by other ways tells
--- `answer.record:add(piece)` of each.
---@param call table with a `key`
---@param answer table reply
function keeping.watch(call, answer)
  local key, record, caching = call.key, nil, call.client.caching
  if answer.pieces and caching.replay then
    record = recording.new(call, caching.bytes)
    answer.record = record
  end
  answer:on_end(function(self, how)
    if not how then pcall(put, call, key, self, record) end
  end)
end

--- A call that is made for others, all with the key of `call`: what it is answered is kept as that
--- of `call` would be. Its options have to be its own, and its request that of `call`.
---@param c table
---@param call table
function keeping.adopt(c, call)
  local given, own = call.options, c.options
  c.key, c.own_key, c.keeps, c.again, c.model = call.key, call.own_key, call.keeps, call.again,
    call.model
  own.cache, own.cache_tags, own.tenant = given.cache, given.cache_tags, given.tenant
end

return keeping
