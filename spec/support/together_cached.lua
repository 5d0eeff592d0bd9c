--- Clients with a cache in all its forms, and servers that do whatever servers do, by chance: for
-- together_cache_spec.
--
-- Every answer has a number, under which it is written down who was asked what, for whom, when, and
-- whether it may be kept. Its words name the question and who asked it; so an answer can be told
-- from every other one, wherever it comes from.
local claimed = require "spec.support.claimed"
local exact = require "spec.support.exact"
local fold = require "unbusy.fold"
local json = require "unbusy.json"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local cached = { FALLBACK = "Later, please." }

--- Those who ask.
cached.USERS = { "ann", "ann", "ann", "ann", "bob", "cid" }

--- The right answer to question n, asked by `user`.
function cached.answer(n, user)
  return ("Answer %d for %s: the cat sat on mat %d, and nobody else said a word."):format(n,
    user, n)
end

--- A weak one.
function cached.weak(n, user)
  return ("I don't know about %d, %s."):format(n, user)
end

-- {== Questions ===========================================================

local words = { "Tell me of question %d.", "Tell me of question %d.", "Tell me of question %d.",
  "Tell me of question %d.", "  tell  me of QUESTION %d. " }

local function number_in(text)
  return tonumber(text:lower():match "question (%d+)%.")
end

local function number_of(request)
  local messages = request.messages
  local text = messages and messages[1].content or request.prompt or request.input
  return type(text) == "string" and number_in(text) or nil
end

--- The request of question n for somebody. Of a chat the words differ, and mean the same.
function cached.request(r, kind, n, user)
  if kind == "complete" then
    return { prompt = words[1]:format(n), max_tokens = 100, temperature = 0, user = user }
  elseif kind == "embed" then
    return { input = words[1]:format(n), user = user }
  end
  return { messages = { { role = "user", content = r:pick(words):format(n) } }, temperature = 0,
    user = user, n = r:chance(0.2) and 1 or nil }
end

-- }========================================================================

