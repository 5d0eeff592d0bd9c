--- The panels of the dashboard, row by row from left to right.
--
-- | field | |
-- |---|---|
-- | `type`, `title`, `about`, `w` | what it looks like, its name, what it tells, its width of 24 |
-- | `queries` | `{ expression, legend }` each; `instant`: their last values alone |
-- | `unit`, `decimals`, `min`, `max`, `none` | how numbers are shown, and what stands for none |
-- | `lines`, `base` | `{ value, colour }` each: from there on; the colour below all of them |
-- | `colors` | `{ series, colour }` each |
-- | `states` | `{ value, word, colour }` each, of a timeline |
-- | `stack` | `normal` or `percent` |
local panels = {}

local function row(title, height)
  local out = { title = title, height = height }
  panels[#panels + 1] = out
  return function(panel) out[#out + 1] = panel end
end

-- `rate "unbusy_calls_total" 'source="none"'`: of the chosen gateways, each second.
local function rate(metric)
  return function(labels)
    return ('rate(%s{job=~"$job"%s}[$__rate_interval])'):format(metric,
      labels and labels ~= "" and "," .. labels or "")
  end
end

local function gauge(metric)
  return function(labels)
    return ('%s{job=~"$job"%s}'):format(metric, labels and labels ~= "" and "," .. labels or "")
  end
end

local function quantile(q, by, metric, labels)
  return ("histogram_quantile(%s, sum by (%sle) (%s))"):format(q, by == "" and "" or by .. ", ",
    rate(metric .. "_bucket")(labels))
end

local TARGET = [[target=~"$target"]]

-- Where answers come from, in the same colours everywhere.
local sources = { { "upstream", "green" }, { "coalesced", "dark-green" },
  { "batch", "semi-dark-green" }, { "cache", "blue" }, { "stale", "yellow" },
  { "fallback", "orange" }, { "none", "red" } }

local calls, tries = rate "unbusy_calls_total", rate "unbusy_tries_total"
local COUNTED = [[code!~"invalid|cancelled"]]

-- {== At a glance =========================================================

local add = row("At a glance", 4)
add { type = "stat", w = 4, title = "Answered by a model", unit = "percentunit", decimals = 1,
  about = "Of the calls that were not wrong themselves, nor called off. A fallback is no answer.",
  max = 1, base = "red", lines = { { 0.95, "yellow" }, { 0.99, "green" } },
  queries = { { ([[(sum(%s) or vector(0)) / (sum(%s) > 0)]]):format(
    calls(COUNTED .. [[,source!~"none|fallback"]]), calls(COUNTED)) } } }
add { type = "stat", w = 4, title = "Calls", unit = "reqps",
  queries = { { ("sum(%s)"):format(calls "") } } }
add { type = "stat", w = 4, title = "P99 of a call", unit = "s",
  about = "All of it: the line, every try, the answer to its last byte.",
  base = "green", lines = { { 1.5, "red" } },
  queries = { { quantile("0.99", "", "unbusy_call_duration_seconds") } } }
add { type = "stat", w = 4, title = "P95 to the first piece", unit = "s",
  about = "Of tries that ask for a stream: how long the servers make their callers wait.",
  base = "green", lines = { { 5, "red" } },
  queries = { { quantile("0.95", "", "unbusy_first_token_seconds") } } }
add { type = "stat", w = 4, title = "In line now", unit = "short",
  about = "Calls that wait for a place.", base = "green", lines = { { 1, "yellow" } },
  queries = { { ("sum(%s)"):format(gauge "unbusy_queue_waiting" "") } } }
add { type = "stat", w = 4, title = "Targets that are out", unit = "short",
  about = "In some process their breaker is not closed, their account has no credit, or all their "
    .. "keys are refused.", base = "green", lines = { { 1, "red" } },
  queries = { { ("count(max by (target) (%s or %s) == 1) or vector(0)"):format(
    gauge "unbusy_breaker_state" [[state=~"open|half_open|forced_open"]],
    gauge "unbusy_target_refused" "") } } }

-- }========================================================================

-- {== The golden signals ==================================================

add = row("Golden signals", 8)
add { type = "timeseries", w = 12, title = "Traffic: calls by source of the answer", unit = "reqps",
  about = "none: there was no answer.", stack = "normal", min = 0, colors = sources,
  queries = { { ("sum by (source) (%s)"):format(calls ""), "{{source}}" } } }
add { type = "timeseries", w = 12, title = "Errors: failed calls by code", unit = "reqps", min = 0,
  none = "none", queries = {
    { ("sum by (code) (%s)"):format(calls [[source="none"]]), "{{code}}" } } }
add { type = "timeseries", w = 12, title = "Latency of calls", unit = "s", min = 0,
  about = "All of it: the line, every try, the answer to its last byte. The line is at 1.5 s.",
  base = "transparent", lines = { { 1.5, "red" } }, queries = {
    { quantile("0.5", "", "unbusy_call_duration_seconds"), "p50" },
    { quantile("0.95", "", "unbusy_call_duration_seconds"), "p95" },
    { quantile("0.99", "", "unbusy_call_duration_seconds"), "p99" } } }
add { type = "timeseries", w = 12, title = "Saturation: places of each account in use",
  unit = "percentunit", min = 0, base = "transparent", lines = { { 0.95, "red" } },
  about = "In flight, of what its limit allows at present. More gateways add none.",
  queries = { { ("sum by (account, model) (%s) / (sum by (account, model) (%s) > 0)"):format(
    gauge "unbusy_in_flight" "", gauge "unbusy_limit" ""), "{{account}} {{model}}" } } }

-- }========================================================================

-- {== Answers =============================================================

add = row("Sources of answers", 8)
add { type = "timeseries", w = 12, title = "Sources of answers, shares", unit = "percentunit",
  stack = "percent", min = 0, colors = sources, queries = {
    { ("sum by (source) (%s)"):format(calls [[source!="none"]]), "{{source}}" } } }
add { type = "piechart", w = 6, title = "Sources of answers, all of the time shown",
  unit = "short", colors = sources, instant = true, queries = {
    { [[sum by (source) (increase(unbusy_calls_total{job=~"$job"}[$__range]))]], "{{source}}" } } }
add { type = "timeseries", w = 6, title = "Cache: what look-ups found", unit = "reqps",
  stack = "normal", min = 0, queries = {
    { ("sum by (level, result) (%s)"):format(rate "unbusy_cache_requests_total" ""),
      "{{level}} {{result}}" } } }
add { type = "timeseries", w = 8, title = "Cache: entries", unit = "short", min = 0, queries = {
  { ("max by (job) (%s)"):format(gauge "unbusy_cache_entries" ""), "{{job}}" } } }
add { type = "timeseries", w = 8, title = "Shared calls", unit = "reqps", min = 0,
  about = "led: calls that asked; joined: calls that waited for one of them and share its answer.",
  queries = { { ("sum by (result) (%s)"):format(rate "unbusy_flights_total" ""), "{{result}}" } } }
add { type = "timeseries", w = 8, title = "Share of the hottest questions", unit = "percentunit",
  min = 0, max = 1, about = "Of all questions, how many are the one, 5 or 20 asked most.",
  queries = { { ("max by (top) (%s)"):format(gauge "unbusy_hot_share" ""), "top {{top}}" } } }

-- }========================================================================

-- {== Targets =============================================================

add = row("Targets", 8)
add { type = "state-timeline", w = 24, title = "Breakers",
  about = "The worst of all processes.",
  states = { { 1, "closed", "green" }, { 2, "metrics only", "blue" }, { 3, "disabled", "gray" },
    { 4, "half open", "yellow" }, { 5, "open", "red" }, { 6, "forced open", "dark-red" } },
  queries = { { ([[max by (target) (
  1 * %s
  or 2 * %s
  or 3 * %s
  or 4 * %s
  or 5 * %s
  or 6 * %s)]]):format(
    gauge "unbusy_breaker_state"(TARGET .. [[,state="closed"]]),
    gauge "unbusy_breaker_state"(TARGET .. [[,state="metrics_only"]]),
    gauge "unbusy_breaker_state"(TARGET .. [[,state="disabled"]]),
    gauge "unbusy_breaker_state"(TARGET .. [[,state="half_open"]]),
    gauge "unbusy_breaker_state"(TARGET .. [[,state="open"]]),
    gauge "unbusy_breaker_state"(TARGET .. [[,state="forced_open"]])), "{{target}}" } } }
add { type = "timeseries", w = 12, title = "Tries by target and status", unit = "reqps", min = 0,
  about = "none: no answer came at all.", stack = "normal", queries = {
    { ("sum by (target, status) (%s)"):format(tries(TARGET)), "{{target}} {{status}}" } } }
add { type = "timeseries", w = 12, title = "Busy: share of the tries", unit = "percentunit",
  min = 0, about = "503 alone, and in whatever way it was said (429, a body, keep-alives alone). "
    .. "The line is at 5 %.",
  base = "transparent", lines = { { 0.05, "red" } }, queries = {
    { ([[(sum by (target) (%s) or 0 * sum by (target) (%s)) / (sum by (target) (%s) > 0)]]):format(
      tries(TARGET .. [[,status="503"]]), tries(TARGET), tries(TARGET)), "{{target}} 503" },
    { ([[(sum by (target) (%s) or 0 * sum by (target) (%s)) / (sum by (target) (%s) > 0)]]):format(
      tries(TARGET .. [[,code=~"busy|limited"]]), tries(TARGET), tries(TARGET)),
      "{{target}} busy" } } }
add { type = "timeseries", w = 12, title = "Time to the first piece", unit = "s", min = 0,
  about = "Of tries that ask for a stream.", queries = {
    { quantile("0.5", "target", "unbusy_first_token_seconds", TARGET), "{{target}} p50" },
    { quantile("0.95", "target", "unbusy_first_token_seconds", TARGET), "{{target}} p95" } } }
add { type = "heatmap", w = 12, title = "Time to the first piece, all tries", unit = "short",
  queries = { { [[sum by (le) (increase(
  unbusy_first_token_seconds_bucket{job=~"$job",target=~"$target"}[$__rate_interval]))]],
    "{{le}}" } } }
add { type = "timeseries", w = 8, title = "Second tries", unit = "reqps", min = 0,
  about = "Retries of failed tries by target, and hedges beside slow ones by what came of them.",
  queries = {
    { ("sum by (target) (%s)"):format(rate "unbusy_retries_total"(TARGET)), "retry {{target}}" },
    { ("sum by (result) (%s)"):format(rate "unbusy_hedges_total" ""), "hedge {{result}}" } } }
add { type = "timeseries", w = 8, title = "Retry budget", unit = "short", min = 0,
  about = "Tokens that are left. Tries that fail take them, answers give them back.", queries = {
    { ("min by (job) (%s)"):format(gauge "unbusy_retry_budget_tokens" ""), "{{job}} left" },
    { ("min by (job) (%s)"):format(gauge "unbusy_retry_budget_size" ""), "{{job}} of" } } }
add { type = "timeseries", w = 8, title = "Second tries that were not allowed", unit = "reqps",
  min = 0, queries = {
    { ("sum by (job) (%s)"):format(rate "unbusy_retry_budget_refused_total" ""), "{{job}}" } } }

-- }========================================================================

-- {== The line and the limits =============================================

add = row("The line and the limits", 8)
add { type = "timeseries", w = 8, title = "Waiting", unit = "short", min = 0, stack = "normal",
  about = "Calls in line, by priority.", queries = {
    { ("sum by (priority) (%s)"):format(gauge "unbusy_queue_waiting" ""), "{{priority}}" } } }
add { type = "timeseries", w = 8, title = "Time in line, p95", unit = "s", min = 0,
  base = "transparent", lines = { { 10, "red" } }, queries = {
    { quantile("0.95", "priority", "unbusy_queue_wait_seconds"), "{{priority}}" } } }
add { type = "timeseries", w = 8, title = "Turned away from the line", unit = "reqps", min = 0,
  none = "none", queries = {
    { ("sum by (code) (%s)"):format(rate "unbusy_queue_refused_total" ""), "{{code}}" } } }
add { type = "timeseries", w = 12, title = "Limit of each account, and what is in flight",
  unit = "short", min = 0, queries = {
    { ("sum by (account, model) (%s)"):format(gauge "unbusy_limit" ""),
      "{{account}} {{model}} limit" },
    { ("sum by (account, model) (%s)"):format(gauge "unbusy_in_flight" ""),
      "{{account}} {{model}} in flight" } } }
add { type = "timeseries", w = 12, title = "Not let in, since the account is full", unit = "reqps",
  min = 0, queries = {
    { ("sum by (account) (%s)"):format(rate "unbusy_limit_refused_total" ""), "{{account}}" } } }

-- }========================================================================

-- {== Models and money ====================================================

add = row("Models and money", 8)
add { type = "timeseries", w = 8, title = "Cost of an hour", unit = "short", min = 0,
  about = "At the pace of the moment, in the currency of the targets' prices.", stack = "normal",
  queries = { { ("3600 * sum by (target) (%s)"):format(rate "unbusy_cost_total"(TARGET)),
    "{{target}}" } } }
add { type = "timeseries", w = 8, title = "Cost of 1,000 answers", unit = "short", min = 0,
  about = "Answers out of the cache cost nothing, and count.", queries = {
    { ([[1000 * sum by (job) (%s) / (sum by (job) (%s) > 0)]]):format(
      rate "unbusy_cost_total" "", calls [[source!~"none|fallback"]]), "{{job}}" } } }
add { type = "timeseries", w = 8, title = "Tokens", unit = "short", min = 0, stack = "normal",
  about = "A second, by type.", queries = {
    { ("sum by (type) (%s)"):format(rate "unbusy_tokens_total"(TARGET)), "{{type}}" } } }
add { type = "timeseries", w = 12, title = "Operations by model, p95", unit = "s", min = 0,
  queries = { { quantile("0.95", "gen_ai_request_model, gen_ai_operation_name",
    "gen_ai_client_operation_duration_seconds"),
    "{{gen_ai_operation_name}} {{gen_ai_request_model}}" } } }
add { type = "timeseries", w = 12, title = "Tokens of a call by model, mean", unit = "short",
  min = 0, queries = { { ([[sum by (gen_ai_request_model, gen_ai_token_type) (%s)
  / (sum by (gen_ai_request_model, gen_ai_token_type) (%s) > 0)]]):format(
    rate "gen_ai_client_token_usage_sum" "", rate "gen_ai_client_token_usage_count" ""),
    "{{gen_ai_request_model}} {{gen_ai_token_type}}" } } }

-- }========================================================================

-- {== The gateway and its machine =========================================

add = row("Gateway and machine", 8)
add { type = "timeseries", w = 8, title = "Requests by status", unit = "reqps", min = 0,
  stack = "normal", queries = {
    { ("sum by (status) (%s)"):format(rate "unbusy_http_requests_total" ""), "{{status}}" } } }
add { type = "timeseries", w = 8, title = "What unbusy adds to a call", unit = "s", min = 0,
  about = "Neither the server nor the line.", queries = {
    { quantile("0.5", "", "unbusy_call_overhead_seconds"), "p50" },
    { quantile("0.99", "", "unbusy_call_overhead_seconds"), "p99" } } }
add { type = "timeseries", w = 8, title = "Calls under way", unit = "short", min = 0,
  about = "Streams that are read included.", queries = {
    { ("sum by (instance) (%s)"):format(gauge "unbusy_calls_active" ""), "{{instance}}" } } }
add { type = "timeseries", w = 8, title = "Processors (node_exporter)", unit = "percentunit",
  min = 0, max = 1, about = "Every machine that is scraped. The line is at 85 %.",
  base = "transparent", lines = { { 0.85, "red" } }, queries = {
    { [[1 - avg by (instance) (sum by (instance, cpu) (
  rate(node_cpu_seconds_total{mode=~"idle|iowait"}[$__rate_interval])))]], "{{instance}}" } } }
add { type = "timeseries", w = 8, title = "Faults of policies", unit = "short", min = 0,
  none = "none", queries = {
    { ([[sum by (policy) (increase(%s[$__rate_interval]))]]):format(
      gauge "unbusy_policy_faults_total" ""), "{{policy}}" } } }
add { type = "table", w = 8, title = "Gateways", instant = true, queries = {
  { ("sum by (job, instance, version, lua) (%s)"):format(gauge "unbusy_build_info" "") } } }

-- }========================================================================

return panels
