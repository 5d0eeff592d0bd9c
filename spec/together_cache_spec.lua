-- The cache in all its forms, and everything around it, by chance: one client or several that stand
-- for so many processes, kept answers in memory, a region or a file, streams that are replayed,
-- calls that are shared, questions asked ahead of time; and callers who leave in every way. Who
-- gets an answer gets one to its own question, for itself, no older than it may be, and pays for it
-- no more than once; all others a clear failure in time; what is kept is good and whole; and
-- nothing is left.
local cached = require "spec.support.together_cached"
local codes = require "unbusy.codes"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local random = require "spec.support.random"
local regions = require "spec.support.regions"
local scheduler = require "unbusy.loops.scheduler"
local stored = require "unbusy.caching.stored"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local CALLS = 30   -- of one round
local SLACK = 0.25 -- seconds behind a deadline: the graces for what is called off
local NEAR = 1e-4  -- seconds: a cache counts microseconds
local ALONE = 100  -- questions from here on are asked once

-- {== What was answered ===================================================

-- The number of the server's answer that this one is, or began as; nil for a text of ours.
local function number_of(one, body)
  if one.kind == "embed" then return body.data[1].embedding[2] end
  return type(body.id) == "string" and tonumber(body.id:match "^answer%-(%d+)$")
end

-- The user that the words of an answer name, if they are one to question n: "good", "weak" or
-- "begun".
local function read_text(n, text)
  for _, user in ipairs { "ann", "bob", "cid", "nobody" } do
    local whole = cached.answer(n, user)
    if text == whole then return "good", user end
    if text == cached.weak(n, user) then return "weak", user end
    if text == whole:sub(1, 20) then return "begun", user end
  end
end

local function is_beginning(text, whole)
  return whole:sub(1, #text) == text
end

-- Is it the beginning of whatever may be said to the call?
local function check_part(one, text)
  local good = is_beginning(text, cached.FALLBACK)
  for _, user in ipairs { "ann", "bob", "cid", "nobody" } do
    good = good or is_beginning(text, cached.answer(one.n, user))
      or is_beginning(text, cached.weak(one.n, user))
  end
  assert(good, "other text: " .. text)
end

-- }========================================================================

-- {== What callers do =====================================================

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
  assert(table.concat(parts) == (a.text or ""), "the pieces are not the answer")
  return a
end

local readers = {}

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

function readers.slow(one, stream, r, w)
  local pause, read = r:pick { 0.2, 1 }, stream.read
  function stream.read(self)
    w.loop.sleep(pause)
    return read(self)
  end
  return read_all(one, stream)
end

local function ask(r, w, one, given)
  local client, request = w.clients[one.client], cached.request(r, one.kind, one.n, one.user)
  if not one.streams then
    local a, message, code, detail = client[one.kind](client, request, given)
    one.came = w.loop.now()
    return a, message, code, detail
  end
  local stream, message, code, detail = client:stream(request, given)
  one.came = w.loop.now()
  if not stream then return nil, message, code, detail end
  return (readers[one.reads] or read_all)(one, stream, r, w)
end

-- How the cache is to be used by this call.
local function cache_options(r, one, given)
  local chance = r:float()
  if chance < 0.06 then given.cache = false
  elseif chance < 0.14 then given.cache = "refresh"
  elseif chance < 0.2 then given.cache = r:pick { true, 1.5 } end
  if r:chance(0.1) then given.max_age = r:pick { 0, 0.5, 3 } end
  if r:chance(0.1) then given.max_stale = r:pick { true, 0, 2 } end
  if r:chance(0.15) then given.stale = r:pick { false, 1, 10 } end
  if r:chance(0.08) then given.only_cached = true end
  if r:chance(0.1) then given.cache_tags = { r:pick { "odd", "even" } } end
  if one.streams and r:chance(0.2) then given.resume = r:pick { "prompt", "prefix" } end
end

-- Who asks: as the client keeps answers apart, or by the call's own word.
local function say_who(r, w, one, given)
  if w.who == "tenant" and r:chance(0.1) then
    one.unknown = true
  elseif w.who == "tenant" or w.who == "option" then
    given.tenant = one.user
  elseif w.who == "header" then
    given.headers = { ["x-team"] = one.user }
  end
end

local function options_of(r, w, one, cancel)
  local given = { deadline = one.deadline, cancel = cancel, escalate = one.judged,
    priority = r:pick { "interactive", "normal", "normal", "normal", "batch" } }
  if r:chance(0.1) then given.hedge = false end
  if r:chance(0.1) then given.batch = false end
  if r:chance(0.15) then given.trace = true end
  if r:chance(0.08) then given.target = r:pick { "e1", "c1" }
  elseif r:chance(0.05) then given.pool = r:pick { "centre", "spare" } end
  if r:chance(0.1) then given.clocks = { try = 1.5 } end
  if r:chance(0.05) then given.upstream_stream = r:chance(0.5) end
  cache_options(r, one, given)
  say_who(r, w, one, given)
  return given
end

local streamed = { chat = 0.5, complete = 0.2, embed = 0 } -- shares
local leaving, staying = { "close", "drop", "throw", "slow" }, { "close", "slow" }

local function new_call(r, w, i)
  local kind = r:pick { "chat", "chat", "chat", "chat", "chat", "complete", "complete", "embed" }
  local one = { kind = kind, n = r:int(r:pick { 2, 4, 14 }), user = r:pick(cached.USERS),
    client = r:int(#w.clients), streams = r:chance(streamed[kind]), ended = 0,
    deadline = r:pick { 0.3, 2, 8, 8, 60 },
    reads = r:chance(0.35) and r:pick(w.drops and leaving or staying) or nil }
  if r:chance(0.08) then one.judged, one.n = false, ALONE + i end -- nobody else's in the cache
  return one
end

local function cancel_later(r, w, one, cancel)
  local ends = r:float() * 3
  w.loop.spawn(function()
    w.loop.sleep(ends)
    one.left = true
    cancel:cancel()
  end)
end

-- One call, to its end.
local function run(r, w, one, starts)
  local cancel = unbusy.canceller()
  local given = options_of(r, w, one, cancel)
  one.given = given
  w.loop.sleep(starts)
  if r:chance(0.1) then cancel_later(r, w, one, cancel) end
  one.began = w.loop.now()
  one.answer, one.message, one.code, one.detail = ask(r, w, one, given)
  one.at, one.ended = w.loop.now(), one.ended + 1
end

-- A task that is ended from outside, in mid-call.
local function kill_later(r, w, task, one)
  w.loop.spawn(function()
    w.loop.sleep(r:float() * 8)
    if one.ended == 0 then
      one.killed = true
      w.loop.cancel(task)
    end
  end)
end

local function spawn_all(r, w, seen)
  for i = 1, CALLS do
    local one, starts = new_call(r, w, i), r:float() * 6
    seen[i] = one
    if r:chance(0.6) then starts = math.floor(starts) end -- some together
    local task = w.loop.spawn(function()
      local ok, raised = pcall(run, r, w, one, starts)
      if ok then return end
      one.raised, one.killed = raised, one.killed or raised == "the consumer's own"
      if one.killed then one.ended = one.ended + 1 end
    end)
    if r:chance(0.06) and (w.drops or one.reads ~= "slow") then kill_later(r, w, task, one) end
  end
end

-- What operators do meanwhile.
local deeds = {
  function(_, client) client.cache:clear() end,
  function(r, client) client.cache:purge(r:pick { "odd", "three", "target:e1", "model:by c1" }) end,
  function(r, client, w)
    local list = {}
    for i = 1, 6 do list[i] = cached.request(r, "chat", i) end
    w.warms = w.warms + 1
    local done = client:warm(list, { at_once = r:int(3), deadline = 3, patience = 5,
      refresh = r:chance(0.3), before = r:pick { 0, 1 } })
    assert(done.asked + done.fresh + #done.failures <= 6)
    w.warms = w.warms - 1
  end,
  function(_, client)
    if client.hot then assert(#client:top(20) <= 20) end
  end,
}

local function operate(r, w, closes)
  for _ = 1, r:int(4) - 1 do
    w.loop.spawn(function()
      w.loop.sleep(r:float() * 10)
      local client = r:pick(w.clients)
      if not client.closed then r:pick(deeds)(r, client, w) end
    end)
  end
  if not closes then return end
  w.loop.spawn(function()
    w.loop.sleep(r:float() * 12)
    r:pick(w.clients):close()
  end)
end

-- }========================================================================

-- {== What must hold: what is kept ========================================

-- May an answer with these words be kept?
local function check_words(w, n, text, finish)
  local kind = read_text(n, text)
  assert(finish == "stop", "kept, though it ended for " .. tostring(finish))
  assert(kind == "good" or kind == "weak" and (not w.judges or n > ALONE),
    ("kept: a %s answer to %d: %s"):format(tostring(kind), n, text))
end

-- Does the policy of the world let tool calls be kept?
local function keeps_tools(w, n)
  return w.policy and w.policy.cache and n % 7 == 0
end

local function check_choice(w, n, choice)
  local message = choice.message
  if message and type(message.tool_calls) == "table" then
    assert(keeps_tools(w, n), "kept: a tool call")
    return
  end
  check_words(w, n, message and message.content or choice.text, choice.finish_reason)
end

local function check_ttl(w, n, entry)
  local ttl = entry.ttl
  if w.frugal and ttl == 86400 or ttl == 1.5 or ttl <= w.ttl then return end
  local kind = w.policy and w.policy.cache and n % 7
  assert(kind == 0 and ttl == 3 or kind == 3 and ttl == 4, "kept for " .. ttl .. " s")
end

local function check_kept(w, entry)
  local _, text = stored.unpack(entry.value)
  local body = json.decode(text)
  local vector = body.data and body.data[1].embedding
  if vector then
    entry.number = vector[2]
    return check_ttl(w, vector[1], entry)
  end
  assert(#body.choices == 1, "kept: several choices")
  local choice = body.choices[1]
  local words = choice.text or choice.message.content
  local n = type(words) == "string" and tonumber(words:match "%d+")
    or tonumber(choice.message.tool_calls[1].id:match "%d+")
  entry.number = tonumber(body.id:match "%d+$")
  check_ttl(w, n, entry)
  check_choice(w, n, choice)
end

-- The times at which the server's answer of that number was kept.
local function all_kept(w)
  local by_number = {}
  for i, entry in ipairs(w.kept) do
    local ok, message = pcall(check_kept, w, entry)
    assert(ok, ("kept %d: %s"):format(i, tostring(message)))
    by_number[entry.number] = by_number[entry.number] or {}
    table.insert(by_number[entry.number], entry)
  end
  return by_number
end

-- }========================================================================

-- {== What must hold: each call ===========================================

local from_cache = { cache = true, stale = true }

-- May an answer of this age be given, of what was kept so?
local function is_in_time(w, one, a, entry)
  local given, age = one.given, a.age
  local at = entry.at + age
  if not entry.done or at < one.began - NEAR or at > one.came + NEAR then return false end
  if a.source == "cache" then return age <= entry.ttl + NEAR end
  local over = math.max(age - entry.ttl, 0)
  if over > w.stale + NEAR then return false end
  if a.failure then return true end
  local most = given.max_stale
  return most == true or over <= (most or w.given.cache.revalidate) + NEAR
end

local function check_stale(w, one, a)
  local own = one.given.stale
  if not a.failure then
    assert(own ~= false or one.given.max_stale ~= nil, "renewed, though none was wanted")
    return
  end
  assert(own ~= false, "a stale answer, though none was wanted")
  assert(type(own) ~= "number" or a.age <= own + NEAR, "a stale answer of " .. a.age .. " s")
  assert(w.who ~= "tenant" or not one.unknown, "kept for nobody")
end

local function check_old(w, one, a, kept)
  local number = number_of(one, a.body)
  local good = false
  for _, entry in ipairs(kept[number] or {}) do
    good = good or is_in_time(w, one, a, entry)
  end
  assert(good, ("%s: an answer of %.4f s that was not kept so"):format(a.source, a.age))
  if a.source == "stale" then check_stale(w, one, a) end
  local most = one.given.max_age
  assert(a.failure or not most or a.age <= most + NEAR, "older than max_age")
  assert(a.cost == 0 or a.cost == nil, "what is kept costs nothing")
end

local function check_user(w, one, user)
  if w.who == "anybody" or w.who == "tenant" and one.unknown then return end
  assert(user == one.user, ("%s has the answer of %s"):format(one.user, user))
end

local function check_text(w, one, a)
  local kind, user = read_text(one.n, a.text or "")
  assert(kind, ("question %d: %s"):format(one.n, tostring(a.text)))
  check_user(w, one, user)
  assert(kind ~= "begun" or a.finish_reason ~= "stop", "a part of the answer")
  if kind == "weak" and w.given.escalate and one.judged == nil and a.target == "e1" then
    assert(a.weak or a.source == "stale", "a weak answer is not marked")
  end
end

-- Is it the answer to the call's question?
local function check_answer(w, one, a)
  if one.kind == "embed" then
    assert(a.body.data[1].embedding[1] == one.n, "the vector of another question")
    check_user(w, one, w.made[a.body.data[1].embedding[2]].user)
  elseif a.tool_calls then
    assert(a.tool_calls[1].id == "call-" .. one.n, "the tool call of another question")
    check_user(w, one, w.made[number_of(one, a.body)].user)
  elseif a.source == "fallback" then
    assert(a.text == cached.FALLBACK and a.failure, "no fallback of ours")
  else
    check_text(w, one, a)
  end
  if one.given.target and a.source ~= "fallback" then
    assert(a.target == one.given.target, "another target's answer")
  end
end

local function check_source(w, one, a, kept)
  local given, source = one.given, a.source
  if given.cache == false or one.unknown then
    assert(not from_cache[source] and source ~= "coalesced", "out of the cache: " .. source)
  end
  if given.cache == "refresh" then assert(source ~= "cache", "not asked anew") end
  if given.only_cached then assert(from_cache[source], "somebody was asked: " .. source) end
  if source == "coalesced" then assert(a.cost == 0, "paid for what is shared") end
  if from_cache[source] then check_old(w, one, a, kept) end
end

local function check_call(w, one, kept)
  assert(one.ended == 1, ("has ended %d times: %s"):format(one.ended, tostring(one.raised)))
  if one.killed then return end
  local limit = math.min(one.deadline, 20)
  assert(one.reads == "slow" or one.at - one.began <= limit + SLACK,
    ("%.2f s instead of %g: %s"):format(one.at - one.began, one.deadline, tostring(one.code)))
  local a = one.answer
  if a then
    check_source(w, one, a, kept)
    return check_answer(w, one, a)
  end
  assert(codes[one.code] and type(one.message) == "string", "no clear failure")
  if one.given.only_cached and not one.left and one.code ~= "closed" then
    assert(one.code == "invalid" or one.streams, one.code)
  end
end

-- }========================================================================

-- {== What must hold: all of it ===========================================

-- Nobody pays twice for one answer of a server.
local function check_cost(seen)
  local paid = {}
  for i, one in ipairs(seen) do
    local a = one.answer
    if a and a.source == "upstream" then
      local number = number_of(one, a.body)
      assert(not paid[number], ("calls %s and %d both pay for answer %d"):format(
        tostring(paid[number]), i, number))
      paid[number] = i
    end
  end
end

local function check_calls(w, seen)
  local kept = all_kept(w)
  for i, one in ipairs(seen) do
    local ok, message = pcall(check_call, w, one, kept)
    if not ok then
      error(("call %d (%s%s, %s): %s"):format(i, one.kind, one.streams and ", streamed" or "",
        one.answer and one.answer.source or tostring(one.code), tostring(message)), 0)
    end
  end
  check_cost(seen)
  -- What nobody may keep is not kept.
  for i, one in ipairs(seen) do
    local a = one.answer
    if a and one.given.cache == false and a.source == "upstream" then
      assert(not kept[number_of(one, a.body)], ("call %d: kept all the same"):format(i))
    end
  end
  assert(#w.log == #w:seen "try", ("%d requests, %d tries"):format(#w.log, #w:seen "try"))
end

local function check_client(w, client)
  w.client = client
  w:assert_clean()
  local s = client:status()
  assert(s.event_faults == 0, "a watcher failed")
  assert(s.coalesce.open == 0 and s.coalesce.members == 0, "flights are left")
  assert(client.flights.behind == 0, "refreshes are left")
  for _, of_loop in pairs(client.flights.open) do
    assert(next(of_loop) == nil, "a place of a flight is left")
  end
  assert(next(client.calls) == nil, "calls are left")
  assert(next(client.warming.jobs) == nil, "jobs are left")
  for _, t in ipairs(s.targets) do
    assert(t.queue.calls == 0 and (t.pending or 0) == 0, t.name .. ": calls are left")
  end
  local claims = client.flights.claims
  if not claims then return end
  assert(next(claims.leading) == nil and next(claims.waiting) == nil, "claims are held")
  assert(claims.part:stats().open == 0, "claims are open")
end

local met, rounds = {}, 0 -- what has happened at all, in all rounds

local function note(name, n)
  met[name] = (met[name] or 0) + n
end

local function note_all(w, seen)
  rounds = rounds + 1
  for _, client in ipairs(w.clients) do
    local s = client:status()
    for _, name in ipairs { "joined", "again", "refreshed", "flights" } do
      note(name, s.coalesce[name])
    end
    note("asked ahead", s.warm.asked)
    note("members", s.batch.members)
    note("resumed", s.resumed)
    note("replaced", s.escalate and s.escalate.replaced or 0)
    if client.flights.claims then note("found", client.flights.claims.found) end
  end
  if w.claims then note("followed", w.claims.followed) end
  note("kept", #w.kept)
  for _, one in ipairs(seen) do
    local a = one.answer
    note(a and a.source or one.code or "killed", 1)
    if a and a.source == "stale" then note(a.failure and "stood in" or "renewed", 1) end
    if a and one.streams then note("stream " .. a.source, 1) end
  end
end

local function settle(w)
  w.loop.run(function() w.loop.sleep(3000) end) -- servers that hang see that all have gone
  if not w.drops then return end
  regions.collect() -- what was dropped
  w.loop.run(function() w.loop.sleep(1) end)
end

local function check_all(w, seen)
  check_calls(w, seen)
  for _, client in ipairs(w.clients) do check_client(w, client) end
  assert(w.warms == 0, "a warming never ended")
  if w.region then assert(w.region:stats().waiting == 0, "callers wait in the region") end
  assert(scheduler.live() == 0, "tasks are left")
  note_all(w, seen)
end

local places = { "private", "private", "region", "region", "file", "both" }
local several = { region = true, both = true }

local function round(r, closes)
  local where = r:pick(places)
  local w, seen = cached.world(r, where, several[where] and r:int(3) or 1), {}
  w.warms, w.drops = 0, r:chance(0.25)
  operate(r, w, closes)
  local ok, message = pcall(w.loop.run, spawn_all, r, w, seen)
  if ok then
    settle(w)
    ok, message = pcall(check_all, w, seen)
  end
  cached.close(w)
  world.end_all()
  assert(ok, ("%s, %d: %s"):format(where, #w.clients, tostring(message)))
end

-- }========================================================================

local ROUNDS = tonumber(os.getenv "UNBUSY_ROUNDS") or 60
local AT_ONCE = 20 -- rounds in one test

describe("everything around the cache at once", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)
  local seed = random.seed(1)

  -- LuaJIT asks the system for room for its code so often that it takes most of the time: so it
  -- compiles in the first rounds only.
  local jit = rawget(_G, "jit")
  before_each(function() if jit and rounds >= AT_ONCE then jit.off() end end)
  after_each(function() if jit then jit.on() end end)

  for first = seed, seed + ROUNDS - 1, AT_ONCE do
    it(("rounds %d and so on"):format(first), function()
      for i = first, math.min(first + AT_ONCE, seed + ROUNDS) - 1 do
        local ok, message = pcall(round, random.new(i), i % 5 == 0)
        assert(ok, ("%s (UNBUSY_SEED=%d UNBUSY_ROUNDS=1 repeats it)"):format(tostring(message), i))
      end
    end)
  end

  it("has come to all that was to be mixed", function()
    if rounds < 200 then return end -- not all were run
    for _, name in ipairs { "upstream", "cache", "stale", "coalesced", "fallback", "batch",
      "timeout", "cancelled", "closed", "killed", "invalid", "joined", "again", "refreshed",
      "asked ahead", "members", "resumed", "replaced", "followed", "found", "kept", "stood in",
      "renewed", "stream cache", "stream stale", "stream coalesced" } do
      assert.is_true((met[name] or 0) > 0, name)
    end
  end)
end)
