-- With the policy `default` a client does what it does without one: the same requests at the same
-- times to the same targets, and the same ends, whatever its servers do.
local random = require "spec.support.random"
local world = require "spec.support.world"

local status, good = world.status, world.good

local nothing = { fail = "network", message = "connection refused", phase = "connect" }

-- What servers do, by chance.
local function answer_of(r)
  local wait = r:pick { "0", "0.05", "0.5", "3", "40", "500" }
  return r:pick { good(), good(), status(503), status(503, { ["retry-after"] = wait }),
    status(429, { ["retry-after"] = wait }), status(429), status(500), status(402), status(401),
    status(400), status(200), nothing, status(503, { ["x-should-retry"] = "false" }),
    status(500, nil, "", 4), good("late", 9) }
end

local function script_of(r, targets)
  local script = {}
  for i = 1, targets do
    local list = {}
    for n = 1, 12 do list[n] = answer_of(r) end
    script[("t%d"):format(i)] = list
  end
  return script
end

-- What the client sent, when; and how its calls ended.
local function history(given, policy, jobs)
  given.options.policy = policy
  local w, lines = world.new(given), {}
  w.loop.run(function()
    for i, job in ipairs(jobs) do
      w.loop.spawn(function()
        w.loop.sleep(job.at)
        local reply, message, code = w:chat { deadline = job.deadline }
        lines[#lines + 1] = ("call %d: %s at %.6f"):format(i,
          reply and reply.text or code .. " " .. message, w:now())
      end)
    end
  end)
  for _, sent in ipairs(w.log) do lines[#lines + 1] = ("%.6f %s"):format(sent.at, sent.host) end
  w:assert_clean()
  return lines
end

-- The policy's reasons are told in other words.
local function ends(lines)
  local out = {}
  for i, line in ipairs(lines) do
    out[i] = line:gsub(" %(the policy wants no more tries%)", ""):gsub(" %(after %d tries%)", "")
  end
  return out
end

describe("the policy default", function()
  it("decides as the client does without it: 300 outages by chance", function()
    local tries = 0
    for seed = 1, 300 do
      local r = random.new(seed)
      local targets, jobs = r:int(3), {}
      local given = { script = script_of(r, targets), targets = {},
        random = function() return 0 end, options = { retry = { jitter = 0 }, seed = seed } }
      if r:int(3) == 1 then given.targets.t1 = { keys = { "one", "two" } } end
      if r:int(3) == 1 and targets > 1 then
        given.targets.t2 = { account = "same", weight = r:int(4) - 1 }
      end
      for i = 1, r:int(4) do
        jobs[i] = { at = r:int(30) / 10, deadline = 2 * r:int(30) }
      end
      local without = history(given, nil, jobs)
      assert.same(ends(without), ends(history(given, "default", jobs)), "seed " .. seed)
      tries = tries + #without - #jobs
    end
    assert.is_true(tries > 900, tries) -- else there was little to decide
  end)

  -- The seconds between the tries of a call that fails for good.
  local function waits(chance)
    local w = world.new { script = { a = { status(503) } }, random = function() return chance end,
      options = { policy = "default", breaker = false, limiter = false, budget = false } }
    local _, _, code = w:chat { deadline = 200 }
    assert.equal("busy", code)
    local out = {}
    for i, retry in ipairs(w:seen "retry") do out[i] = retry.seconds end
    return out
  end

  it("has the numbers of its text: 5 tries, 1 s and twice as long each time, a tenth by chance",
    function()
      assert.same({ 1, 2, 4, 8 }, waits(0))
      local most = waits(0.999999)
      for i, seconds in ipairs { 1.1, 2.2, 4.4, 8.8 } do assert.near(seconds, most[i], 1e-4) end
    end)
end)
