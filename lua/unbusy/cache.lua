--- Answers kept under their questions, the least recently used out first.
--
--     local cache = require "unbusy.cache"
--     local c = cache.new { entries = 1000, ttl = 300, stale = 86400 }
--     local key = cache.key("chat", request.model, request.messages)
--     local value, state, age = c:get(key)
--     if state ~= "fresh" then
--       local answer = ask()                  -- when that fails, a stale value is better than none
--       if answer then c:set(key, answer) end
--     end
--
-- An entry is fresh for its `ttl`, then stale for `stale` seconds more, then gone. Limits on
-- entries and bytes are exact. Values are strings of any bytes. The memory (`bytes`, and about 600
-- bytes an entry) is asked for at once, outside of Lua, and used from the front: the system gives
-- it page by page as it fills. csrc/parts/cache.h has the rest.
local clocked = require "unbusy.clocked"
local core = require "unbusy.core"
local options = require "unbusy.options"
local region = require "unbusy.region"

local cache = {}

--- Every option of `new`.
cache.schema = {
  entries = { type = "whole", default = 1000, min = 1, max = 16777216, unit = "entries",
    doc = "how many are kept at most" },
  bytes = { type = "whole", default = 67108864, min = 1, max = 1099511627776, unit = "bytes",
    doc = "how long their keys and values may be together" },
  ttl = { type = "number", default = 300, min = 0, unit = "s",
    doc = "how long an entry is fresh, where `set` does not say" },
  stale = { type = "number", default = 86400, min = 0, unit = "s",
    doc = "how long it may still be had after that, marked as stale" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock" },
  seed = { type = "whole", doc = "of the hash of keys; by default from the system's entropy" },
  region = region.fields.region,
  name = region.fields.name,
}

local class = clocked.class({ get = 1, set = 4, delete = 1, purge = 1, next = 1 },
  { "clear", "stats", "close" })

--- Makes a cache, or gives nil, message, "nomem".
--
-- `c:get(key) -> value, "fresh" / "stale", age`, or nil: the value, and for how many seconds it has
-- been there. A stale one counts as used too.
--
-- `c:set(key, value, ttl) -> true`, or nil, message, "full" when key and value are longer than
-- `bytes`; then nothing changes. What was under the key is replaced. `ttl` is in seconds; 0 makes
-- it stale at once.
--
-- `c:delete(key) -> boolean`: was there anything to be had?
--
-- `c:clear()`: forgets all entries; counts go on.
--
-- `c:stats() -> { entries =, bytes =, hits =, stale =, misses =, stored =, refused =, evicted =,
-- expired = }`: what is in it (entries that are gone and that nobody has come across since, too);
-- gets that found a fresh value, a stale one, none; sets that were done and that were too large;
-- entries put out for room and found past their time.
--
-- `c:close()`: gives its memory back now, not at some collection. It may be called twice; the other
-- methods raise then.
--
-- A key is one of `cache.key`, or a string.
--
-- With `region` and `name` it is one cache for all processes that open it with the same options;
-- `close` leaves it to the others. One that dies while it changes the cache has cleared it.
---@param given table? see `cache.schema`
---@return table|userdata? c, string? message, string? code "nomem", or "full" in a region
function cache.new(given)
  local o = options.check(cache.schema, given, "cache")
  local wrong = region.contradiction(o)
  if wrong then error("cache: " .. wrong, 2) end
  local c, message, code = core.cache(o, nil, o.region, o.name)
  if not c then return nil, message, code end
  return clocked.wrap(class, c, o.clock)
end

--- Makes a key from pieces: strings, numbers, booleans, JSON's null and tables of them. Two keys
-- are equal when their pieces are, one by one. Tables are taken as the JSON they would be: the
-- order of names does not matter, nor whether 1 is a whole number or a float; an empty table is an
-- object unless `json.array` marked it. The key of one string is the same as that string.
--
-- Its bytes never become a Lua string. `#key` is how many they are, `==` compares them, `tostring`
-- shows a hash of them.
--
-- What JSON could not say (a function, NaN, names beside numbers, holes, nesting deeper than 128)
-- and what is longer than 64 MiB gives nil, message, "invalid"; the message tells the kind and
-- never shows the data. Short of memory: nil, message, "nomem".
---@type fun(...: any): userdata?, string?, string?
cache.key = core.key

--- As `cache.key`, but tables given as pieces are taken without the fields named:
-- `cache.key_without({ user = true, stream = true }, request)`. Fields of tables inside stay.
---@type fun(names: table<string, true>, ...: any): userdata?, string?, string?
cache.key_without = core.key_without

return cache
