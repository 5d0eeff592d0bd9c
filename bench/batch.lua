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
local batching = require "bench.support.batching"
local busyd = require "spec.support.busyd"
local measure = require "bench.support.measure"

local TURNS = tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 3
local PLACES, LATENCY = batching.PLACES, batching.LATENCY
local CALLS = { single = 512, batched = 4096 } -- of one turn
local SHARE = 0.1     -- of the latency that a further item takes, where the goals are measured

local up = busyd.start { workers = 1 }

local SMALL = 30      -- bytes of a question; its answer has six more
local length = SMALL

local function turn(rule, name, count, share)
  return batching.turn(up, rule, name, count, { share = share, length = length })
end

local function better(best, told)
  if not best or told.rate > best.rate then return told end
  return best
end

local function show(name, t)
  print(("  %-20s %7.0f calls/s %7.1f requests/1000 calls %6.0f bytes/call %5.0f us CPU/call")
    :format(name, t.rate, t.requests, t.bytes, t.cpu))
end

local saved = batching.saved

-- The calls of one kind, one by one and by its rule, in turns.
local function race(name, share, turns)
  local single, batched
  for _ = 1, turns or TURNS do
    single = better(single, turn(false, name, CALLS.single, share))
    batched = better(batched, turn(name, name, CALLS.batched, share))
  end
  show("one by one", single)
  show("batch/" .. name, batched)
  print(("  × %.2f calls a second; saved: %.1f %% of requests, %.1f %% of bytes"):format(
    batched.rate / single.rate, saved(single, batched, "requests"),
    saved(single, batched, "bytes")))
  if name ~= "embeddings" then
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
