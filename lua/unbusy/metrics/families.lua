--- Every metric: its name, what it means, its labels, in the order in which they are shown.
--
-- A family with a `kind` (see `unbusy.metrics`) is counted while calls run; one without is looked
-- up when somebody asks. `labels` are all that its series may have; of what has no bound of its
-- own (names of models, codes of a policy), the rest goes together as "other".
local families = {}

local list = {}

local function add(name, type, kind, labels, help)
  local names = {}
  for word in labels:gmatch "%S+" do names[#names + 1] = word end
  list[#list + 1] = { name = name, type = type, kind = kind, labels = names, help = help }
end

local function counter(name, labels, help) add(name, "counter", "counter", labels, help) end
local function histogram(name, kind, labels, help) add(name, "histogram", kind, labels, help) end
local function level(name, labels, help) add(name, "gauge", "level", labels, help) end
local function gauge(name, labels, help) add(name, "gauge", nil, labels, help) end
local function looked_up(name, labels, help) add(name, "counter", nil, labels, help) end

-- {== Calls and tries =====================================================

counter("unbusy_calls_total", "kind source code",
  "Calls that have ended, by where the answer came from, or how they failed")
histogram("unbusy_call_duration_seconds", "seconds", "source",
  "From a call to its end: waiting, tries, pauses, and all of a stream")
histogram("unbusy_call_overhead_seconds", "moments", "",
  "Own work for an answer that took one try or none: its time without the server's and the line's")
level("unbusy_calls_active", "", "Calls under way, streams that are read included")
counter("unbusy_tries_total", "target account code status",
  "Requests to a server that have ended, by what came of them")
histogram("unbusy_try_duration_seconds", "seconds", "target",
  "From a try's begin to its end, of a stream to its last byte")
histogram("unbusy_first_token_seconds", "seconds", "target",
  "From the begin of a try that asks for a stream to the first byte of its answer")
counter("unbusy_retries_total", "target",
  "Tries that were not the first of their call, hedges apart")
counter("unbusy_resent_total", "target",
  "Requests that went out twice in one try, since a kept connection was dead")
counter("unbusy_tokens_total", "target type",
  "Tokens that answers have used: input (not from the provider's cache), cached, output")
counter("unbusy_cost_total", "target",
  "What answers have cost, in the currency of the target's price")

counter("unbusy_hedges_total", "result",
  "Second tries beside the first: sent, and what came of them: won, lost, failed")

-- }========================================================================

-- {== Breakers, limits, the line ==========================================

gauge("unbusy_breaker_state", "target state", "1 for the state that the target's breaker is in")
looked_up("unbusy_breaker_opened_total", "target", "How often the target's breaker has opened")
gauge("unbusy_target_refused", "target code",
  "1 while its account has no credit (quota), or all its keys are refused (auth)")
level("unbusy_target_in_flight", "target", "Tries of the target under way")
gauge("unbusy_limit", "account model", "Calls that the account takes at once, as it was found out")
gauge("unbusy_in_flight", "account model", "Calls of the account under way")
looked_up("unbusy_limit_refused_total", "account model",
  "How often the account's limit let nobody in")
level("unbusy_queue_waiting", "priority", "Calls that wait for a place")
level("unbusy_queue_size", "", "Calls that may wait for a place, in all processes that have called")
histogram("unbusy_queue_wait_seconds", "seconds", "priority",
  "How long calls have waited for a place, those that were let in")
counter("unbusy_queue_refused_total", "code", "Calls that the line has turned away")
gauge("unbusy_retry_budget_tokens", "", "Tokens that are left of the budget for second tries")
gauge("unbusy_retry_budget_size", "", "Tokens that it holds when it is full")
counter("unbusy_retry_budget_refused_total", "", "Second tries that it did not allow")

-- }========================================================================

-- {== Cache, flights, batches, policies ===================================

counter("unbusy_cache_requests_total", "level result",
  "Questions to a level of the cache, by what was there: hit, stale, miss")
gauge("unbusy_cache_entries", "", "Answers that are kept")
gauge("unbusy_cache_bytes", "", "Bytes of these answers")
looked_up("unbusy_cache_evicted_total", "", "Answers that were put out to make room")
counter("unbusy_flights_total", "result",
  "Calls that asked for others too (led), and that joined one of these (joined)")
gauge("unbusy_hot_share", "top", "Share of all questions lately that the most frequent ones have")
histogram("unbusy_batch_size", "sizes", "rule", "Calls that were made as one")
counter("unbusy_policy_faults_total", "policy", "Decisions of a policy that came to nothing")

-- }========================================================================

-- {== OpenTelemetry's names for generative AI =============================

local GENAI = "gen_ai_operation_name gen_ai_provider_name gen_ai_request_model"

histogram("gen_ai_client_operation_duration_seconds", "seconds", GENAI .. " error_type",
  "From a call that asked a server to its end")
histogram("gen_ai_client_token_usage", "tokens", GENAI .. " gen_ai_token_type",
  "Tokens of a call's question (input) and answer (output)")
histogram("gen_ai_client_operation_time_to_first_chunk_seconds", "seconds", GENAI,
  "From a call for a stream to the first piece of its answer")

-- }========================================================================

-- {== A gateway's requests ================================================

counter("unbusy_http_requests_total", "path status", "Requests to the gateway that have ended")
histogram("unbusy_http_request_duration_seconds", "seconds", "path",
  "From a request to the gateway to the end of its answer")

-- }========================================================================

gauge("unbusy_start_time_seconds", "", "Since when is counted, in seconds since 1970")
looked_up("unbusy_metrics_refused_total", "",
  "Series for which there was no room, and that are counted as other")
gauge("unbusy_build_info", "version lua", "Always 1: which unbusy this is, and on which Lua")

families.list = list
families.by_name = {}
for _, family in ipairs(list) do families.by_name[family.name] = family end

return families
