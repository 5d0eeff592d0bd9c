---@meta unbusy.core
-- luacheck: ignore 212 241

-- The parts of the C side, for language servers: never loaded. core.meta.lua has the rest, and says
-- how to read it; core_cache.meta.lua the cache.

---@class unbusy.core
local core = {}

-- {== Parts ===============================================================

---@class unbusy.core.backoff
local backoff = {}

---@param options table every field of `backoff.schema`; `seed` may be missing
---@return unbusy.core.backoff
function core.backoff(options) end

---@param n number 1 before the first retry
---@param previous number? the delay before this one, for kind "decorrelated"
---@return number seconds
function backoff:delay(n, previous) end

---@class unbusy.core.balancer
local balancer = {}

---@param options table every field of `balancer.schema`; `seed` may be missing
---@param now number? seconds
---@param region unbusy.core.region? where it is to live, shared
---@param name string? of the part, with a region
---@return unbusy.core.balancer? balancer, string? message, "full"|"nomem"|"invalid"|nil code
function core.balancer(options, now, region, name) end

---@param except table<string, boolean>|number|nil names that are not wanted now, or a sum of
--- 1 (the first target), 2, 4, …
---@param now number? seconds
---@return string? name, integer|string ticket_or_message, "open"? code
function balancer:pick(except, now) end

---@param except table<string, boolean>|number|nil
---@param key integer? of `core.key_hash`
---@param late boolean? also targets without room under their line
---@param now number? seconds
---@return integer? place, string? message, "open"? code
function balancer:choose(except, key, late, now) end

---@param place integer
---@param now number? seconds
---@return integer ticket
function balancer:begin(place, now) end

--- The target has come back.
---@param place integer
---@param now number? seconds
function balancer:back(place, now) end

---@param ticket integer
---@param seconds number from sending to the first token
---@param now number? seconds
---@return boolean is_out
function balancer:started(ticket, seconds, now) end

---@param ticket integer
---@param seconds number for which the first token has not come
---@param now number? seconds
---@return boolean is_out
function balancer:waits(ticket, seconds, now) end

---@param ticket integer
---@param outcome "ok"|"fail"|"neutral"
---@param seconds number? to the first token; nil: counted from `pick`
---@param now number? seconds
---@return boolean was_out
function balancer:report(ticket, outcome, seconds, now) end

---@class unbusy.core.balancer_stats
---@field picks integer
---@field pending integer
---@field cost number? seconds; nil: no sample yet
---@field load number seconds
---@field room number? calls that it takes at once, while it is over its line
---@field share number? of its own share what it takes, while it comes back

---@param now number? seconds
---@return table<string, unbusy.core.balancer_stats>
function balancer:stats(now) end

---@class unbusy.core.breaker
local breaker = {}

---@param options table every field of `breaker.schema` that has a default, and `min_calls`
---@param now number? seconds
---@param region unbusy.core.region? where it is to live, shared
---@param name string? of the part, with a region
---@return unbusy.core.breaker? breaker, string? message, "full"|"nomem"|"invalid"|nil code
function core.breaker(options, now, region, name) end

---@param now number? seconds
---@return integer? ticket, string? message, "open"? code, { retry_after: number }? detail
function breaker:allow(now) end

---@param ticket integer
---@param outcome "ok"|"fail"|"neutral"|"busy"
---@param seconds number? how long it took; nil or negative: not known
---@param now number? seconds
---@return boolean counted
function breaker:report(ticket, outcome, seconds, now) end

---@param ticket integer one that was reported "ok"
---@param outcome "fail"
---@param now number? seconds
---@return boolean counted
function breaker:record(ticket, outcome, now) end

---@param now number? seconds
---@return "closed"|"open"|"half_open"|"forced_open"|"disabled"|"metrics_only"
function breaker:state(now) end

---@param now number? seconds
---@return number seconds `math.huge` when it is forced open without an end
function breaker:retry_after(now) end

---@param state "closed"|"open"|"forced_open"|"disabled"|"metrics_only"
---@param seconds number? for how long; not with "closed"
---@param now number? seconds
function breaker:force(state, seconds, now) end

---@class unbusy.core.breaker_stats
---@field state string as `breaker:state`
---@field calls integer in the window; when half-open, probes
---@field successes integer
---@field failures integer
---@field slow integer
---@field failure_rate number 0 to 1
---@field refused integer since the start
---@field opened integer since the start
---@field outstanding integer tickets of this generation not yet reported

---@param now number? seconds
---@return unbusy.core.breaker_stats
function breaker:stats(now) end

---@class unbusy.core.budget
local budget = {}

---@param options table every field of `budget.schema`
---@return unbusy.core.budget
function core.budget(options) end

--- A call starts.
function budget:begin() end

---@param kind "retry"|"throttle"|"hedge"
---@return integer? permit, string? message, "budget"? code
function budget:take(kind) end

---@param permit integer
---@param outcome "ok"|"fail"
---@return boolean was_out
function budget:give(permit, outcome) end

---@param outcome "ok"|"fail"
---@return boolean was_under_way
function budget:finish(outcome) end

---@return { active: integer, permits: integer, tokens: number, refused: integer }
function budget:stats() end

---@class unbusy.core.json_field places as string.sub has them
---@field times integer how often the name comes; the rest is of the last one
---@field before integer the last byte of what is before the member
---@field name integer the quote that opens its name
---@field first integer the first byte of its value
---@field last integer the last byte of its value
---@field next integer the name of the member behind it, or the "}"

---@param text string
---@param names string[] at most 32
---@return table<string, unbusy.core.json_field>? fields, integer|string last_or_message
---@return integer|"invalid" members_or_code
function core.json_fields(text, names) end

--- Is it a plain answer, of which no more need be known to pass it on? See csrc/parts/glance.h.
---@param kind "chat"|"complete"|"embed"
---@param text string
---@return boolean plain, string? model, string? finish_reason, string? usage in JSON
function core.glance(kind, text) end

--- Does none of these members come twice? Nil: the text is no JSON object.
---@param text string
---@param names string[] at most 32
---@return boolean?
function core.json_once(text, names) end

--- How many members the objects in it have, those within each other too. Nil: the text is no JSON
--- object.
---@param text string
---@return integer?
function core.json_members(text) end

---@class unbusy.core.counters
local counters = {}

--- Checked options of `unbusy.counters`; with a region and a name it is shared.
---@param o table
---@param _ nil
---@param region userdata?
---@param name string?
---@return unbusy.core.counters? counters, string? message, string? code
function core.counters(o, _, region, name) end

---@param name string 1 to 128 bytes
---@param n number? 1 by default
---@param window number? seconds
---@param now number? seconds
---@return number sum
function counters:add(name, n, window, now) end

---@param most number
---@return boolean taken, number? seconds until there is room
function counters:take(name, n, most, window, now) end

---@param seconds number how long it is kept
---@return number value
function counters:peak(name, value, seconds, now) end

---@return number value 0 for what is not there
function counters:get(name, now) end

---@return boolean there
function counters:delete(name) end

---@return table<string, number>
function counters:list(now) end

---@return { counters: integer, used: integer, evicted: integer }
function counters:stats() end

---@class unbusy.core.histogram
local histogram = {}

---@return unbusy.core.histogram
function core.histogram() end

---@param seconds number finite; a negative one counts as 0
---@return true?, string? message, "full"? code
function histogram:record(seconds) end

---@param q number 0 to 1
---@return number? seconds nil when there is no value
function histogram:quantile(q) end

---@param other unbusy.core.histogram
---@return true?, string? message, "full"? code
function histogram:merge(other) end

---@return { count: integer, sum: number, min: number?, max: number?, mean: number? } seconds
function histogram:stats() end

--- Forgets all values.
function histogram:clear() end

---@class unbusy.core.limiter
local limiter = {}

---@param options table initial, min, max (whole numbers of calls), ratio, throttle and gradient
---@param now number? seconds
---@return unbusy.core.limiter
function core.limiter(options, now) end

---@param now number? seconds
---@return integer? ticket, string? message, "full"? code, { retry_after: number? }? detail
function limiter:allow(now) end

---@param ticket integer
---@param outcome "ok"|"fail"|"neutral"
---@param seconds number? how long it took; nil: counted from `allow`
---@param now number? seconds
---@return boolean was_out
function limiter:report(ticket, outcome, seconds, now) end

---@param ticket integer
---@param seconds number from sending to the first token
---@param now number? seconds
---@return boolean was_out
function limiter:started(ticket, seconds, now) end

---@param now number? seconds
---@return number
function limiter:limit(now) end

---@return integer
function limiter:in_flight() end

---@param now number? seconds
---@return number? seconds until time alone makes room; nil: only a report can
function limiter:retry_after(now) end

---@param window number? seconds to go back for the limit that is kept; 10 by default
---@param now number? seconds
---@return boolean was_moving
function limiter:freeze(window, now) end

---@param now number? seconds
---@return boolean was_frozen
function limiter:restore(now) end

---@class unbusy.core.limiter_stats
---@field limit number
---@field in_flight integer
---@field resting integer slots that rest after a drop
---@field round_trip number seconds
---@field drops integer
---@field refused integer
---@field frozen boolean
---@field answered boolean has a call gone well?
---@field credit number drops that may still come before calls are held back
---@field base number? seconds to a first token when little is going on

---@param now number? seconds
---@return unbusy.core.limiter_stats
function limiter:stats(now) end

---@class unbusy.core.region
local region = {}

---@param options { name: string?, path: string?, bytes: integer? }
---@return unbusy.core.region? region, string? message, "invalid"|"full"|"nomem"|nil code
function core.region(options) end

---@param value any
---@return boolean is_open_region
function core.is_region(value) end

--- Removes the files of regions whose names begin so and that nobody uses, now and when what it
--- gives is collected.
---@param prefix string
---@return userdata sweeper
function core.sweeper(prefix) end

---@class unbusy.core.region_stats
---@field bytes integer
---@field used integer
---@field parts integer
---@field processes integer that have used a part
---@field waiting integer their callers

---@return unbusy.core.region_stats
function region:stats() end

---@return integer slot 0: none was left
function region:process() end

---@return integer? descriptor, string? message, "full"|"nomem"|nil code
function region:wake_fd() end

---@return boolean was_woken
function region:drain() end

---@param count integer callers that wait
---@param since number? seconds of the monotonic clock, when the oldest began
---@param priority integer? 1 to 3; 2 by default
function region:waiting(count, since, priority) end

---@return boolean woke_one
function region:wake() end

--- Is it the turn of another process's caller, before ours that wait?
---@return boolean
function region:yields() end

---@param mask integer of priorities: bit 0 for the first
---@return integer priority
function region:next(mask) end

---@param priority integer that has had a turn
function region:take(priority) end

--- May be called twice.
function region:close() end

---@class unbusy.core.secrets
local secrets = {}

---@param list string[]
---@return unbusy.core.secrets
function core.secrets(list) end

---@param texts table<any, any> whose values are looked into where they are strings
---@return boolean found one of the list in one of them
function secrets:found(texts) end

---@class unbusy.core.sse
local sse = {}

---@param options { limit: integer } bytes
---@return unbusy.core.sse
function core.sse(options) end

---@param bytes string
---@return { data: string, event: string?, id: string?, retry: number? }[]? events
---@return string? message, "upstream"|"nomem"|"closed"|nil code
function sse:feed(bytes) end

---@return integer comments so far, in lines
function sse:comments() end

---@return integer? torn bytes of a last event without an end
---@return string? message, "upstream"|"nomem"|nil code
function sse:finish() end

---@class unbusy.core.topk
local topk = {}

---@param options table every field of `topk.schema`; `seed`, `note_bytes` and `half_life` may be
--- missing
---@param now number?
---@return unbusy.core.topk? topk, string? message, "nomem"? code
function core.topk(options, now) end

---@param key string|userdata
---@param n number? times, whole and above 0; 1 by default
---@param now number?
---@return boolean wanted is a note?
function topk:add(key, n, now) end

---@param key string|userdata
---@param text string
---@return boolean kept
function topk:note(key, text) end

---@param n number? at most so many; nil: all
---@param more boolean? with `hash` and `note`
---@param now number?
---@return { key: string, count: number, error: number, cut: true?, hash: string?, note: string? }[]
function topk:top(n, more, now) end

---@class unbusy.core.topk_stats
---@field counters integer
---@field used integer counters that have a key
---@field total number all that was added
---@field least number how often a key that is not listed may have come
---@field replaced integer how often a key took the place of another
---@field bytes integer of memory

---@param now number?
---@return unbusy.core.topk_stats
function topk:stats(now) end

--- Forgets all keys.
function topk:clear() end

--- Gives the memory back. May be called twice.
function topk:close() end

--- Readers of single header values; each gives nil for what it cannot read.
core.retry_after = {}

---@param text string digits, perhaps with a fraction
---@return number? seconds
function core.retry_after.seconds(text) end

---@param text string milliseconds
---@return number? seconds
function core.retry_after.ms(text) end

---@param text string an HTTP date in any of its three forms
---@param now number Unix seconds, which decide the century of two digits
---@return integer? unix_seconds
function core.retry_after.date(text, now) end

---@param text string as Go writes durations: 6m0s, 12ms
---@return number? seconds
function core.retry_after.duration(text) end

---@param text string a RateLimit header
---@return number? seconds
function core.retry_after.rate_limit(text) end

---@param text string an answer's body, of which the first 64 KiB are read
---@return number? seconds
function core.retry_after.body(text) end

---@class unbusy.core.turns
local turns = {}

---@return unbusy.core.turns
function core.turns() end

---@param priority integer 1 to 3; of which somebody waits now, and nobody did
function turns:join(priority) end

---@param mask integer of priorities: bit 0 for the first
---@return integer priority
function turns:next(mask) end

---@param priority integer that has had a turn
function turns:take(priority) end

---@class unbusy.core.rate
local rate = {}

---@param options table `requests` and `tokens` in a minute, either perhaps missing
---@param now number? seconds; the monotonic clock's
---@return unbusy.core.rate
function core.rate(options, now) end

---@param tokens number
---@param now number?
---@return number? requests, number|string tokens_or_message, "full"? code, { retry_after: number }?
function rate:take(tokens, now) end

---@param tokens number
---@param now number?
---@return number seconds
function rate:retry_after(tokens, now) end

---@param foreseen number
---@param used number
---@param now number?
function rate:correct(foreseen, used, now) end

---@param kind "requests"|"tokens"
---@param limit number?
---@param left number?
---@param reset number? seconds
---@param window boolean? all is there again at once
---@param mark number? of the request whose answer it is; nil: the last one's
---@param now number?
function rate:tell(kind, limit, left, reset, window, mark, now) end

---@param kind "requests"|"tokens"
---@param now number?
---@return number? left, number? most
function rate:left(kind, now) end

---@param now number?
---@return { refused: integer, requests: number?, tokens: number? }
function rate:stats(now) end

-- }========================================================================

return core
