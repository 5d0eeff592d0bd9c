---@meta unbusy.core
-- luacheck: ignore 212 241

-- The C side of unbusy, for language servers: never loaded. The modules of the same names check
-- their options, fill in defaults and are what to use; here every option must be there already.
-- Where a function takes `now`, it is seconds of any clock that never goes back; nil reads the
-- monotonic one.

---@class unbusy.core
local core = {}

--- Seconds of the monotonic clock.
---@return number
function core.now() end

--- Seconds since 1970.
---@return number
function core.wall() end

---@class unbusy.core.stats
---@field blocks integer of memory, taken by the core
---@field engines integer
---@field transfers integer
---@field descriptors integer of engines
---@field regions integer

--- What is open in this process.
---@return unbusy.core.stats
function core.stats() end

--- A number that stays the same in this process, and that none has which it was forked from, or
--- which is forked from it.
---@return integer
function core.process() end

--- 16 hexadecimal digits of the system's entropy, not all of them 0.
---@return string
function core.random_id() end

--- SipHash-2-4 with 128 bits: a hash that nobody without the key can foretell.
---@param text string
---@param key string 16 bytes
---@return string 16 bytes
function core.sip(text, key) end

--- Every way a call of the core can fail.
---@return { number: integer, word: string, text: string }[]
function core.errors() end

--- This process becomes another program, found as a shell finds it, which keeps its number and
--- hears its signals, HUP also where it is ignored here (nohup). Comes back only when there is no
--- such program.
---@param argv string[] the program and its arguments
---@return nil, string message
function core.exec(argv) end

--- What tells one version of a file from the next: a text, and the seconds since 1970 of its last
--- change. Not for a directory, nor for what is no regular file.
---@param path string
---@return string? stamp, number|string written or what is wrong
function core.stamp(path) end

--- Runs `f(...)`, which cannot yield, within limits, and gives what it gives, two values. A hook
--- that was set is put back.
---@param instructions number of Lua
---@param bytes number that the heap may grow by
---@param f function
---@return boolean ok, any a or the error, any b or the limit that it reached: "long" or "memory"
function core.guarded(instructions, bytes, f, ...) end

--- On LuaJIT: the addresses of the C functions that `unbusy.ffi` calls, by part and name, until it
--- has taken them. Elsewhere nil.
---@type table<string, table<string, number>>?
core.calls = nil

--- For tests: the n-th allocation of the core from now fails, once; 0: none does.
---@param n number
---@return integer left what the failure planted before still had to go; 0: it has come
function core.fail_alloc(n) end

