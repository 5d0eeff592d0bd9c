-- Thousands of calls that come, wait, fail and leave by chance, in batches: each ends once, in
-- time, with its own answer or a failure that says why; and nothing is left.
local batching = require "spec.support.batching"
local guard = require "spec.support.leak_guard"
local random = require "spec.support.random"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local MEMBERS = 150 -- of one round

local INVALID = { status = 400, body = '{"error":{"message":"no","type":"invalid_request_error"}}' }

-- What one request meets. `p.trouble` is how often something goes wrong.
local function whole_of(r, p)
  return function(texts)
    p.requests = p.requests + 1
    for _, text in ipairs(texts) do
      if text:find "poison" then return INVALID end
    end
    if not r:chance(p.trouble) then return nil end
    return r:pick {
      world.status(503), world.status(429, { ["retry-after"] = "1" }), world.status(500),
      { status = 200, body = '{"da', fail = "cut", message = "gone" },
      { fail = "network", message = "gone" }, { status = 200, body = "" },
      { status = 200, body = '{"data":[],"choices":[],"responses":[]}' },
      { status = 200, hang = 1000 },
    }
  end
end

local function item_of(r, p)
  return function(text)
    if text:find "bad" then return { message = "bad", type = "invalid_request_error" } end
    if r:chance(p.trouble / 4) then return { message = "busy", code = "server_is_overloaded" } end
  end
end

local function new_world(r, p)
  local function rule(name)
    return { rule = name, max = r:int(20) + 1,
      window = p.window or r:pick { 0, 0.01, 0.02, 0.5 } }
  end
  local server = batching.server { after = r:pick { 0.05, 0.3, 2 }, whole = whole_of(r, p),
    item = item_of(r, p) }
  return batching.world { script = { a = server, b = server },
    batch = { rule "embeddings", rule "completions", rule "endpoint" },
    targets = { a = { batch = "/api/v1/batch" }, b = { batch = r:chance(0.5) and "/b" or nil } },
    options = { retry = { attempts = p.attempts, base = 0.2 }, queue = { max_wait = 1000 },
      breaker = r:chance(0.5) and { open_for = 1 } or false,
      limiter = { kind = "fixed", initial = r:pick { 1, 4, 50 } }, clocks = { total = 600 } } }
end

local kinds = { "embed", "complete", "chat" }

-- One call as chance wants it.
local function new_member(r, p, i)
  local words = r:pick { "", "", "", "", "", "", "", "", " poison", " bad" }
  if p.trouble == 0 then words = "" end
  local text = ("q%d%s"):format(i, words)
  return { text = text, kind = r:pick(kinds), comes = r:float() * p.span,
    more = { model = r:pick { "m", "n" } },
    deadline = r:chance(p.hurry) and r:pick { 0.005, 0.02, 0.1, 1, 5 } or nil,
    cancel = r:chance(p.hurry) and unbusy.canceller() or nil,
    cancelled_after = r:pick { 0, 0.01, 0.1, 1 }, ended = 0 }
end

local function call(w, m)
  m.began = w:now()
  local ok, reply, message, code, detail = pcall(w.client[m.kind], w.client,
    batching.request(m.kind, m.text, m.more), { deadline = m.deadline, cancel = m.cancel })
  m.ended, m.at = m.ended + 1, w:now()
  m.killed = not ok
  if not ok then message = reply end
  m.message = message
  if ok then m.reply, m.code, m.detail = reply, code, detail end
end

local function run(w, r, p, members)
  w.loop.run(function()
    for _, m in ipairs(members) do
      w.loop.spawn(function()
        w.loop.sleep(m.comes)
        local task = w.loop.spawn(call, w, m)
        if not m.cancel then return end
        w.loop.sleep(m.cancelled_after)
        if r:chance(0.5) then m.cancel:cancel() else w.loop.cancel(task) end
      end)
    end
    if p.closes then
      w.loop.sleep(p.closes)
      w.client:close()
    end
  end)
end

local function fail(m, what)
  error(("%s (%s): %s; %s"):format(m.text, m.kind, what, tostring(m.message)), 0)
end

