--- The life of a call in the books: every call received ends as exactly one of `completed` (a whole
--- good answer), `faulted` (what a script or fault made of it), `refused`, `rejected` or
--- `aborted_by_client`.
local admission = require "server.admission"
local counters = require "server.counters"

local calls = {}

--- A status line went out (or never will: "raw").
function calls.head_sent(call, play)
  counters.add_named("status", play.raw and "raw" or tostring(play.status))
  if play.sse and not call.streaming then
    call.streaming = true
    counters.add "streams_started"
  end
end

local STREAM_END = { completed = "streams_finished", aborted_by_client = "streams_aborted" }

--- Ends a call once; later outcomes are ignored.
function calls.close(call, outcome)
  if call.outcome then return end
  call.outcome = call.outcome_is or outcome
  counters.add(call.outcome)
  if call.streaming then counters.add(STREAM_END[outcome] or "streams_cut") end
  admission.leave(call)
end

return calls
