--- unbusy under the lua-openai client: an `http_provider` for it.
--
--     local openai = require "openai"
--     local client = openai.new(key, { http_provider = "unbusy.lua_openai" })
--     client.api_base = "https://api.deepseek.com"
--     local status, answer = client:create_chat_completion(messages, { model = "deepseek-flash" })
--
-- That alone gives its calls retries, breaker, limits, waiting line and clocks. docs/lua_openai.md
-- says what else may be had, and what comes of each request.
local answer = require "unbusy.lua_openai.answer"
local asked = require "unbusy.lua_openai.asked"
local config = require "unbusy.config"
local options = require "unbusy.options"
local unbusy = require "unbusy"

local lua_openai = {}

local MOST = 100 -- clients of one provider, each for a server and a key

local CALLER = 3 -- `error`'s level of whoever has called `new` or `use`

-- {== Clients =============================================================

local function is_client(given)
  return type(given) == "table" and type(given.pass) == "function"
end

local function copy(t)
  local out = {}
  for name, value in pairs(t) do out[name] = value end
  return out
end

-- Options for a server that only a request names.
local function options_for(given, place)
  local out = copy(given)
  out.targets = { { name = place.base:match "^https?://([^/]+)", url = place.base,
    key = place.key } }
  return out
end

-- Wrong options are told now, not at the first request.
local function check_options(given)
  local ok, message = pcall(config.read, options_for(given, { base = "https://api.example" }))
  if not ok then error(message, CALLER + 1) end
end

-- The client for a server and a key: made once.
local function made(self, place)
  local id = place.base .. "\n" .. (place.key or "")
  local known = self.clients[id]
  if known then return known end
  local ok, client, message = pcall(unbusy.new, options_for(self.given, place))
  if not ok then return nil, client end
  if not client then return nil, message end
  self.clients[id], self.ids[#self.ids + 1] = client, id
  if #self.ids > MOST then self.clients[table.remove(self.ids, 1)] = nil end
  return client
end

-- }========================================================================

local function check_call(given)
  if given == nil then return {} end
  local o = options.check(config.call, given, "lua_openai", CALLER + 1)
  for _, name in ipairs { "headers", "raw", "cancel" } do
    if o[name] ~= nil then
      error(("lua_openai: '%s' is each request's own"):format(name), CALLER)
    end
  end
  return given
end

--- Makes a provider of its own, for an lua-openai client whose `get_http` gives it.
---@param given table|string|nil a client of unbusy; or options of `unbusy.new`, or the path of a
--- file of them. Without `targets` they are for clients that are made as they are needed, one for
--- each server and key (the 100 that came last are kept).
---@param call_options table? options of every call, see `config.call`
---@return table provider { request = }
function lua_openai.new(given, call_options)
  local self = { call = check_call(call_options), clients = {}, ids = {}, given = {} }
  if is_client(given) then
    self.client = given
  elseif type(given) == "string" or type(given) == "table" and given.targets then
    local client, message = unbusy.new(given)
    if not client then error("lua_openai: " .. message, 2) end
    self.client = client
  elseif type(given) == "table" then
    check_options(given)
    self.given = given
  elseif given ~= nil then
    error(("lua_openai: a client, options or a path expected, got a %s"):format(type(given)), 2)
  end
  return { request = function(o)
    local r, message = asked.read(o)
    if not r then return nil, message end
    local client = self.client
    if not client then client, message = made(self, r) end
    if not client then return nil, message end
    return answer.give(client, r, self.call)
  end }
end

local usual = lua_openai.new()

--- Sets what `http_provider = "unbusy.lua_openai"` stands for from now on, in this process.
---@param given table|string|nil as of `new`
---@param call_options table? as of `new`
function lua_openai.use(given, call_options)
  local ok, provider = pcall(lua_openai.new, given, call_options)
  if not ok then error(tostring(provider):gsub("^[^:]*:%d+: ", ""), 2) end
  usual = provider
end

--- Makes a request, as LuaSocket's `http.request` does in its form with a table.
---@param o table { url =, method =, headers =, source =, sink = }
---@return integer? one, integer|string status nil: a message; table? headers, string? status_line
function lua_openai.request(o)
  return usual.request(o)
end

return lua_openai
