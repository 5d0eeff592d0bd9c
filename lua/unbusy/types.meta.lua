---@meta _
-- luacheck: ignore 211 212 241

-- What calls give, for language servers: never loaded. Those that have methods are declared where
-- these are (client.lua, stream.lua, passed.lua, canceller.lua).

--- Why a call has failed: docs/reference.md says what each means.
---@alias unbusy.code
---| "busy"
---| "limited"
---| "quota"
---| "auth"
---| "invalid"
---| "timeout"
---| "network"
---| "tls"
---| "open"
---| "budget"
---| "full"
---| "cut"
---| "empty"
---| "upstream"
---| "policy"
---| "cancelled"
---| "closed"
---| "nomem"

--- The body of a request, as the provider knows it: these fields and any other.
---@class unbusy.request
---@field model? string
---@field messages? table[] of a chat
---@field prompt? string|string[]|table of a completion; a stored one of a response
---@field input? string|table of embeddings, of a response
---@field [string] any

--- A whole answer.
---@class unbusy.reply
---@field source "upstream"|"coalesced"|"batch"|"cache"|"stale"|"fallback" where it is from
---@field text? string
---@field reasoning? string
---@field tool_calls? table[]
---@field finish_reason? string
---@field usage? table `prompt_tokens`, `completion_tokens`, …, as the provider counts
---@field cost? number in the currency of the target's `price`
---@field body any all of it, decoded
---@field raw? string its bytes, of a plain call
---@field status integer
---@field headers table<string, string>
---@field model? string
---@field target? string the name of the target that answered
---@field tries integer requests that were made for it
---@field times unbusy.times
---@field trace? unbusy.trace
---@field age? number seconds, of an answer out of the cache
---@field failure? unbusy.failure of a stale answer, and of whatever stands in
---@field fallback? { kind: string, model: string?, pool: string? } what stands in
---@field weak? string why it is a poor answer
---@field escalated? unbusy.escalated the weak answer in whose place it is
---@field batch? { size: integer, index: integer } of an answer that came with others
---@field hedged? { won: boolean, target: string, code: string?, cost: number?, seconds: number }
---@field resumed integer how often it was gone on with after it had broken off

--- What went wrong.
---@class unbusy.failure
---@field message string
---@field code unbusy.code
---@field detail unbusy.detail

--- A weak answer.
---@class unbusy.escalated
---@field reason string
---@field target string
---@field usage? table
---@field cost? number

--- Of an answer, in seconds.
---@class unbusy.times
---@field queued number waiting for others, and for a place
---@field queued_upstream? number in the server's own queue, as far as its keep-alives tell
---@field start? number from sending the try that answered to its first byte of answer
---@field total number the whole call

--- The ids of a W3C trace.
---@class unbusy.trace
---@field id string
---@field spans string[] those of the tries

--- What is known of a failure.
---@class unbusy.detail
---@field tries integer
---@field status? integer
---@field target? string
---@field phase? string
---@field retry_after? number seconds
---@field request_id? string the `x-request-id` of the server's answer
---@field lasting? boolean the same server would only say the same again
---@field trace? unbusy.trace

--- One piece of a stream. It has some of these.
---@class unbusy.piece
---@field text? string
---@field reasoning? string
---@field refusal? string
---@field tool_calls? table[] fragments, by index
---@field finish? string
---@field usage? table
---@field data? string the bytes of the event that it came in
---@field event? string its name
---@field id? string the last one that was named

--- A task of `unbusy.spawn`.
---@class unbusy.task
local task = {}

--- Waits until it has ended and gives what it gives; raises what it raised.
---@return any ...
function task:join() end

--- What `on_event` is given: docs/reference.md lists the fields of each type.
---@class unbusy.event
---@field type string
---@field call? integer
---@field at number seconds of the monotonic clock
---@field [string] any

--- What `client:warm` gives.
---@class unbusy.warmed
---@field asked integer answered by a target
---@field fresh integer that were in the cache already
---@field failures { index: integer, message: string, code: unbusy.code }[]
---@field unkept integer[]? those whose answers are not kept

--- One of `client:top`.
---@class unbusy.hot_question
---@field hash string
---@field count integer
---@field error number
---@field kind string
---@field model? string
---@field question? string
---@field request? unbusy.request

--- A policy: each function is optional, and what it leaves open is decided as ever
--- (docs/policies.md).
---@class unbusy.policy
---@field classify? fun(try: table): string? a try's outcome, one of the codes of an upstream
---@field retry? fun(try: table): number|"default"|nil seconds to wait; nil: no more
---@field route? fun(request: table, targets: table[]): string|string[]|nil
---@field queued? fun(try: table): "wait"|"switch"|"hedge"|nil
---@field hedge? fun(try: table): number? seconds until a second try elsewhere
---@field accept? fun(request: table, reply: table): boolean? false: a poor answer
---@field resume? fun(request: table, so_far: table): "prefix"|"prompt"|false|nil
---@field normalise? fun(request: table): table? what counts as the question
---@field cache? fun(request: table): number|boolean|table|nil seconds to keep it
---@field batch? fun(request: table): table|false|nil
---@field merge? fun(requests: table[]): table, string? one request, and its path
---@field split? fun(body: any, requests: table[]): table[]
---@field fallback? fun(request: table, failure: table): string|table|false|nil
---@field peak? fun(request: table): boolean? hours in which nothing is asked ahead of time
