-- Thousands of calls whose answers are good, weak, late, broken or none, by chance: who was
-- answered at all gets an answer, every weak one is accounted for, and nothing is left.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local random = require "spec.support.random"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local CALLS = 120 -- of one round

local function body_of(text, finish)
  return { status = 200, body = json.encode { choices = json.array { { index = 0,
    finish_reason = finish or "stop", message = { role = "assistant", content = text } } },
    usage = { prompt_tokens = 1, completion_tokens = 1, total_tokens = 2 } } }
end

local function stream_of(text, finish, more)
  return world.streamed({ { 0, world.chunk { role = "assistant", content = "" } },
    { 0.1, world.chunk { content = text } }, { 0.1, world.chunk({}, finish or "stop") },
    { 0, world.DONE } }, more)
end

local function is_streamed(request)
  return json.decode(request.body).stream == true
end

-- What one request meets; `weak` and `trouble` are shares.
local function server(r, weak, trouble)
  return function(request)
    local make = is_streamed(request) and stream_of or body_of
    local answer
    if r:chance(trouble) then
      answer = r:pick { world.status(503), world.status(500), world.status(400),
        world.status(429, { ["retry-after"] = "1" }), { status = 200, body = "" },
        { fail = "network", message = "gone" }, { status = 200, hang = 1000 },
        world.streamed({ { 0, world.chunk { content = "so" } } },
          { fail = "network", message = "gone" }) }
    elseif r:chance(weak) then
      answer = r:pick { make(r:pick { "I don't know.", " ", "" }), make("half", "length") }
    else
      answer = make "all is well"
    end
    answer.after = r:pick { 0, 0.05, 0.3, 2 }
    return answer
  end
end

local function new_world(r)
  local hold = r:chance(0.5)
  local w = world.new { script = { edge = server(r, 0.4, r:pick { 0, 0.2 }),
    centre = server(r, 0.1, r:pick { 0, 0.3, 1 }) }, order = { "edge", "centre" },
    targets = { edge = { pool = "edge" }, centre = { pool = "centre" } },
    options = { escalate = { hold = hold, most = r:pick { 0, 0.2, 1 }, floor = r:pick { 0, 10 } },
      cache = r:chance(0.3), retry = { attempts = r:pick { 1, 3 }, base = 0.2 },
      breaker = r:chance(0.5) and { min_calls = 5, open_for = 2 } or false,
      limiter = { kind = "fixed", initial = r:pick { 2, 10, 100 } },
      policy = r:chance(0.3) and { accept = function(_, reply)
        if reply.seconds > 1 then error "too late to think" end
        return nil
      end } or nil } }
  return w, hold
end

-- One call, to its end: "answered", or the code of its failure.
local function ask(r, w, seen)
  local cancel = unbusy.canceller()
  local streams, leaves = r:chance(0.4), r:chance(0.1)
  local given = { deadline = r:pick { 0.2, 1, 5, 60 }, cancel = cancel,
    target = r:chance(0.05) and "edge" or nil }
  w.loop.sleep(r:float() * 20)
  if leaves then
    local seconds = r:float() * 3
    w.loop.spawn(function()
      w.loop.sleep(seconds)
      cancel:cancel()
    end)
  end
  local request = { messages = { { role = "user", content = "q" .. r:int(30) } } }
  local answer, _, code
  if streams then
    local stream, _, why = w.client:stream(request, given)
    answer, code = stream, why
    if stream then answer, _, code = stream:reply() end
  else
    answer, _, code = w.client:chat(request, given)
  end
  seen[#seen + 1] = { answer = answer, code = code, streams = streams, leaves = leaves }
end

local function sum(counts)
  local n = 0
  for _, value in pairs(counts) do n = n + value end
  return n
end

-- What must hold of the calls of a round, and of what was counted.
local function check(w, seen, hold)
  local s, marked, replaced = w.client:status().escalate, 0, 0
  assert(#seen == CALLS, "a call has not ended")
  for _, one in ipairs(seen) do
    local a = one.answer
    if a then
      local own = a.source ~= "coalesced" -- what several share is counted once
      if a.weak and own then marked = marked + 1 end
      if a.escalated and own then replaced = replaced + 1 end
      assert(not (a.weak and a.escalated), "both")
      assert(a.source ~= "cache" or a.target ~= "edge" or a.text == "all is well",
        "a weak answer out of the cache") -- the centre's are not judged
      local weak = a.text ~= "all is well" and a.target == "edge"
      assert(not weak or a.weak, "a weak answer that is not marked: " .. tostring(a.text))
      assert(not (weak and one.streams and hold) or a.weak, "a held one that is not marked")
    else
      assert(type(one.code) == "string", "neither an answer nor a failure")
    end
  end
  assert(marked <= sum(s.kept), "more are marked than were kept")
  assert(replaced <= s.replaced, "more are replaced than were counted")
  assert(s.replaced <= s.asked and sum(s.weak) <= s.judged, "counts that cannot be")
  local failed = s.kept.failed or 0
  assert(s.replaced + failed <= s.asked and s.asked <= s.replaced + failed + CALLS * 0.2,
    "asked for nothing")
  assert(sum(s.weak) - (sum(s.kept) - failed) == s.asked, "a weak answer without an end")
end

describe("weak answers by chance", function()
  guard.watch(before_each, after_each)
  local seed = random.seed(1)
  for round = 1, 15 do
    it(("are all accounted for, round %d"):format(round), function()
      local r = random.new(seed * 1000 + round)
      local w, hold = new_world(r)
      local seen = {}
      w.loop.run(function()
        for _ = 1, CALLS do w.loop.spawn(ask, r, w, seen) end
      end)
      w.loop.run(function() w.loop.sleep(2000) end) -- servers that hang see that all have gone
      check(w, seen, hold)
      w:assert_clean()
      w.client:close()
    end)
  end
end)