local function check_answer(m, p)
  if batching.said(m.reply) ~= "echo: " .. m.text then fail(m, "not its own answer") end
  if m.text:find "poison" then fail(m, "an answer") end
  if m.reply.tries > p.attempts + 4 then fail(m, m.reply.tries .. " tries") end
  if not (m.reply.usage and m.reply.body.usage) then fail(m, "no usage") end
  if m.reply.batch and m.reply.batch.index > m.reply.batch.size then fail(m, "batch") end
end

local expected = { timeout = true, cancelled = true, closed = true }

local function check(m, p)
  if m.killed then
    if not m.cancel then fail(m, "it raised") end
    return -- its task was ended
  end
  if m.ended ~= 1 then fail(m, m.ended .. " ends") end
  if m.at - m.began > (m.deadline or 600) + 0.1 + 1e-6 then fail(m, "too late") end
  if m.reply then return check_answer(m, p) end
  if type(m.message) ~= "string" or not m.detail.tries then fail(m, "no failure") end
  if m.detail.tries > p.attempts + 4 then fail(m, m.detail.tries .. " tries") end
  if m.code == "cancelled" and not m.cancel then fail(m, "cancelled") end
  if m.code == "closed" and not p.closes then fail(m, "closed") end
  local told = m.code == "full" and m.deadline -- that it would wait in vain
  if p.trouble == 0 and not (expected[m.code] or told) then fail(m, m.code) end
end

local function round(seed, p)
  local r, members = random.new(seed), {}
  p.requests, p.attempts = 0, p.attempts or r:pick { 1, 2, 5 }
  local w = new_world(r, p)
  for i = 1, MEMBERS do members[i] = new_member(r, p, i) end
  run(w, r, p, members)
  for _, m in ipairs(members) do check(m, p) end
  w:assert_clean()
  local counts = w.client:status().batch
  if counts.faults > 0 and p.trouble == 0 then error "a rule has faults" end
  return w, members, counts
end

local function rounds(first, count, new_plan, look)
  for seed = random.seed(first), random.seed(first) + count - 1 do
    local p = new_plan(random.new(seed + 1000000))
    local ok, message = pcall(function()
      local w, members, counts = round(seed, p)
      if look then look(w, members, counts, p) end
    end)
    if not ok then error(("seed %d: %s"):format(seed, tostring(message)), 0) end
  end
end

describe("batches by chance", function()
  guard.watch(before_each, after_each)

  it("are fewer calls than were made, where nothing goes wrong", function()
    rounds(1, 12, function(r)
      return { trouble = 0, hurry = 0, span = r:pick { 0.01, 0.3, 5 }, window = 0.02 }
    end, function(_, members, counts, p)
      assert.is_true(p.requests <= MEMBERS)
      assert(p.span > 0.3 or p.requests < MEMBERS / 2, p.requests .. " requests")
      assert.is_true(counts.members + counts.lone <= MEMBERS)
      for _, m in ipairs(members) do assert(m.reply, m.message) end
    end)
  end)

  it("lose no member where others leave", function()
    rounds(100, 12, function(r)
      return { trouble = 0, hurry = r:pick { 0.1, 0.5, 1 }, span = r:pick { 0.01, 0.3, 5 } }
    end, function(_, members, _, p)
      assert.is_true(p.requests <= MEMBERS)
      for _, m in ipairs(members) do
        assert(m.reply or m.killed or m.deadline or m.cancel, m.message)
      end
    end)
  end)

  it("end whatever goes wrong, and multiply nothing", function()
    rounds(200, 20, function(r)
      return { trouble = r:pick { 0.02, 0.2, 0.6, 1 }, hurry = r:pick { 0, 0.3 },
        span = r:pick { 0.01, 0.3, 20 } }
    end, function(_, _, _, p)
      assert.is_true(p.requests <= 2.5 * MEMBERS, p.requests .. " requests")
    end)
  end)

  it("end when the client is closed", function()
    rounds(300, 10, function(r)
      return { trouble = r:pick { 0, 0.3 }, hurry = 0.3, span = r:pick { 0.3, 5 },
        closes = r:float() * 3 }
    end)
  end)
end)
