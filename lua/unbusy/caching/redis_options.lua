--- What the option `redis` of a client's `cache` takes, and what is made of it.
local options = require "unbusy.options"

local redis_options = {}

redis_options.schema = {
  url = { type = "string", required = true, doc = "where it is: `redis://host:port/database`, with "
    .. "`:password@` or `user:password@` before the host, or the path of its unix socket" },
  user = { type = "string", doc = "who we are there" },
  password = { type = "string", doc = "and our password; kept out of all messages" },
  database = { type = "whole", min = 0, max = 65535, doc = "the number of its database; 0" },
  clock = { type = "number", default = 0.02, above = 0, max = 10, unit = "s",
    doc = "longest wait for it; then the call goes on without" },
  prefix = { type = "string", default = "unbusy:", doc = "begins the names of all entries" },
  ttl = { type = "number", above = 0, max = 1e9, unit = "s",
    doc = "how long an entry is there at most; by default as long as it may be had" },
  most = { type = "whole", default = 1048576, min = 1, max = 2 ^ 29, unit = "bytes",
    doc = "longer ones, key and answer together, are not sent" },
  queue = { type = "whole", default = 8388608, min = 1, max = 2 ^ 31, unit = "bytes",
    doc = "what may wait to be stored; what is over that is not sent" },
}

--- The option's field in the schema of `cache`.
redis_options.field = { type = "table|string", optional = true, fields = redis_options.schema,
  doc = "a Redis server as second level, shared by machines (docs/redis.md): its URL, or options" }

local PORT = 6379
local MOST_PREFIX = 128 -- as csrc/lua/lua_redis.c

local function decoded(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- "user:password" of a URL.
local function read_user(o, text)
  local user, password = text:match "^([^:]*):(.*)$"
  if not user then return "a ':' expected before the password" end
  if o.password or o.user then return "who we are is said twice, in the URL and beside it" end
  o.user = user ~= "" and decoded(user) or nil
  o.password = decoded(password)
end

-- "host:port", or "[address]:port".
local function read_host(o, text)
  local host, port = text:match "^%[([%x:.]+)%](.*)$"
  if not host then host, port = text:match "^([%w._-]+)(.*)$" end
  if not host then return "a host expected" end
  if port ~= "" then
    local number = tonumber(port:match "^:(%d+)$")
    if not number or number < 1 or number > 65535 then return "a port of 1 to 65535 expected" end
    o.port = number
  end
  o.host = host
end

local function read_path(o, text)
  if text == "" or text == "/" then return nil end
  local number = tonumber(text:match "^/(%d+)$")
  if not number or number > 65535 then return "a number of a database expected behind the host" end
  if o.database then return "the database is said twice, in the URL and beside it" end
  o.database = number
end

-- Takes the URL apart; a message when it is none.
local function read_url(o)
  local url = o.url
  if url:find "%c" then return "no control characters expected" end
  if url:find "^unix://" then
    url = url:sub(8)
    if url:find "[?#]" then
      return "no '?' or '#' expected behind a socket's path (see `database`)"
    end
  end
  if url:find "^/" then
    if #url > 107 then return "a path of 107 bytes at most expected, as unix sockets have them" end
    o.path = url
    return nil
  end
  if url:find "^rediss://" then
    return "TLS is not supported: use a tunnel, or a network of yours"
  end
  local rest = url:match "^redis://(.*)$"
  if not rest then return "redis://host:port/database, or a path that starts with / expected" end
  local authority, path = rest:match "^([^/?#]*)(.*)$"
  local who, place = authority:match "^(.*)@(.-)$"
  return who and read_user(o, who) or read_host(o, place or authority) or read_path(o, path)
end

local function fault_of(o)
  local message = read_url(o)
  if message then return "url: " .. message end
  if o.user and not o.password then return "password: missing, beside 'user'" end
  for _, name in ipairs { "user", "password" } do
    if o[name] and (o[name] == "" or o[name]:find "%z") then return name .. ": a text expected" end
  end
  if #o.prefix > MOST_PREFIX or o.prefix:find "[%c%s]" then
    return ("prefix: %d characters at most expected, no blanks"):format(MOST_PREFIX)
  end
end

-- Where it is, as it may be shown.
local function shown(o)
  if o.path then return "unix:" .. o.path end
  local host = o.host:find(":", 1, true) and "[" .. o.host .. "]" or o.host
  return ("%s:%d/%d"):format(host, o.port, o.database)
end

--- Makes of the checked option what `unbusy.caching.redis` takes: `link`, which knows where it is
--- and the password, `place` (a text to show), and the other options. Nothing is opened.
---@param given table|string
---@return table? made, string? message
function redis_options.read(given)
  local o = type(given) == "string" and { url = given } or given
  local message
  o, message = options.field({ type = "table", fields = redis_options.schema }, o, "cache.redis")
  if not o then return nil, message end
  message = fault_of(o)
  if message then return nil, "cache.redis." .. message end
  local found, core_redis = pcall(require, "unbusy.core_redis")
  if not found then
    return nil, "cache.redis: this build is without it: install hiredis (Debian: libhiredis-dev) "
      .. "and build again"
  end
  o.port, o.database = o.port or PORT, o.database or 0
  local link
  link, message = core_redis.link(o)
  if not link then return nil, message end
  return { link = link, place = shown(o), clock = o.clock, ttl = o.ttl, most = o.most,
    queue = o.queue, prefix = o.prefix, tags_of = core_redis.tags_of }
end

return redis_options
