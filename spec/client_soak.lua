-- A client that has answered a million calls holds no more memory than one that has answered ten
-- thousand: neither the Lua heap, nor blocks of the core, nor the process. Calls of every kind, in
-- virtual time and against a real server; failures, retries, streams, callers that leave.
--
-- Not part of the quick suites: busted --pattern=_soak spec. UNBUSY_SOAK makes it shorter: 0.01 is
-- a hundredth of the calls.
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local nginx = require "bench.support.nginx"
local scheduler = require "unbusy.loops.scheduler"
local tasks = require "unbusy.loops.tasks"
local unbusy = require "unbusy"
local virtual = require "unbusy.loops.virtual"
local world = require "spec.support.world"

local SHARE = tonumber(os.getenv "UNBUSY_SOAK") or 1
local AT_ONCE = 50
local ROUNDS = 10 -- after each but the first, memory is looked at
local seed = tonumber(os.getenv "UNBUSY_SEED") or os.time()

-- {== Looking at memory ===================================================

local function resident()
  local file = assert(io.open "/proc/self/status")
  local kilobytes = file:read("*a"):match "VmRSS:%s+(%d+)"
  file:close()
  return tonumber(kilobytes)
end

-- LuaJIT counts its compiled traces as heap, and makes new ones for hours: up to bounds of its own.
-- They are thrown away before each look.
local flush = jit and jit.flush or function() end -- luacheck: ignore 113

local function look()
  flush()
  for _ = 1, 4 do collectgarbage() end -- finalizers let go of more, and of more behind that
  return { heap = collectgarbage "count", blocks = core.stats().blocks, resident = resident() }
end

-- Kilobytes, or blocks, that a figure may grow by beside its share: what one page or one table
-- that has doubled weighs.
local SHARES = { heap = 0.03, blocks = 0.03, resident = 0.05 }
local SLACK = { heap = 128, blocks = 8, resident = 2048 }

local function assert_flat(first, now, round)
  for name, before in pairs(first) do
    local most = before * (1 + SHARES[name]) + SLACK[name]
    if now[name] > most then
      error(("seed %d, round %d: %s: %.0f, was %.0f after the first round"):format(seed, round,
        name, now[name], before), 0)
    end
  end
end

-- }========================================================================

