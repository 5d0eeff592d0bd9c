--- Examples of what scripts are given, for whoever checks one before it runs.
--
-- Every code, as servers say it; calls of every kind, whole and streamed; requests with tools,
-- pictures, nothing in them. Each example comes with words that say what it is of.
local json = require "unbusy.json"

local samples = {}

local function with(base, ...)
  local out = {}
  for name, value in pairs(base) do out[name] = value end
  for i = 1, select("#", ...) do
    for name, value in pairs((select(i, ...))) do out[name] = value end
  end
  return out
end

local function example(about, ...)
  return { about = about, ... }
end

-- {== Requests ============================================================

local function user(content)
  return { { role = "user", content = content } }
end

local tool = { type = "function", ["function"] = { name = "weather", description = "…",
  parameters = { type = "object", properties = { city = { type = "string" } } } } }

local tool_turn = { { role = "user", content = "天气如何" },
  { role = "assistant", content = json.null, tool_calls = {
    { id = "call_1", type = "function",
      ["function"] = { name = "weather", arguments = '{"city":"北京"}' } } } },
  { role = "tool", tool_call_id = "call_1", content = "晴" } }

local picture = user { { type = "text", text = "what is it?" },
  { type = "image_url", image_url = { url = "data:image/png;base64,iVBORw0KGgo=" } } }

-- What is asked, by the kind of call.
local chats = {
  example("a chat", { model = "deepseek-flash", messages = user "天气如何" }),
  example("a chat with a system message", { model = "deepseek-v4-pro", temperature = 0,
    max_tokens = 100, messages = { { role = "system", content = "be short" },
      { role = "user", content = "hello" } } }),
  example("a chat without a model", { messages = user "hi" }),
  example("a streamed chat", { model = "deepseek-flash", stream = true, messages = user "hi" }),
  example("a chat with an empty message", { model = "m", messages = user "" }),
  example("a chat whose message has no content", { model = "m", messages = { { role = "user" } } }),
  example("a chat with a picture", { model = "m", messages = picture }),
  example("a chat with tools", { model = "m", messages = tool_turn, tools = json.array { tool } }),
}

local completions = {
  example("a completion", { model = "m", prompt = "once upon" }),
  example("a completion of a list", { model = "m", prompt = json.array { "a", "b" } }),
}

local embeddings = {
  example("an embedding", { model = "m", input = "hello" }),
  example("embeddings of a list", { model = "m", input = json.array { "a", "b" } }),
}

local responses = {
  example("a response", { model = "m", input = "hello" }),
  example("a response to a list", { model = "m", input = json.array {
    { role = "user", content = "hello" } } }),
}

local others = {
  example("a post of a text", "a,b,c"),
  example("what is passed on", {}),
}

local function joined(...)
  local out = {}
  for i = 1, select("#", ...) do
    for _, one in ipairs((select(i, ...))) do out[#out + 1] = one end
  end
  return out
end

local cached = joined(chats, completions, embeddings)
local answerable = joined(chats, completions, responses)

-- }========================================================================

-- {== Tries ===============================================================

local function told(message, code)
  local body = { error = { message = message, type = "server_error", code = code or json.null } }
  return { text = json.encode(body), body = body }
end

-- How tries end: a server's own words, or its silence.
local outcomes = {
  example("503", { code = "busy", status = 503 }, told "Service is too busy"),
  example("503 without a body", { code = "busy", status = 503, text = "" }),
  example("503 in Chinese", { code = "busy", status = 503 }, told "服务器繁忙，请稍后再试"),
  example("503 with a page", { code = "busy", status = 503, text = "<html>busy</html>" }),
  example("keep-alives only",
    { code = "busy", status = 200, keep_alives = 60, phase = "start", seconds = 60 }),
  example("insufficient_system_resource", { code = "busy", status = 200 },
    { text = "{}", body = { choices = { { finish_reason = "insufficient_system_resource" } } } }),
  example("429", { code = "limited", status = 429 }, told("slow down", "rate_limit_exceeded")),
  example("429 with a wait", { code = "limited", status = 429, retry_after = 20,
    headers = { ["retry-after"] = "20" } }, told "Rate limit reached"),
  example("503 with a long wait", { code = "busy", status = 503, retry_after = 86400 }),
  example("503 with no wait", { code = "busy", status = 503, retry_after = 0 }),
  example("402", { code = "quota", status = 402 }, told("Insufficient Balance")),
  example("401", { code = "auth", status = 401 }, told("bad key", "invalid_api_key")),
  example("400", { code = "invalid", status = 400 }, told "messages: too long"),
  example("500", { code = "upstream", status = 500 }, told "internal error"),
  example("502 with a page", { code = "upstream", status = 502, text = "<html>502</html>" }),
  example("a body that is a list", { code = "upstream", status = 200, text = "[1]", body = { 1 } }),
  example("a body that is a number", { code = "upstream", status = 200, text = "1", body = 1 }),
  example("no connection", { code = "network", phase = "connect", headers = {} }),
  example("no name", { code = "timeout", phase = "connect", headers = {} }),
  example("silence", { code = "timeout", phase = "total", headers = {}, seconds = 30 }),
  example("a bad certificate", { code = "tls", phase = "connect", headers = {} }),
  example("a cut", { code = "cut", status = 200, phase = "body" }),
  example("an empty answer", { code = "empty", status = 200, text = "" }),
}

local json_type = { ["content-type"] = "application/json" }

local usual = { number = 1, tries = 1, target = "main", account = "main", model = "deepseek-flash",
  kind = "chat", stream = false, priority = "normal", seconds = 0.8, keep_alives = 0, queued = 0,
  elapsed = 0.8, remaining = 29.2, attempts = 5, targets = 2, untried = false,
  headers = json_type }

-- In which circumstances.
local circumstances = {
  example("the first try", { untried = true }),
  example("the second", { number = 2, tries = 2, elapsed = 3, remaining = 27 }),
  example("the only target", { targets = 1 }),
  example("the sixth, streamed", { number = 6, tries = 6, stream = true, elapsed = 60,
    remaining = 540 }),
  example("the 80th", { number = 80, tries = 80, elapsed = 9000, remaining = 5000 }),
  example("no time left", { number = 3, tries = 3, elapsed = 29.99, remaining = 0.01 }),
  example("a batch job's", { priority = "batch", queued = 12, remaining = 3600, kind = "embed" }),
  example("a person's", { priority = "interactive", kind = "responses", stream = true }),
  example("a second asking's", { number = 1, tries = 6, kind = "complete" }),
  example("a post's", { kind = "post", model = "", targets = 1 }),
}

local function message_of(outcome)
  return outcome.code and ("%s: a sample"):format(outcome.status or outcome.phase or outcome.code)
end

local function try_of(outcome, words, where)
  return with(usual, outcome, words or {}, where, { message = message_of(outcome) })
end

local function failed_tries()
  local out = {}
  for _, outcome in ipairs(outcomes) do
    for _, where in ipairs(circumstances) do
      out[#out + 1] = example(("%s (%s), %s"):format(outcome[1].code, outcome.about, where.about),
        try_of(outcome[1], outcome[2], where[1]))
    end
  end
  return out
end

local function chat_body(message)
  return { id = "x", object = "chat.completion", model = "deepseek-flash",
    choices = json.array { { index = 0, finish_reason = "stop", message = message } },
    usage = { prompt_tokens = 9, completion_tokens = 12, total_tokens = 21 } }
end

local good = { status = 200, untried = true }

-- Whole good answers.
local answers = {
  example("a good answer", with(usual, good,
    { text = "晴", body = chat_body { role = "assistant", content = "晴" } })),
  example("a good answer that says nothing", with(usual, good,
    { text = "", body = chat_body { role = "assistant", content = "" } })),
  example("a good answer with a tool call", with(usual, good,
    { body = chat_body { role = "assistant", content = json.null, tool_calls = json.array {
      tool_turn[2].tool_calls[1] } } })),
  example("good embeddings", with(usual, good, { kind = "embed" })),
  example("a good post", with(usual, good, { kind = "post", body = { ok = true } })),
}

-- One that is under way: nothing has been answered yet.
local function under_way(about, more)
  return example(about, with(usual, { untried = true, headers = {}, p95 = 2.4 }, more))
end

-- One of a target that has not been asked often enough.
local function unmeasured(about, more)
  local one = under_way(about, more)
  one[1].p95 = nil
  return one
end

local queued = {
  under_way("a first keep-alive", { status = 200, keep_alives = 1, seconds = 1, queued = 0 }),
  unmeasured("a keep-alive of a server nobody knows", { status = 200, keep_alives = 1,
    seconds = 9 }),
  under_way("a minute in the queue", { status = 200, keep_alives = 60, seconds = 60,
    elapsed = 61, remaining = 239, stream = true }),
  under_way("a batch job in the queue", { status = 200, keep_alives = 300, seconds = 300,
    priority = "batch", untried = false, targets = 1, remaining = 3000 }),
  under_way("a person in the queue", { status = 200, keep_alives = 4, seconds = 4,
    priority = "interactive", stream = true }),
}

local hedged = {
  under_way("a first try", { seconds = 0, elapsed = 0, remaining = 30 }),
  unmeasured("the first try of all", { seconds = 0, elapsed = 0, remaining = 30 }),
  under_way("a person's", { seconds = 0, priority = "interactive", stream = true }),
  under_way("a batch job's", { seconds = 0, priority = "batch", targets = 1, untried = false }),
}

-- }========================================================================

-- {== Targets, failures, answers ==========================================

local function without(t, names)
  for _, name in ipairs(names or {}) do t[name] = nil end
  return t
end

local function target(name, more, lacks)
  return without(with({ name = name, account = name, pool = "default", priority = 1,
    model = "deepseek-flash", state = "closed", free = true, limit = 20, in_flight = 3,
    round_trip = 1.5, tries = 0 }, more), lacks)
end

local cheap = { input = 1, cached = 0.02, output = 4 }

local lists = {
  example("two that are well", { target("main", { price = cheap, weight = 90 }),
    target("backup", { price = { input = 2, output = 8 }, weight = 10, round_trip = 3 }) }),
  example("one that is open", { target("main", { state = "open", free = false, tries = 2 }),
    target("backup", { priority = 2 }) }),
  example("all open or full", { target("main", { state = "open", free = false }),
    target("backup", { free = false, in_flight = 20 }),
    target("third", { state = "half_open", free = false, pool = "spare" }) }),
  example("targets without limits and prices",
    { target("main", {}, { "limit", "in_flight", "round_trip" }), target("backup", {}) }),
  example("an edge and a centre that is full", { target("main", { pool = "edge" }),
    target("backup", { pool = "centre", free = false, in_flight = 20 }) }),
  example("an edge that has failed, a centre that is open, and a third",
    { target("main", { pool = "edge", tries = 1 }),
      target("backup", { pool = "centre", state = "open", free = false }), target("third", {}) }),
}

local function failure(about, more, lacks)
  return example(about, without(with({ message = "main: a sample", tries = 5,
    model = "deepseek-v4-pro", kind = "chat", stream = false, target = "main", language = "zh",
    code = about }, more), lacks))
end

local unsent = { "target", "language", "model" }

local failures = {
  failure("busy", { status = 503 }),
  failure("limited", { status = 429, retry_after = 20, stream = true }),
  failure("quota", { status = 402, tries = 1, language = "en-GB" }),
  failure("auth", { status = 401, tries = 1 }),
  failure("timeout", { kind = "responses" }),
  failure("network", { kind = "complete" }),
  failure("tls", { tries = 1 }),
  failure("cut", { status = 200 }),
  failure("empty", { status = 200 }),
  failure("upstream", { status = 500 }),
  failure("open", { tries = 0, retry_after = 4 }, unsent),
  failure("full", { tries = 0 }, unsent),
  failure("budget", {}),
  failure("policy", {}),
  failure("nomem", { tries = 0 }, unsent),
}

local told_reply = { model = "deepseek-flash", target = "main", pool = "edge", kind = "chat",
  stream = false, finish_reason = "stop", seconds = 0.2, remaining = 29.8, cost = 0.00001,
  usage = { prompt_tokens = 9, completion_tokens = 12, total_tokens = 21, cached_tokens = 0,
    reasoning_tokens = 0 } }

local replies = {
  example("an answer", with(told_reply, { text = "晴",
    body = chat_body { role = "assistant", content = "晴" } })),
  example("an answer with thoughts, streamed", with(told_reply, { text = "晴", stream = true,
    reasoning = "the user wants the weather",
    body = chat_body { role = "assistant", content = "晴" } })),
  example("an answer that was too long",
    with(told_reply, { text = "…", finish_reason = "length" })),
  example("an answer without a text", without(with(told_reply, { finish_reason = "stop" }),
    { "usage", "cost", "model" })),
  example("a tool call", with(told_reply, { finish_reason = "tool_calls",
    tool_calls = tool_turn[2].tool_calls })),
}

local beginnings = {
  example("some words", { text = "once upon" }),
  example("thoughts only", { reasoning = "the user wants" }),
  example("nothing yet", { text = "" }),
}

-- }========================================================================

-- Each of one list with each of another.
local function crossed(list, others_)
  local out = {}
  for _, one in ipairs(list) do
    for _, other in ipairs(others_) do
      out[#out + 1] = example(("%s, %s"):format(one.about, other.about), one[1], other[1])
    end
  end
  return out
end

--- What each function is given, with what it is of: function -> list of { about =, first, second }.
samples.of = {
  classify = joined(failed_tries(), answers), retry = failed_tries(), queued = queued,
  hedge = hedged, route = crossed(joined(answerable, embeddings, others), lists),
  accept = crossed(answerable, replies), resume = crossed(answerable, beginnings),
  normalise = cached, cache = cached, batch = cached, fallback = crossed(answerable, failures),
  peak = cached,
}

-- One answer of several, in whatever list a server puts them.
local function item_of(i)
  return { index = i - 1, finish_reason = "stop", text = "晴", embedding = json.array { 0.5 },
    object = "embedding", message = { role = "assistant", content = "晴" },
    choices = json.array { { index = 0, finish_reason = "stop",
      message = { role = "assistant", content = "晴" } } } }
end

--- What a server might answer to a merged request: `count` answers in every list that servers are
--- known to put them in.
---@param count integer
---@return table body
function samples.batch_body(count)
  local body = { id = "x", object = "list", model = "deepseek-flash",
    usage = { prompt_tokens = 9, completion_tokens = 12, total_tokens = 21 } }
  for _, name in ipairs { "data", "choices", "responses" } do
    body[name] = json.array()
    for i = 1, count do body[name][i] = item_of(i) end
  end
  return body
end

--- The names of the targets in what `route` is given.
samples.targets = { "main", "backup", "third" }

--- Unix seconds at which they are asked: a working day's morning in Beijing, its night, a Sunday,
--- and the time at which computers begin to count.
samples.times = { 1767576600, 1767618000, 1767495600, 0 }

return samples
