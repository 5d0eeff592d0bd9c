-- Many small calls made as a few: calls a second, HTTP requests, and bytes on the wire, against the
-- same calls one by one, in turns of one run.
--
-- The upstream is the specs' busy one, over real HTTP: it serves so many requests at a time, and
-- takes 50 ms for one, and a share of that more for each further item of a batch, which nobody can
-- say for all servers: so several shares are measured. The bytes are those that it has read and
-- written, with all headers, as HTTP/1.1 has them; TCP's own are not in them. What of them is saved
-- depends on how long questions and answers are: several lengths are measured.
--
--   UNBUSY_BENCH_TURNS     turns that each takes (3); the quickest counts
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local measure = require "bench.support.measure"
local unbusy = require "unbusy"

local TURNS = tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 3
local PLACES = 8      -- requests that the upstream serves at a time
local LATENCY = 0.05  -- seconds
local CALLERS = 256   -- that have a question at any moment
local CALLS = { single = 512, batched = 4096 } -- of one turn
local SHARE = 0.1     -- of the latency that a further item takes, where the goals are measured

local up = busyd.start { workers = 1 }

local SMALL = 30      -- bytes of a question; its answer has six more
local length = SMALL

local function question(i)
  local text = ("%d: what is the weather like in Shanghai today, and tomorrow? "):format(i)
  return text:rep(math.ceil(length / #text)):sub(1, length)
end

local kinds = {
  endpoint = { call = "chat", request = function(i)
    return { model = "m", temperature = 0, messages = { { role = "user", content = question(i) } } }
  end, said = function(reply) return reply.text end },
  completions = { call = "complete", request = function(i)
    return { model = "m", temperature = 0, prompt = question(i) }
  end, said = function(reply) return reply.text end },
  embeddings = { call = "embed", request = function(i)
    return { model = "m", input = question(i) }
  end, said = function(reply) return reply.body.data[1].embedding[1] end },
}

local function expected(kind, i)
  if kind == kinds.embeddings then return busyd.embedding(question(i))[1] end
  return busyd.expected(question(i))
end

local function new_client(rule)
  return unbusy.new { targets = { { name = "a", url = up.url .. "/v1", key = "key-1",
    batch = "/api/v1/batch" } }, batch = rule, limiter = { kind = "fixed", initial = PLACES } }
end

-- `count` calls by so many callers, each with its next question as soon as it has its answer.
local function run(client, kind, count)
  local next_one = 0
  local function caller()
    while next_one < count do
      next_one = next_one + 1
      local i = next_one
      local reply, message = client[kind.call](client, kind.request(i))
      if not reply then error(message, 0) end
      if kind.said(reply) ~= expected(kind, i) then error("another's answer", 0) end
    end
  end
  unbusy.run(function()
    for _ = 1, CALLERS do unbusy.spawn(caller) end
  end)
end

-- What the upstream has counted, once it has counted the last byte.
local function counts()
  while true do
    local c = up:counts()
    if c.bytes_counted == c.received then return c end
    os.execute "sleep 0.02"
  end
end

-- One turn: what a thousand calls take.
local function turn(rule, kind, count, share)
  local client = new_client(rule)
  up:programme { capacity = PLACES, queue = CALLERS, latency = LATENCY,
    latency_per_item = LATENCY * share, reset = true }
  collectgarbage()
  local began, cpu = core.now(), os.clock()
  run(client, kind, count)
  local seconds = core.now() - began
  cpu = os.clock() - cpu
  client:close()
  local c = counts()
  return { rate = count / seconds, requests = c.received / count * 1000,
    bytes = (c.bytes_received + c.bytes_sent) / count, cpu = cpu / count * 1e6 }
end

local function better(best, told)
  if not best or told.rate > best.rate then return told end
  return best
end

local function show(name, t)
  print(("  %-20s %7.0f calls/s %7.1f requests/1000 calls %6.0f bytes/call %5.0f us CPU/call")
    :format(name, t.rate, t.requests, t.bytes, t.cpu))
end

local function saved(single, batched, what)
  return (1 - batched[what] / single[what]) * 100
end

-- The calls of one kind, one by one and by its rule, in turns.
local function race(name, share, turns)
  local kind, single, batched = kinds[name], nil, nil
  for _ = 1, turns or TURNS do
    single = better(single, turn(false, kind, CALLS.single, share))
    batched = better(batched, turn(name, kind, CALLS.batched, share))
  end
  show("one by one", single)
  show("batch/" .. name, batched)
  print(("  × %.2f calls a second; saved: %.1f %% of requests, %.1f %% of bytes"):format(
    batched.rate / single.rate, saved(single, batched, "requests"),
    saved(single, batched, "bytes")))
  if kind ~= kinds.embeddings then
    local said = 2 * length + 6
    print(("  of the bytes beside questions and answers: %.1f %%"):format(
      (1 - (batched.bytes - said) / (single.bytes - said)) * 100))
  end
  return single, batched
end

local function goals(name)
  print(("%s: %d places, %g ms, %g ms for each further item; questions of %d bytes"):format(name,
    PLACES, LATENCY * 1000, LATENCY * SHARE * 1000, SMALL))
  local single, batched = race(name, SHARE)
  measure.goal("calls a second, against one by one", batched.rate / single.rate, 2.3, "×", true)
  measure.goal("requests saved", saved(single, batched, "requests"), 67, "%", true)
  measure.goal("bytes saved", saved(single, batched, "bytes"), 67, "%", true)
end

for _, name in ipairs { "endpoint", "completions", "embeddings" } do goals(name) end
for _, share in ipairs { 0, 0.25, 0.5, 1 } do
  print(("endpoint, where a further item takes %g %% of the latency"):format(share * 100))
  race("endpoint", share, 1)
end
for _, bytes in ipairs { 60, 200, 1000 } do
  print(("endpoint, with questions of %d bytes and answers of %d"):format(bytes, bytes + 6))
  length = bytes
  race("endpoint", SHARE, 1)
end
up:stop()
