-- The waiting line by chance: whatever comes, leaves, fails and is called off, each call ends once,
-- and nothing is left in line, in the crowds that are counted, or at the gates.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local random = require "spec.support.random"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local CALLS = 150

local CODES = { busy = true, limited = true, upstream = true, timeout = true, full = true,
  open = true, cancelled = true, closed = true, network = true }

local function script_of(r, trouble)
  return function()
    local after = r:float() * 0.5
    if not r:chance(trouble) then return world.good("x", after) end
    return r:pick {
      world.status(503, nil, "", after), world.status(429, { ["retry-after"] = "1" }, "", after),
      world.status(500, nil, "", after), { fail = "network", message = "gone", after = after },
      world.status(429, { ["x-ratelimit-limit-requests"] = "60",
        ["x-ratelimit-remaining-requests"] = "0", ["x-ratelimit-reset-requests"] = "5s" }, "{}"),
    }
  end
end

local function new_world(r)
  local trouble = r:pick { 0, 0.05, 0.4, 1 }
  return world.new { script = { a = script_of(r, trouble), b = script_of(r, 0.1) },
    targets = { a = { account = "one", limits = r:chance(0.3)
      and { requests_per_minute = 600, tokens_per_minute = 20000 } or nil } },
    options = { limiter = r:pick { { kind = "fixed", initial = 3 }, { initial = 5 },
      { kind = "gradient", initial = 4 } }, queue = { size = r:pick { 0, 5, 40, 1000 },
      max_wait = r:pick { 0, 1, 10 } }, seed = 1, retry = r:pick { false, { attempts = 3, base =
      0.1 } }, breaker = { min_calls = 10, open_for = 2 }, upstream_stream = r:chance(0.3) } }
end

local function options_of(r)
  local stop = r:chance(0.1) and unbusy.canceller() or nil
  return { priority = r:pick { "interactive", "normal", "batch" }, cancel = stop,
    deadline = r:chance(0.5) and r:pick { 0.01, 0.5, 3, 20 } or nil,
    target = r:chance(0.3) and r:pick { "a", "b" } or nil }, stop
end

local function ask(w, r, ends, i)
  local options, stop = options_of(r)
  local model = r:pick { "m", "n" }
  if stop then
    w.loop.spawn(function()
      w.loop.sleep(r:float() * 2)
      stop:cancel()
    end)
  end
  local reply, _, code, detail =
    w.client:chat({ model = model, messages = world.question.messages }, options)
  ends[i] = (ends[i] or 0) + 1
  if reply then return end
  assert(CODES[code], code)
  local wait = detail.retry_after
  assert(not wait or wait >= 0 and wait < 1e6, tostring(wait))
end

local function round(seed)
  local r, ends = random.new(seed), {}
  local w = new_world(r)
  w.loop.run(function()
    for i = 1, CALLS do
      w.loop.spawn(function()
        w.loop.sleep(r:float() * 10)
        if r:chance(0.9) then return ask(w, r, ends, i) end
        local task = w.loop.spawn(ask, w, r, ends, i)
        w.loop.sleep(r:float())
        w.loop.cancel(task) -- its caller is gone, wherever it stood
        ends[i] = ends[i] or 1
      end)
    end
    if r:chance(0.2) then
      w.loop.sleep(5)
      w.client:close()
    end
  end)
  for i = 1, CALLS do assert(ends[i] == 1, i .. ": " .. tostring(ends[i])) end
  w:assert_clean()
  local queue = w.client.queue
  assert(queue.wanted == 0 and queue.count == 0 and next(queue.future.crowds) == nil)
  for _, by_scope in pairs(queue.gates) do
    for _, gate in pairs(by_scope) do
      assert(gate.wanted == 0)
      for p = 1, 3 do assert(gate.wanted_by[p] == 0) end
    end
  end
  assert.is_string(json.encode(w.client:status().queue))
end

describe("the waiting line, by chance,", function()
  guard.watch(before_each, after_each)

  it("loses nobody and keeps nothing", function()
    for seed = random.seed(1), random.seed(1) + 39 do
      local ok, message = pcall(round, seed)
      if not ok then error(("seed %d: %s"):format(seed, tostring(message)), 0) end
    end
  end)
end)