-- {== Callers =============================================================

-- Every caller gets an answer or a code, and never an error.
local function check(reply, message, code)
  if not reply and not (type(message) == "string" and type(code) == "string") then
    error(("seed %d: neither a reply nor a failure: %s"):format(seed, tostring(message)), 0)
  end
  return reply
end

local question = world.question
local callers = {}

function callers.chat(client, o)
  check(client:chat(question, o))
end

function callers.hasty(client, o)
  check(client:chat(question, { target = o.target, deadline = 0.05 }))
end

function callers.assembled(client, o)
  check(client:chat(question, { target = o.target, deadline = o.deadline,
    upstream_stream = true }))
end

function callers.post(client, o)
  check(client:post("/chat/completions", json.encode(question), o))
end

function callers.reads(client, o)
  local stream = check(client:stream(question, o))
  if stream then check(stream:reply()) end
end

function callers.closes(client, o)
  local stream = check(client:stream(question, o))
  if not stream then return end
  stream:read()
  stream:close()
end

function callers.forgets(client, o)
  local stream = check(client:stream(question, o))
  if stream then stream:read() end
end

function callers.is_cancelled(client, o, loop)
  local task = loop.spawn(callers.reads, client, o)
  loop.sleep(math.random() * 0.01)
  scheduler.cancel(task)
  pcall(task.join, task)
end

local crowd = { chat = 70, hasty = 5, assembled = 5, post = 5, reads = 8, closes = 4, forgets = 1,
  is_cancelled = 2 }

-- One of `weights`, by chance.
local function draw(weights)
  local sum = 0
  for _, weight in pairs(weights) do sum = sum + weight end
  local at = math.random() * sum
  local names = {}
  for name in pairs(weights) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    at = at - weights[name]
    if at < 0 then return name end
  end
  return names[#names]
end

-- So many calls, some at once; `options()` gives the options of one.
local function serve_crowd(loop, client, calls, options)
  local left, open = calls, AT_ONCE
  for _ = 1, AT_ONCE do
    loop.spawn(function()
      while left > 0 do
        left = left - 1
        callers[draw(crowd)](client, options(), loop)
      end
      open = open - 1
    end)
  end
  while open > 0 do loop.sleep(0.01) end
end

local function soak(calls, run)
  math.randomseed(seed)
  local first
  for round = 1, ROUNDS do
    run(math.ceil(calls / ROUNDS))
    local now = look()
    if first then assert_flat(first, now, round) end
    first = first or now
  end
end

-- }========================================================================

-- {== A server of our own, in virtual time ================================

local answers = {
  good = function() return world.good("hello", 0.01) end,
  busy = function() return world.status(503, nil, nil, 0.01) end,
  limited = function() return world.status(429, { ["retry-after"] = "0.1" }, nil, 0.01) end,
  broken = function() return world.status(500, nil, "oops", 0.01) end,
  refused = function() return world.status(400, nil, '{"error":{"message":"no"}}', 0.01) end,
  lost = function() return { after = 0.01, fail = "network", message = "reset" } end,
  silent = function() return { after = 0.5, fail = "network", message = "gone" } end,
  garbage = function() return { after = 0.01, status = 200, body = "<html>" } end,
}

local streams = {
  good = function() return world.words({ "a", "b", "c" }, 0.01) end,
  cut = function()
    local answer = world.streamed { { 0.01, world.chunk { content = "a" } } }
    answer.fail, answer.message = "cut", "the connection was closed"
    return answer
  end,
  waits = function()
    return world.streamed { { 0.01, world.KEEP_ALIVE }, { 0.01, world.chunk { content = "a" } },
      { 0.01, world.chunk({}, "stop") }, { 0, world.DONE } }
  end,
}

local fate = { good = 86, busy = 3, limited = 2, broken = 2, refused = 2, lost = 2, silent = 1,
  garbage = 2 }
local stream_fate = { good = 80, cut = 10, waits = 10 }

local function answer_for(request)
  local name = draw(fate)
  if name == "good" and request.body:find('"stream":true', 1, true) then
    return streams[draw(stream_fate)]()
  end
  return answers[name]()
end

local function play(answer, x, loop)
  if answer.after then loop.sleep(answer.after) end
  if answer.status then x:head(answer.status, answer.headers or {}) end
  for _, step in ipairs(answer.steps or {}) do
    loop.sleep(step[1])
    x:data(step[2])
  end
  if answer.body then x:data(answer.body) end
  x:finish(answer.fail, answer.message)
end

-- }========================================================================

describe("a client", function()
  guard.watch(before_each, after_each)

  it("holds no more after a million calls in virtual time", function()
    local loop = virtual.new { serve = function(request, x, loop)
      play(answer_for(request), x, loop)
    end }
    local client = unbusy.new { loop = loop, limiter = { initial = 500 }, retry = { base = 0.1 },
      targets = { { name = "a", url = "http://a.test/v1", key = "k" },
        { name = "b", url = "http://b.test/v1", key = "k" } } }
    local none = {}
    soak(1e6 * SHARE, function(calls)
      loop.run(serve_crowd, loop, client, calls, function() return none end)
    end)
    assert.equal(0, client:status().active)
    client:close()
  end)

  it("holds no more after a hundred thousand calls of a server", function()
    local server = nginx.start()
    local targets, options, places = {}, {}, { ok = 80, busy = 4, stream = 8, cut = 4, lost = 3,
      hold = 1 }
    for name in pairs(places) do
      targets[#targets + 1] = { name = name, url = ("%s/%s/v1"):format(server.url, name) }
      options[name] = { target = name, deadline = name == "hold" and 0.05 or nil }
    end
    local client = unbusy.new { targets = targets, limiter = { initial = 500 },
      retry = { base = 0.001, cap = 0.002, attempts = 2 }, breaker = { open_for = 0.01 },
      queue = { max_wait = 0.05 } }
    soak(1e5 * SHARE, function(calls)
      tasks.enter(function(loop)
        serve_crowd(loop, client, calls, function() return options[draw(places)] end)
      end)
    end)
    assert.equal(0, client:status().active)
    client:close()
    server:stop()
  end)
end)