-- {== Servers =============================================================

local function whose(body)
  return type(body.user) == "string" and body.user or "nobody"
end

local function usage()
  return { prompt_tokens = 10, completion_tokens = 20, total_tokens = 30 }
end

-- Kind of answer -> its words, and why they end.
local says = {
  good = function(n, user) return cached.answer(n, user), "stop" end,
  weak = function(n, user) return cached.weak(n, user), "stop" end,
  length = function(n, user) return cached.answer(n, user):sub(1, 20), "length" end,
  filter = function(n, user) return cached.answer(n, user):sub(1, 20), "content_filter" end,
}

local function tool_call(n)
  return { index = 0, id = "call-" .. n, type = "function",
    ["function"] = { name = "look", arguments = ('{"n":%d}'):format(n) } }
end

local function embeddings(body, note)
  local out = json.array()
  for i, text in ipairs(type(body.input) == "table" and body.input or { body.input }) do
    out[i] = { object = "embedding", index = i - 1, embedding = { number_in(text), note.number } }
  end
  return { object = "list", data = out, model = note.model,
    usage = { prompt_tokens = 5, total_tokens = 5 } }
end

local function completions(body, note)
  local out, begun = json.array(), type(body.prompt) == "string" and body.prompt or nil
  for i, prompt in ipairs(begun and { begun } or body.prompt) do
    local text, finish = says[note.kind](number_in(prompt), note.user)
    if begun then text = exact.new { text = text }:rest(body) end
    out[i] = { index = i - 1, text = text, finish_reason = finish }
  end
  return { id = "answer-" .. note.number, object = "text_completion", model = note.model,
    choices = out, usage = usage() }
end

local function whole(body, note)
  if body.input then return embeddings(body, note) end
  if body.prompt then return completions(body, note) end
  local choice = { index = 0, message = { role = "assistant" } }
  if note.kind == "tool" then
    choice.finish_reason, choice.message.content = "tool_calls", json.null
    choice.message.tool_calls = json.array { tool_call(note.n) }
  else
    local text, finish = says[note.kind](note.n, note.user)
    choice.finish_reason = finish
    choice.message.content = exact.new { text = text }:rest(body)
  end
  return { id = "answer-" .. note.number, object = "chat.completion", model = note.model,
    choices = json.array { choice }, usage = usage() }
end

local HEADERS = { ["content-type"] = "text/event-stream" }

local function tool_events(note)
  local function event(delta, finish)
    return "data: " .. json.encode { id = "answer-" .. note.number, model = note.model,
      object = "chat.completion.chunk", choices = json.array { { index = 0, delta = delta,
        finish_reason = finish or json.null } } } .. "\n\n"
  end
  return { event { role = "assistant", content = json.null,
    tool_calls = json.array { tool_call(note.n) } }, event({}, "tool_calls"), world.DONE }
end

local function events_of(body, note)
  if note.kind == "tool" then return tool_events(note) end
  local text, finish = says[note.kind](note.n, note.user)
  local asked = { messages = body.messages, prompt = body.prompt, model = note.model,
    continue_final_message = body.continue_final_message, stream_options = body.stream_options }
  return exact.new { text = text, piece = 9, usage = usage, finish = finish }
    :events(asked, note.number)
end

local function answered(r, body, note)
  if not body.stream then return { status = 200, body = json.encode(whole(body, note)) } end
  local gap, steps = r:pick { 0, 0.01, 0.1 }, {}
  for i, event in ipairs(events_of(body, note)) do steps[i] = { gap, event } end
  return { status = 200, headers = HEADERS, steps = steps }
end

-- Is it the rest of an answer that is asked for?
local function goes_on(body)
  if type(body.prompt) == "string" then return not body.prompt:find "%d%.%s*$" end
  return body.messages and #body.messages > 1
end

local function kind_of(r, body, o)
  if body.input or goes_on(body) then return "good" end
  if r:chance(o.weak) then return "weak" end
  if r:chance(0.05) then return "length" end
  if r:chance(0.02) then return "filter" end
  return body.messages and r:chance(0.08) and "tool" or "good"
end

local function broken(r, body, note)
  note.kind = "good"
  local answer = answered(r, body, note)
  note.broken = true
  if answer.steps then
    for i = #answer.steps, r:int(#answer.steps) + 1, -1 do answer.steps[i] = nil end
    local last = answer.steps[#answer.steps]
    last[2] = last[2]:sub(1, r:int(#last[2]))
  else
    answer.body = answer.body:sub(1, r:int(#answer.body))
  end
  answer.fail, answer.message, answer.phase = "network", "reset by the server", "body"
  return answer
end

local BUSY = '{"error":{"message":"The server is busy, please try again later"}}'

local troubles = {
  function() return world.status(503) end,
  function() return world.status(500) end,
  function() return world.status(429, { ["retry-after"] = "1" }) end,
  function() return { status = 200, body = BUSY } end,
  function() return { status = 200, headers = HEADERS, steps = { { 0, "data: " .. BUSY
    .. "\n\n" } } } end,
  function() return { fail = "network", message = "gone", phase = "connect" } end,
  function() return { status = 200, hang = 1000 } end,
  function() return { after = 1000, status = 503 } end,
  broken, broken, broken, broken,
}

-- A server of the world: `o.trouble` and `o.weak` are shares, `o.pace` a factor of its times.
local function server(w, r, name, o)
  return function(request)
    local body = json.decode(request.body)
    local note = { number = #w.made + 1, target = name, model = "by " .. name, user = whose(body),
      n = number_of(body), at = w.loop.now(), kind = kind_of(r, body, o) }
    w.made[note.number] = note
    local answer = r:chance(o.trouble) and r:pick(troubles)(r, body, note)
      or answered(r, body, note)
    answer.after = answer.after or r:pick { 0, 0.05, 0.1, 0.1, 0.3, 2 } * o.pace
    return answer
  end
end

local function servers(w, r)
  local script, trouble = {}, r:pick { 0.02, 0.02, 0.2, 0.6 }
  for _, name in ipairs { "e1", "e2", "c1", "spare" } do
    local edge = name:sub(1, 1) == "e"
    script[name] = server(w, r, name, { trouble = r:chance(0.15) and 1 or trouble,
      weak = edge and 0.15 or 0, pace = edge and 1 or 3 })
  end
  return script
end

-- }========================================================================

-- {== The options =========================================================

local policy = {}

--- What the policy of some worlds says of question n's answer: seconds, false, a table or nothing.
function policy.cache(request)
  local n = number_of(request)
  local kind = n and n % 7
  if kind == 0 then return { ttl = 3, tools = true } end
  if kind == 1 then return false end
  if kind == 2 then return 1.5 end
  return kind == 3 and { ttl = 4, tags = { "three" } } or nil
end

function policy.normalise(request)
  return fold.question(request)
end

function policy.accept(_, reply)
  return not (reply.text or ""):find("I don't know", 1, true)
end

function policy.fallback(_, failure)
  return failure.code == "busy" and "stale" or nil
end

function policy.peak(request)
  return number_of(request) == 4
end

-- Some of it, or one that is shipped; or none.
local function policy_of(r, w)
  if r:chance(0.3) then return nil end
  if r:chance(0.15) then
    w.frugal = true
    return "frugal"
  end
  local out = {}
  for _, name in ipairs { "cache", "normalise", "accept", "fallback", "peak" } do
    if r:chance(0.5) then out[name] = policy[name] end
  end
  w.policy = out
  return out
end

local function warm_of(r)
  if r:chance(0.7) then return nil end
  local list = {}
  for n = 1, r:int(5) do
    list[n] = { messages = { { role = "user", content = words[1]:format(n) } }, temperature = 0 }
  end
  return { questions = list, keep = r:chance(0.5), every = r:pick { 1, 3 },
    before = r:pick { 0, 1 }, top = r:pick { 0, 5 }, at_once = r:int(3),
    deadline = r:chance(0.5) and 2 or nil, off_peak = r:chance(0.3) }
end

local pers = { user = "user", tenant = "tenant", header = { header = "X-Team" } }

local function cache_of(r, w)
  local stale = r:pick { 0, 3, 30, 86400 }
  local replay = r:pick { true, true, false, 0.5, 5 }
  w.stale, w.ttl = stale, r:pick { 0, 0.5, 2, 2, 5, 30, 30 }
  return { ttl = w.ttl, stale = stale, revalidate = r:pick { 0, 0, math.min(2, stale), stale },
    jitter = r:pick { 0, 0.1, 1 }, replay = replay, coalesce = r:chance(0.75),
    entries = r:pick { 3, 100, 1000 }, bytes = r:pick { 3000, 1e6, 1e6 },
    per = pers[w.who], path = w.path, warm = warm_of(r),
    top = r:pick { false, true, { counters = 10, half_life = 5, question_bytes = 256 } } }
end

local function options(r, w)
  local o = {
    cache = cache_of(r, w), policy = policy_of(r, w), seed = r:int(1e6),
    route = { balance = r:pick { "p2c", "weighted" }, sticky = r:pick { "prefix", "user", false } },
    hedge = r:pick { { after = 0.2, most = 1, price = "any" }, false },
    escalate = r:chance(0.6) and { hold = r:chance(0.5), most = r:pick { 0.2, 1 } },
    resume = r:pick { "prefix", "prompt", false }, upstream_stream = r:chance(0.3),
    limiter = { kind = r:pick { "gradient", "aimd" }, initial = r:pick { 2, 5, 20 } },
    breaker = { min_calls = 8, open_for = 1 }, budget = { tokens = r:pick { 10, 100 } },
    retry = { attempts = r:pick { 1, 2, 4 }, base = 0.1 },
    queue = { size = r:pick { 0, 3, 100 }, max_wait = r:pick { 1, 3 } },
    batch = r:pick { "embeddings", "completions",
      { { rule = "completions", max = 3 }, "embeddings" } },
    fallback = r:pick { { { stale = true }, { pool = "spare" }, cached.FALLBACK },
      { { pool = "spare" }, { stale = 10 } }, cached.FALLBACK, { { stale = 10 } }, false },
    clocks = { start = 4, token = 2, headers = 6, total = 20 },
  }
  if r:chance(0.5) then o.resume = false end
  w.judges = o.escalate or w.policy and w.policy.accept
  o.fallback = o.fallback or nil
  return o
end

local targets = {
  e1 = { pool = "edge", weight = 2, prefix = "flag", account = "home" },
  e2 = { pool = "edge", weight = 1, prefix = "continue" },
  c1 = { pool = "centre", prefix = "flag", price = { input = 1000, output = 2000 } },
  spare = { pool = "spare", reserve = true, prefix = "flag", price = { input = 1, output = 1 } },
}

-- }========================================================================

-- {== The world ===========================================================

-- Writes down what is kept: for each answer when, and for how long.
local function watch(w, client)
  local cache = client.cache
  local set = cache.set
  function cache.set(self, key, value, about)
    local done, message, code = set(self, key, value, about)
    w.kept[#w.kept + 1] = { at = w.loop.now(), value = value, ttl = about.ttl, done = done,
      tags = about.tags }
    return done, message, code
  end
end

local function add_client(w, o, claims)
  local client = assert(unbusy.new(o))
  w.clients[#w.clients + 1] = client
  watch(w, client)
  if claims then claimed.join(claims, client) end
end

-- Where its cache lives: "private", "region", "file", or "both": in a file, all else in a region.
local function place(w, r, where)
  if where ~= "private" and where ~= "file" then
    w.region = assert(region.new { bytes = 16 * 1024 * 1024 })
  end
  if where == "file" or where == "both" then w.path, w.remove = regions.path() end
  w.who = r:pick { "anybody", "anybody", "anybody", "anybody", "user", "tenant", "header",
    "option" }
end

--- A world of it, with `count` clients on the same cache, which stand for so many processes.
function cached.world(r, where, count)
  local w = { made = {}, kept = {}, clients = {} }
  place(w, r, where)
  local given = options(r, w)
  given.region = w.region
  local made = world.new { script = servers(w, r), options = given, targets = targets,
    order = { "e1", "e2", "c1", "spare" }, random = function() return r:float() end }
  for name, value in pairs(w) do made[name] = value end
  w.loop = made.loop -- the servers know this one
  made.clients[1] = made.client
  watch(made, made.client)
  local claims = w.region and count > 1 and claimed.new(made.loop, function() return r:float() end)
  if claims then claimed.join(claims, made.client) end
  made.claims = claims
  for _ = 2, count do add_client(made, made.given, claims) end
  return made
end

--- All of it is closed.
function cached.close(w)
  for _, client in ipairs(w.clients) do client:close() end
  if w.region then w.region:close() end
  if w.remove then w.remove() end
end

-- }========================================================================

return cached
