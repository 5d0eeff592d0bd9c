--- A client with everything on, and servers that do whatever servers do, by chance: for
-- together_spec.
--
-- Every question has a number, and one right answer, of which each server says the same bytes: so
-- an answer can be told from every other one, and a continuation from a beginning.
local exact = require "spec.support.exact"
local json = require "unbusy.json"
local world = require "spec.support.world"

local together = { FALLBACK = "Later, please." }

--- The right answer to question n.
function together.answer(n)
  return ("Answer %d: the cat sat on mat %d, and the dog looked on; nobody said a word of %d.")
    :format(n, n, n)
end

--- A weak answer to it.
function together.weak(n)
  return ("I don't know about %d."):format(n)
end

-- {== Servers =============================================================

local function number_in(text)
  return tonumber(text:match "question (%d+)%.")
end

local function number_of(body)
  return number_in(body.messages and body.messages[1].content or body.prompt)
end

local function usage()
  return { prompt_tokens = 10, completion_tokens = 20, total_tokens = 30 }
end

local function embeddings(body)
  local out = json.array()
  for i, text in ipairs(type(body.input) == "table" and body.input or { body.input }) do
    out[i] = { object = "embedding", index = i - 1, embedding = { number_in(text) } }
  end
  return { object = "list", data = out, usage = { prompt_tokens = 5, total_tokens = 5 } }
end

local function completions(prompts, say)
  local out = json.array()
  for i, prompt in ipairs(prompts) do
    out[i] = { index = i - 1, text = say(number_in(prompt)), finish_reason = "stop" }
  end
  return { id = "x", object = "text_completion", model = "m", choices = out, usage = usage() }
end

local function whole(body, say)
  if body.input then return embeddings(body) end
  if type(body.prompt) == "table" then return completions(body.prompt, say) end
  local text = exact.new { text = say(number_of(body)) }:rest(body)
  local choice = { index = 0, finish_reason = "stop" }
  if body.prompt then
    choice.text = text
  else
    choice.message = { role = "assistant", content = text }
  end
  return { id = "x", object = body.prompt and "text_completion" or "chat.completion",
    model = "m", choices = json.array { choice }, usage = usage() }
end

local HEADERS = { ["content-type"] = "text/event-stream" }

local function stream(r, body, say, n)
  local events = exact.new { text = say(number_of(body)), piece = 7, usage = usage }
    :events(body, n)
  local gap, steps = r:pick { 0, 0.01, 0.1 }, {}
  for i, event in ipairs(events) do steps[i] = { gap, event } end
  return { status = 200, headers = HEADERS, steps = steps }
end

local function goes_on(body)
  if type(body.prompt) == "string" then return not body.prompt:find "%d%.$" end
  return body.messages and #body.messages > 1
end

local function good(r, body, n, weak)
  local say = together.answer
  if not goes_on(body) and r:chance(weak) then say = together.weak end
  local answer = body.stream and stream(r, body, say, n)
    or { status = 200, body = json.encode(whole(body, say)) }
  if r:chance(0.1) and not body.stream then
    answer.headers = { ["content-type"] = "application/json",
      ["x-ratelimit-limit-requests"] = "600", ["x-ratelimit-remaining-requests"] = "5",
      ["x-ratelimit-reset-requests"] = "1s" }
  end
  return answer
end

-- A whole answer of some bytes, or the first few events of a stream; and then it breaks.
local function broken(r, body, n)
  local answer = good(r, body, n, 0)
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

-- Keep-alives, and then what comes of them.
local function queued(r, answer)
  if not answer.steps then return answer end
  local steps = {}
  for i = 1, r:int(6) do steps[i] = { 0.5, world.KEEP_ALIVE } end
  for _, step in ipairs(answer.steps) do steps[#steps + 1] = step end
  answer.steps = steps
  return answer
end

local troubles = {
  function() return world.status(503) end,
  function() return world.status(500) end,
  function() return world.status(503, { ["retry-after"] = "1" }) end,
  function() return world.status(429, { ["retry-after"] = "1" }) end,
  function() return { fail = "network", message = "gone", phase = "connect" } end,
  function() return { status = 200, hang = 1000 } end,
  function() return { after = 1000, status = 503 } end,
  function() return { status = 200, headers = HEADERS, steps = { { 0, "data: {bad\n\n" } } } end,
  function(r) return queued(r, { status = 200, headers = HEADERS, steps = {} }) end,
  broken, broken, broken, broken,
}

--- A server: `o.trouble` and `o.weak` are shares, `o.pace` a factor of its times.
function together.server(r, o)
  return function(request, n)
    local body = json.decode(request.body)
    local answer
    if r:chance(o.trouble) then
      answer = r:pick(troubles)(r, body, n)
    else
      answer = good(r, body, n, o.weak or 0)
      if r:chance(0.15) then answer = queued(r, answer) end
    end
    answer.after = answer.after or r:pick { 0, 0.05, 0.1, 0.1, 0.3, 2 } * o.pace
    return answer
  end
end

-- }========================================================================

-- {== The client ==========================================================

local function targets(r)
  return {
    e1 = { pool = "edge", weight = 2, prefix = "flag", account = "home" },
    e2 = { pool = "edge", weight = 1, prefix = "continue", priority = r:pick { 1, 2 },
      limits = { requests_per_minute = r:pick { 30, 600 } } },
    c1 = { pool = "centre", prefix = "flag", price = { input = 1, output = 2 },
      limits = { tokens_per_minute = r:pick { 3000, 1e6 } } },
    c2 = { pool = "centre", prefix = "flag", keys = { "k1", "k2" },
      price = { input = 1, output = 2 } },
    spare = { pool = "spare", reserve = true, prefix = "flag" },
  }
end

local function options(r)
  return {
    route = { balance = r:pick { "p2c", "weighted" }, sticky = r:pick { "prefix", "user", false } },
    pools = { edge = { priority = 1, spill = { start = r:pick { 0.5, 5 }, hold = 1,
      queue = r:pick { 0, 0.3 } } }, centre = { priority = 2 } },
    hedge = r:pick { { after = 0.2, most = 1, price = "any" }, { after = 0.5, most = 0.2,
      price = "any" }, { samples = 5, most = 0.5, price = "any" } },
    escalate = { hold = r:chance(0.5), most = r:pick { 0.2, 1 }, floor = r:pick { 0, 10 } },
    resume = r:pick { "prefix", "prompt" },
    upstream_stream = r:chance(0.5),
    policy = r:pick { nil, "interactive", "edge", "interactive" },
    limiter = { kind = r:pick { "gradient", "aimd" }, initial = r:pick { 2, 5, 20 } },
    breaker = { min_calls = 8, open_for = 1 }, budget = { tokens = r:pick { 10, 100 } },
    retry = { attempts = r:pick { 2, 4 }, base = 0.1 },
    queue = { size = r:pick { 3, 100 }, max_wait = 3 },
    cache = { ttl = 5, coalesce = false }, -- each call makes its own tries, which are counted
    batch = "completions",
    fallback = r:pick { { { stale = true }, { pool = "spare" }, together.FALLBACK },
      { { pool = "spare" } }, together.FALLBACK },
    clocks = { start = 4, token = 2, headers = 6, total = 20 }, seed = r:int(1e6),
  }
end

--- A world of it; `more` goes to the client's options.
function together.world(r, more)
  local script = {}
  local trouble = r:pick { 0.05, 0.3, 0.7 }
  for i, name in ipairs { "e1", "e2", "c1", "c2", "spare" } do
    script[name] = together.server(r, { trouble = r:chance(0.2) and 1 or trouble,
      weak = i <= 2 and 0.3 or 0, pace = i <= 2 and 1 or 3 })
  end
  local o = options(r)
  for name, value in pairs(more or {}) do o[name] = value end
  return world.new { script = script, options = o, targets = targets(r),
    order = { "e1", "e2", "c1", "c2", "spare" }, random = function() return r:float() end }
end

--- The request of question n, as the kind wants it.
function together.request(r, kind, n)
  local text = ("Tell me of question %d."):format(n)
  if kind == "complete" then return { prompt = text, max_tokens = 100 } end
  if kind == "embed" then return { input = text } end
  return { messages = { { role = "user", content = text } }, user = "user " .. r:int(4),
    temperature = 0 }
end

-- }========================================================================

return together
