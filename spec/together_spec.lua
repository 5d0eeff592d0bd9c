-- Everything at once, by chance: pools that spill, second tries beside the first, weak answers,
-- streams that break off, limits, batches, the cache, fallbacks, and callers who leave in every
-- way. Who gets an answer gets its own, byte for byte; all others a clear failure in time; and
-- nothing is left.
local codes = require "unbusy.codes"
local guard = require "spec.support.leak_guard"
local random = require "spec.support.random"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local together = require "spec.support.together"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local CALLS = 60   -- of one round
local SLACK = 0.25 -- seconds behind a deadline: the graces for what is called off

-- {== What callers do =====================================================

-- Is it the answer to question n, or one that may stand for it?
local function check_answer(one, a)
  local text = a.text
  if one.kind == "embed" then
    assert(a.body.data[1].embedding[1] == one.n, "the vector of another question")
  elseif a.source == "fallback" then
    assert(text == together.FALLBACK and a.failure, "no fallback of ours")
  elseif text == together.weak(one.n) then
    assert(a.source ~= "cache" and a.source ~= "stale", "a weak answer was kept")
    assert(a.weak or one.judged == false, "a weak answer is not marked")
  else
    assert(text == together.answer(one.n), ("question %d: %s"):format(one.n, tostring(text)))
  end
  assert(not (a.weak and a.escalated), "weak, and replaced")
end

local function is_beginning(text, whole)
  return whole:sub(1, #text) == text
end

-- What came of a stream that was not read to a good end.
local function check_part(one, text)
  assert(is_beginning(text, together.answer(one.n)) or is_beginning(text, together.weak(one.n))
    or is_beginning(text, together.FALLBACK), "other text: " .. text)
end

local function read_all(one, stream)
  local parts = {}
  while true do
    local piece, message, code, detail = stream:read()
    parts[#parts + 1] = piece and piece.text
    if code then
      check_part(one, table.concat(parts))
      return nil, message, code, detail
    elseif not piece then
      break
    end
  end
  local a = stream:reply()
  if not a then return nil, "closed by somebody", "closed", { tries = stream.tries } end
  assert(table.concat(parts) == a.text, "the pieces are not the answer")
  return a
end

local readers = { read_all }

-- Leaves after some pieces.
local function some_pieces(r, one, stream, leave)
  local parts = {}
  for _ = 1, r:int(5) do
    local piece = stream:read()
    if not piece then break end
    parts[#parts + 1] = piece.text
  end
  check_part(one, table.concat(parts))
  one.left = true
  return leave(stream)
end

local function close(stream)
  stream:close()
  stream:close()
  return nil, "closed by its reader", "closed", { tries = stream.answer.tries }
end

local function drop() return nil, "dropped", "closed" end

local function throw() error("the consumer's own", 0) end

function readers.close(one, stream, r) return some_pieces(r, one, stream, close) end
function readers.drop(one, stream, r) return some_pieces(r, one, stream, drop) end
function readers.throw(one, stream, r) return some_pieces(r, one, stream, throw) end

local kinds = { chat = "chat", complete = "complete", embed = "embed" }

local function ask(r, w, one, given)
  local request = together.request(r, one.kind, one.n)
  if not one.streams then
    return w.client[kinds[one.kind]](w.client, request, given)
  end
  local stream, message, code, detail = w.client:stream(request, given)
  if not stream then return nil, message, code, detail end
  return (readers[one.reads] or read_all)(one, stream, r)
end

local function options_of(r, one, cancel)
  return { deadline = one.deadline, cancel = cancel, trace = one.traced or nil,
    priority = r:pick { "interactive", "normal", "batch" },
    hedge = r:chance(0.1) and false or nil, escalate = one.judged,
    resume = r:pick { nil, "prompt", "prefix" }, cache = r:pick { nil, nil, "refresh" },
    target = r:chance(0.05) and "e1" or nil, pool = r:chance(0.05) and "centre" or nil,
    clocks = r:chance(0.2) and { try = 1.5 } or nil }
end

local function new_call(r, i)
  local kind = r:pick { "chat", "chat", "chat", "complete", "embed" }
  local one = { kind = kind, n = r:chance(0.3) and r:int(10) or 100 + i,
    streams = kind ~= "embed" and r:chance(0.5), deadline = r:pick { 0.3, 2, 8, 60 },
    reads = r:chance(0.2) and r:pick { "close", "drop", "throw" } or nil,
    traced = kind ~= "complete" and r:chance(0.8), ended = 0 }
  if r:chance(0.1) then one.judged, one.n = false, 100 + i end -- nobody else's in the cache
  return one
end

-- One call, to its end.
local function run(r, w, one, starts)
  local cancel = unbusy.canceller()
  local given = options_of(r, one, cancel)
  if given.target and given.pool then given.pool = nil end
  w.loop.sleep(starts)
  local ends = r:chance(0.1) and r:float() * 3
  if ends then
    w.loop.spawn(function()
      w.loop.sleep(ends)
      one.left = true
      cancel:cancel()
    end)
  end
  one.began = w.loop.now()
  one.answer, one.message, one.code, one.detail = ask(r, w, one, given)
  one.at, one.ended = w.loop.now(), one.ended + 1
end

-- A task that is ended from outside, in mid-call.
local function kill_later(r, w, task, one)
  w.loop.spawn(function()
    w.loop.sleep(r:float() * 15)
    if one.ended == 0 then
      one.killed = true
      w.loop.cancel(task)
    end
  end)
end

local function spawn_all(r, w, seen)
  for i = 1, CALLS do
    local one, starts = new_call(r, i), r:float() * 12
    seen[i] = one
    if one.kind == "complete" then starts = math.floor(starts) end -- some together
    local task = w.loop.spawn(function()
      local ok, raised = pcall(run, r, w, one, starts)
      if ok then return end
      one.raised, one.killed = raised, one.killed or raised == "the consumer's own"
      if one.killed then one.ended = one.ended + 1 end
    end)
    if r:chance(0.05) then kill_later(r, w, task, one) end
  end
end

-- }========================================================================

-- {== What must hold ======================================================

-- The tries of each trace, and of all.
local function tries_seen(w)
  local each, all = {}, 0
  for _, e in ipairs(w.events) do
    if e.type == "try" then
      all = all + 1
      if e.trace then each[e.trace] = (each[e.trace] or 0) + 1 end
    end
  end
  return each, all
end

local function check_call(one, each)
  assert(one.ended == 1, ("has ended %d times: %s"):format(one.ended, tostring(one.raised)))
  if one.killed then return end
  assert(one.at - one.began <= one.deadline + SLACK, ("%.2f s instead of %g: %s"):format(
    one.at - one.began, one.deadline, tostring(one.code)))
  local told = one.answer or one.detail
  if one.answer then
    check_answer(one, one.answer)
  else
    assert(codes[one.code] and type(one.message) == "string", "no clear failure")
  end
  local t = told and told.trace
  if t and not one.left then
    assert(told.tries == (each[t.id] or 0), ("%d tries are told, of %d: %s"):format(told.tries,
      each[t.id] or 0, one.code or one.answer.source))
  end
end

local function check_calls(w, seen)
  local each, all = tries_seen(w)
  for i, one in ipairs(seen) do
    local ok, message = pcall(check_call, one, each)
    if not ok then
      error(("call %d (%s%s): %s"):format(i, one.kind, one.streams and ", streamed" or "",
        message), 0)
    end
  end
  assert(#w.log == all, ("%d requests, %d tries"):format(#w.log, all))
end

local function check_counts(w)
  local s, answers = w.client:status(), 0
  assert(s.hedge.begun <= s.hedge.calls * w.client.hedges.most + 1e-6, "too many second tries")
  local h = s.hedge
  assert(h.won + h.lost + h.failed <= h.begun, "more second tries ended than began")
  for name, pool in pairs(s.pools) do
    assert(pool.answers >= 0 and pool.sent_on >= 0 and pool.cost >= 0, name .. ": below nothing")
    answers = answers + pool.answers
  end
  assert(answers <= #w.log, "more answers than requests")
  for _, t in ipairs(s.targets) do
    assert(t.queue.calls == 0, t.name .. ": calls in its queue")
    assert((t.pending or 0) == 0, t.name .. ": the balancer counts calls")
  end
  assert(s.event_faults == 0, "a watcher failed")
  return s
end

-- Every try is a call's first one, its free move, or paid for; or what a weak answer, or an item of
-- a batch that was asked again, has led to.
local function check_extra(w, s, permits)
  local tries = select(2, tries_seen(w))
  local most = 2 * CALLS + permits + s.escalate.asked + (s.batch.lone or 0) + (s.batch.split or 0)
  assert(tries <= most, ("%d tries, of at most %d"):format(tries, most))
end

-- Counts the permits that are given from now on.
local function counted_permits(w)
  local permits, count = w.client.permits, { n = 0 }
  for _, name in ipairs { "take", "take_now" } do
    local take = permits[name]
    permits[name] = function(...)
      local permit = take(...)
      if permit then count.n = count.n + 1 end
      return permit
    end
  end
  return count
end

local met = {} -- what has happened at all, in all rounds

local rounds = 0

local function note(name, n)
  met[name] = (met[name] or 0) + n
end

local function note_all(w, s, seen)
  rounds = rounds + 1
  for _, name in ipairs { "won", "lost", "failed", "switched" } do note(name, s.hedge[name]) end
  note("resumed", s.resumed)
  note("replaced", s.escalate.replaced)
  note("members", s.batch.members)
  for _, pool in pairs(s.pools) do note("sent_on", pool.sent_on) end
  for _, e in ipairs(w.events) do note("event " .. e.type, 1) end
  for _, one in ipairs(seen) do
    local a = one.answer
    note(a and a.source or one.code or "killed", 1)
    if a and a.resumed and a.resumed > 0 and a.hedged then note("resumed and hedged", 1) end
    if a and a.escalated and a.hedged then note("escalated and hedged", 1) end
    if a and a.escalated and a.resumed and a.resumed > 0 then note("escalated and resumed", 1) end
  end
end

local function settle(w)
  w.loop.run(function() w.loop.sleep(3000) end) -- servers that hang see that all have gone
  regions.collect() -- what was dropped
  w.loop.run(function() w.loop.sleep(1) end)
end

local function round(r, more, closes)
  local w, seen = together.world(r, more), {}
  if closes then
    w.loop.spawn(function()
      w.loop.sleep(r:float() * 15)
      w.client:close()
    end)
  end
  local permits = counted_permits(w)
  w.loop.run(spawn_all, r, w, seen)
  settle(w)
  check_calls(w, seen)
  local s = check_counts(w)
  check_extra(w, s, permits.n)
  note_all(w, s, seen)
  w:assert_clean()
  w.client:close()
end

-- }========================================================================

describe("everything at once", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)
  local seed = random.seed(1)

  for i = 1, tonumber(os.getenv "UNBUSY_ROUNDS") or 20 do
    it(("round %d (UNBUSY_SEED=%d)"):format(i, seed), function()
      local r = random.new(seed * 1000 + i)
      round(r, nil, i % 5 == 0)
    end)
  end

  for i = 1, tonumber(os.getenv "UNBUSY_ROUNDS") or 6 do
    it(("in a region, round %d (UNBUSY_SEED=%d)"):format(i, seed), function()
      local r = random.new(seed * 1000 + 500 + i)
      local shared = assert(region.new { bytes = 8 * 1024 * 1024 })
      local ok, message = pcall(round, r,
        { region = shared, cache = { ttl = 5, bytes = 1e6, entries = 100,
          coalesce = false } }, i % 3 == 0)
      shared:close()
      assert(ok, message)
    end)
  end

  it("has come to all that was to be mixed", function()
    if rounds < 20 then return end -- not all were run
    for _, name in ipairs { "won", "lost", "failed", "resumed", "replaced", "sent_on", "members",
      "upstream", "cache", "fallback", "timeout", "cancelled", "closed", "killed",
      "event keep_alive", "event queued", "event weak", "event cut" } do
      assert.is_true((met[name] or 0) > 0, name)
    end
  end)
end)