-- {== Engine ==============================================================

---@class unbusy.core.bell
local bell = {}

--- Tells an event loop that takes no descriptors, by a byte on a unix socket, that `descriptor` is
--- readable. csrc/engine/bell.h has the protocol.
---@param descriptor integer
---@return unbusy.core.bell? bell, string? message, string? code
function core.bell(descriptor) end

--- Where the host connects, once; "" when it has.
---@return string
function bell:path() end

--- The host has connected: begin.
---@return boolean? true, string? message, string? code
function bell:begin() end

--- Ring as soon as the descriptor is readable.
function bell:arm() end

--- Ring now, unless a byte is on its way.
function bell:ring() end

--- The byte was read.
function bell:heard() end

--- Ends the thread. May be called twice.
function bell:close() end

---@class unbusy.core.ends
local ends = {}

--- Inside nginx: hears that requests end. csrc/engine/ends.h has the story.
---@return unbusy.core.ends? ends, string? message, string? code
function core.ends() end

---@param request integer the address of an ngx_http_request_t that lives
---@return boolean? true, string? message, string? code
function ends:watch(request) end

--- Has its client gone? False also where that cannot be found out.
---@param request integer the address of an ngx_http_request_t that lives
---@return boolean
function ends:left(request) end

---@return integer? request that has ended since, each once
function ends:next() end

--- May be called twice.
function ends:close() end

---@class unbusy.core.engine
local engine = {}

--- An engine for HTTP, of this process alone. It works only inside its methods.
---@return unbusy.core.engine? engine, string? message, string? code
function core.engine() end

---@class unbusy.core.request
---@field url string
---@field method string
---@field headers string[] lines such as "name: value"
---@field body string?
---@field connect number? seconds for the name, the connection and TLS
---@field window integer? bytes that may lie unread before the sender is held up; 65536
---@field most integer? bytes an expanded body may have; 0 or nil: no limit
---@field proxy string? its URL; "" for none; nil: the environment's
---@field ca_file string?
---@field ca_path string?
---@field cert_file string?
---@field key_file string?
---@field insecure boolean? no check of the server's certificate
---@field http1 boolean? no HTTP/2
---@field streams boolean? its answer comes bit by bit, and little of it is read at once
---@field once boolean? never sent again by itself, when a kept connection turns out to be dead

---@param request unbusy.core.request
---@param body string? in place of `request.body`
---@return integer? id, string? message, string? code
function engine:submit(request, body) end

--- Does what there is to do; never waits.
---@return true?, string? message, string? code
function engine:step() end

--- Waits until a step is due or a signal came.
---@param seconds number? at most; nil: without a limit
function engine:wait(seconds) end

--- A transfer that has news, each once; nil when none has.
---@return integer? id
function engine:next() end

---@class unbusy.core.ending
---@field phase string where it ended: "connect", "headers" or "body"
---@field first number seconds to the first byte
---@field total number seconds
---@field reused boolean the connection had served before
---@field http2 boolean
---@field resent boolean
---@field lasting boolean the answer was refused for its size, as it would be again

--- The next piece of a transfer's news, in order:
---
---     "head", status, headers, resent, echoes   names in lower case; repeated ones joined by ", "
---     "data", bytes
---     "end", code, message, ending       code and message are nil for a good end
---     nil                                nothing now
---@param id integer
---@param known unbusy.core.secrets? `echoes` says whether the header holds one of them
---@param brief boolean? of a good end only "end" is told
---@return "head"|"data"|"end"|nil kind, any, any, unbusy.core.ending|boolean|nil, boolean?
function engine:take(id, known, brief) end

--- The rest of a body is wanted whole: what was taken of it is given back, and all of it comes as
--- one piece when it has ended well. Meanwhile it is not held up, whatever its window is.
---@param id integer
---@param bytes string all that was taken of the body
---@return boolean? true, string? message, string? code nil: nothing has changed
function engine:gather(id, bytes) end

---@param id integer of which nothing more will be heard; an unknown one is ignored
function engine:cancel(id) end

--- The descriptor that becomes readable when a step is due.
---@return integer
function engine:fd() end

--- Watch a descriptor of the host's too: when it is readable, a step is due.
---@param descriptor integer
---@return boolean? true, string? message, string? code
function engine:listen(descriptor) end

--- Watch it no longer.
---@param descriptor integer
function engine:ignore(descriptor) end

--- Was one of them readable since the last time? Read them empty before asking.
---@return boolean
function engine:heard() end

--- Whether it is open and of this process; false after a fork, in the child.
---@return boolean
function engine:owned() end

---@return integer transfers not yet ended
function engine:active() end

--- Ends it and its transfers. May be called twice.
function engine:close() end

-- }========================================================================

-- {== Flights, which belong to the parts =====================================

---@class unbusy.core.flights
local flights = {}

--- Checked options of `unbusy.flights`; with a region and a name it is shared.
---@param o table
---@param _ nil
---@param region userdata?
---@param name string?
---@return unbusy.core.flights? flights, string? message, string? code
function core.flights(o, _, region, name) end

---@param key userdata|string
---@param priority integer 1 to 3
---@param seconds number
---@param now number? seconds
---@return "lead"|"follow"|"alone" part, integer? ticket, boolean? kept
function flights:claim(key, priority, seconds, now) end

---@param ticket integer
---@param now number? seconds
---@return "led"|"kept"|"failed"|"apart"|"gone"
function flights:look(ticket, now) end

---@param ticket integer
---@return boolean
function flights:followed(ticket) end

---@param ticket integer
---@param outcome "kept"|"failed"|"apart"
---@param now number? seconds
---@return boolean was it under way?
function flights:finish(ticket, outcome, now) end

---@return { open: integer, led: integer, followed: integer, refused: integer, orphaned: integer }
function flights:stats() end

-- }========================================================================

return core
