--- Answers kept under their questions; what is asked for seldom goes.
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
-- entries and bytes are exact. Values are strings of any bytes. The memory (`bytes`, and about 700
-- bytes an entry) is asked for at once, outside of Lua, and used from the front: the system gives
-- it page by page as it fills. csrc/parts/cache.h has the rest, csrc/parts/cache_queues.c who goes
-- when room is needed.
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
    doc = "how long their keys, values and tags may be together" },
  ttl = { type = "number", default = 300, min = 0, unit = "s",
    doc = "how long an entry is fresh, where `set` does not say" },
  stale = { type = "number", default = 86400, min = 0, unit = "s",
    doc = "how long it may still be had after that, marked as stale" },
  clock = { type = "function", doc = "gives the time in seconds; by default the monotonic clock, "
    .. "or the wall clock for a file" },
  path = { type = "string", doc = "a file that it lives in, which outlives the process and a "
    .. "reboot; `entries` and `bytes` decide how large it is" },
  seed = { type = "whole", doc = "of the hash of keys; by default from the system's entropy" },
  region = region.fields.region,
  name = region.fields.name,
}

local class = clocked.class({ get = 1, delete = 1, purge = 1, next = 1 },
  { "clear", "stats", "close" })

function class.__index.set(self, key, value, ttl, tags, _, age)
  return self.object:set(key, value, ttl, tags, self.clock(), age)
end

local PART = "cache" -- its name in a file of its own

-- As core.cache, in the file `o.path`.
local function in_file(o)
  local given = { entries = o.entries, bytes = o.bytes, ttl = o.ttl, stale = o.stale, seed = o.seed,
    wall = true }
  local r, message, code = core.region { path = o.path, lasting = true,
    bytes = math.max(core.cache_room(given, PART), region.schema.bytes.min) }
  if not r then return nil, message:gsub("^region: ", "cache: its file: "), code end
  local c
  c, message, code = core.cache(given, nil, r, PART)
  r:close() -- its part keeps it open
  return c, message, code
end

-- What is wrong with where it is to live, if anything.
local function place_fault(o)
  if not o.path then return region.contradiction(o) end
  if o.region or o.name then return "path: it has a region of its own" end
  return region.wrong { path = o.path }
end

--- Makes a cache, or gives nil, message, "nomem".
--
-- `c:get(key) -> value, "fresh" / "stale", age`, or nil: the value, and for how many seconds it has
-- been there. A stale one counts as used too.
--
-- `c:set(key, value, ttl, tags) -> true`, or nil, message, "full" when it is longer than `bytes`;
-- then nothing changes. What was under the key is replaced. `ttl` is in seconds; 0 makes it stale
-- at once. `tags` is a list of up to 16 strings of 1 to 255 bytes. A sixth argument says for how
-- many seconds the value has been somewhere else: so old it is, and what was kept later stays, but
-- for a stale one in place of which it is fresh (the fifth is the time, for specs).
--
-- `c:delete(key) -> boolean`: was there anything to be had?
--
-- `c:purge(tag) -> how many`: takes out what has this tag. It looks at all entries that there are
-- when it begins, some hundreds at a time, between which others get their turns.
--
-- `c:next(cursor) -> cursor, key, value, about`: goes through all, from no cursor on; nil is the
-- end. `about` has `age`, `ttl` (how long it is still fresh, in seconds; below 0 for a stale one),
-- `state` and `tags`. `cache.key_of_bytes(key)` is its key. Entries may come and go meanwhile: what
-- does may be seen or not.
--
-- `c:clear()`: forgets all entries; counts go on.
--
-- `c:stats() -> { entries =, bytes =, hits =, stale =, misses =, stored =, refused =, evicted =,
-- expired =, purged =, rebuilt = }`: what is in it (entries that are gone and that nobody has come
-- across since, too); gets that found a fresh value, a stale one, none; sets that were done and
-- that were too large; entries put out for room, found past their time, taken out by their tags;
-- and how often it was put in order again after a death, a reboot or damage to its file.
--
-- `c:close()`: gives its memory back now, not at some collection. It may be called twice; the other
-- methods raise then.
--
-- A key is one of `cache.key`, or a string.
--
-- With `region` and `name` it is one cache for all processes that open it with the same `entries`
-- and `bytes`; `ttl` and `stale` are those of whoever opened it last. `close` leaves it to the
-- others. Who reads takes no lock. One that dies while it changes the cache costs at most the entry
-- that it was at.
--
-- With `path` it lives in that file, of this user and mode 0600, and all processes that open it
-- with the same `entries` and `bytes` share it as in a region. It goes by the wall clock: what was
-- stored in the future is stale. After a reboot each entry has to have its checksum. Opened in
-- another size or by another version, it begins anew, unless others use it. What cannot be opened
-- (no right to, no space, no file of ours, cut short) is nil, message, "invalid" or "full".
---@param given unbusy.options_of.cache? see `cache.schema`
---@return unbusy.core.cache? c, string? message, string? code "nomem", "full", "invalid"
function cache.new(given)
  local o = options.check(cache.schema, given, "cache")
  local wrong = place_fault(o)
  if wrong then error("cache: " .. wrong, 2) end
  local c, message, code
  if o.path then c, message, code = in_file(o)
  else c, message, code = core.cache(o, nil, o.region, o.name) end
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

--- The key's bytes as one string, for a file or another server: `cache.key_of_bytes` makes the key
--- of it again. Nil, message, "invalid" for what are no such bytes.
---@type fun(key: userdata|string): string
cache.bytes_of_key = core.key_bytes

---@type fun(bytes: string): userdata?, string?, string?
cache.key_of_bytes = core.key_of_bytes

return cache
