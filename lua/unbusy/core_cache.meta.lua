---@meta unbusy.core
-- luacheck: ignore 212 241

-- The cache and its keys, as core_parts.meta.lua has the other parts.

---@class unbusy.core
local core = {}

---@class unbusy.core.cache
local cache = {}

---@param options table fields of `cache.schema`; `seed` may be missing; `wall`: it goes by the wall
--- clock, and may be read after a reboot
---@param _ nil
---@param region unbusy.core.region? where it is to live, shared
---@param name string? of the part, with a region
---@return unbusy.core.cache? cache, string? message, "nomem"|"full"|"invalid"|nil code
function core.cache(options, _, region, name) end

---@param options table as above
---@param name string of the part
---@return integer bytes of a region that holds just this cache
function core.cache_room(options, name) end

---@param key unbusy.core.key|string
---@param now number? seconds
---@return string? value, "fresh"|"stale"|nil state, number? age in seconds
function cache:get(key, now) end

---@param key unbusy.core.key|string
---@param value string
---@param ttl number? seconds that it is fresh
---@param tags string[]? up to 16 of 1 to 255 bytes
---@param now number? seconds
---@param age number? seconds that it is old already: what was kept later stays
---@return true? stored, string? message, "full"? code
function cache:set(key, value, ttl, tags, now, age) end

---@param key unbusy.core.key|string
---@param now number? seconds
---@return boolean was_there
function cache:delete(key, now) end

---@param tag string
---@param now number? seconds
---@return integer how_many that were there
function cache:purge(tag, now) end

---@class unbusy.core.cache_entry
---@field age number seconds
---@field ttl number seconds that it is still fresh; below 0: no more
---@field state "fresh"|"stale"
---@field tags string[]

---@param cursor integer? what the last call gave; nil to begin
---@param now number? seconds
---@return integer? cursor, string? key its bytes, string? value, unbusy.core.cache_entry? about
function cache:next(cursor, now) end

--- Forgets all entries; counts go on.
function cache:clear() end

---@class unbusy.core.cache_stats
---@field entries integer now
---@field bytes integer of keys and values now
---@field hits integer gets of a fresh value
---@field stale integer gets of a stale one
---@field misses integer
---@field stored integer sets that were done
---@field refused integer sets that were too large
---@field evicted integer entries put out for room
---@field expired integer entries found past their time
---@field purged integer entries taken out by their tags
---@field rebuilt integer how often it was put in order after a death or a reboot

---@return unbusy.core.cache_stats
function cache:stats() end

--- Gives the memory back. May be called twice; the other methods raise then.
function cache:close() end

---@class unbusy.core.key

---@param ... any strings, numbers, booleans, JSON's null, tables of them
---@return unbusy.core.key? key, string? message, "invalid"|"nomem"|nil code
function core.key(...) end

---@param key unbusy.core.key|string
---@return string bytes
function core.key_bytes(key) end

---@param bytes string
---@return unbusy.core.key? key, string? message, "invalid"? code
function core.key_of_bytes(bytes) end

---@param names table<string, true> fields to leave out at the top of tables
---@param ... any as above
---@return unbusy.core.key? key, string? message, "invalid"|"nomem"|nil code
function core.key_without(names, ...) end

---@param most integer bytes of each string that count
---@param ... any pieces, as above
---@return integer? hash under 2^52, string? message, "invalid"|"nomem"|nil code
function core.key_hash(most, ...) end

return core
