---@meta unbusy.core_redis
-- luacheck: ignore 212 241

-- The C side of the cache's second level, for language servers: never loaded. A module of its own,
-- which is there where hiredis was when the library was built; `unbusy.core` has to be loaded
-- before.

---@class unbusy.core_redis
local core_redis = {}

---@class unbusy.core_redis.config
---@field path string? of a unix socket
---@field host string? a name or an address, where there is no path
---@field port integer
---@field database integer
---@field user string?
---@field password string?
---@field prefix string of all names, 128 bytes at most
---@field most integer bytes of the longest entry, key and value

---@class unbusy.core_redis.link
local link = {}

--- A link to a server. Nothing is opened.
---@param config unbusy.core_redis.config
---@return unbusy.core_redis.link? link, string? message, string? code
function core_redis.link(config) end

--- What the beginning of an entry says: how many bytes it takes to have all tags, and the tags when
--- they are there.
---@param bytes string
---@return integer needed, string[]? tags
function core_redis.tags_of(bytes) end

--- What is open in this process.
---@return { blocks: integer, links: integer, descriptors: integer }
function core_redis.stats() end

--- For tests: as `core.fail_alloc`, of this module's own memory.
---@param n number
---@return integer left
function core_redis.fail_alloc(n) end

--- Has it begun in this process? False after a fork, in the child, and when it is closed.
---@return boolean
function link:owned() end

--- It has a descriptor in this process from now on; what a parent has under way is forgotten.
---@return boolean? true, string? message, string? code
function link:begin() end

--- Becomes readable when `step` has something to do; nil where it has not begun.
---@return integer? descriptor
function link:descriptor() end

--- Asks for an entry.
---@param key userdata|string
---@return integer? id, string? message, string? code
function link:get(key) end

--- Keeps an entry, fresh for `ttl` seconds since it was `stored` (wall time), there for `life`
--- seconds from now. "invalid": it is longer than `most`.
---@param key userdata|string
---@param value string
---@param ttl number
---@param life number
---@param stored number
---@param tags string[]? 16 of 255 bytes at most
---@return integer? id, string? message, string? code
function link:set(key, value, ttl, life, stored, tags) end

--- Takes an entry out.
---@param key userdata|string
---@return integer? id, string? message, string? code
function link:delete(key) end

--- Sends any command.
---@param words string[]
---@return integer? id, string? message, string? code
function link:command(words) end

--- What has come of a `get`, once:
---
---     value, stored, ttl, tags     an entry
---     nil, "miss"                  there is none
---     nil, "late"                  nothing yet; it goes on
---     nil, "torn"                  no whole entry
---     nil, "other"                 of another key with the same name
---     nil, "nonsense"              no reply to a GET
---     nil, "error", kind           as Redis says it: "NOAUTH"
---     nil, "failed", code          there is no reply
---@param id integer
---@param key userdata|string
---@return string? value, number|string, number|string|nil, string[]?
function link:entry(id, key) end

--- What has come of any command, once: true and the reply (nil becomes false), or as `entry`.
---@param id integer
---@return boolean? true, any
function link:take(id) end

--- Nobody will ask for it.
---@param id integer
function link:forget(id) end

--- Does what is due; never waits.
function link:step() end

--- Something that has ended, each once.
---@return integer? id
function link:next() end

--- Ends the connection: what is under way fails with "timeout".
function link:drop() end

--- Why the connection was lost, once, and whether it had answered before.
---@return string? code, boolean? served
function link:lost() end

--- How it is: commands without a reply, their bytes, seconds since the last word, connected?
---@return integer waiting, integer bytes, number silent, boolean connected
function link:look() end

--- Closes it. May be called twice.
function link:close() end

return core_redis
