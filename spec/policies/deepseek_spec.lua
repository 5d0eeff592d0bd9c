-- deepseek: it knows more of DeepSeek's signs than the built-in rules, asks a full account less
-- often, and lets those pass in the busy hours who wait for an answer.
local json = require "unbusy.json"
local outage = require "spec.support.outage"
local world = require "spec.support.world"

local HOUR = 3600
local MONDAY = 1767542400 -- 5 January 2026, midnight in Beijing
local PEAK, QUIET = MONDAY + 10 * HOUR, MONDAY + 21 * HOUR

local STOCK = "服务器繁忙，请稍后再试。"

-- What a relay answers in place of DeepSeek: 200, the sentence, and no token.
local function stock_answer(text, usage)
  return { status = 200, body = json.encode { object = "chat.completion", model = "m",
    choices = { { index = 0, finish_reason = "stop",
      message = { role = "assistant", content = text } } }, usage = usage } }
end

local function new(answers, options)
  local o = { policy = "deepseek", breaker = false, budget = false, limiter = false }
  for name, value in pairs(options or {}) do o[name] = value end
  return world.new { script = { a = answers }, options = o, random = function() return 0 end,
    wall = PEAK }
end

local function code_of(answer)
  local _, _, code = new({ answer }, { retry = false }):chat()
  return code
end

describe("the policy deepseek", function()
  it("takes a relay's stock sentence for what it is, where default passes it on", function()
    local answers = { stock_answer(STOCK), stock_answer(STOCK, { completion_tokens = 0 }),
      world.good "晴" }
    assert.equal(STOCK, new(answers, { policy = "default" }):chat().text)
    local reply = new(answers):chat()
    assert.equal("晴", reply.text)
    assert.equal(3, reply.tries)
  end)

  it("lets what is asked ahead of time wait for the quiet hours, where it is told to", function()
    local w = new({ world.good "晴" }, { cache = true })
    w.loop.run(function()
      local result = w.client:warm({ "天气如何" }, { off_peak = true, patience = 10 })
      assert.same({ "full", "not asked: these are busy hours" },
        { result.failures[1].code, result.failures[1].message })
      assert.equal(1, w.client:warm({ "天气如何" }).asked)
      w.loop.sleep(2.5 * HOUR) -- half past twelve
      assert.equal(1, w.client:warm({ "later" }, { off_peak = true }).asked)
    end)
  end)

  it("leaves an answer alone that a model has given, whatever it says", function()
    for _, answer in ipairs { stock_answer(STOCK, { completion_tokens = 9 }),
      stock_answer("'Server busy' is 服务器繁忙", nil) } do
      assert.equal("upstream", new({ answer }):chat().source)
    end
  end)

  it("sees busy and quota wherever a relay puts them", function()
    local page = ("<html>%s服务器繁忙"):format((" "):rep(600))
    local list = { { world.status(502, nil, page), "busy", "upstream" },
      { world.status(400, nil, '{"detail":[{"msg":"服务器繁忙"}]}'), "busy", "busy" },
      { world.status(400, nil, '{"error":{"message":"Insufficient Balance"}}'), "quota",
        "invalid" },
      { world.status(402, nil, ""), "quota", "quota" }, { world.status(503), "busy", "busy" },
      { world.status(500), "upstream", "upstream" } }
    for i, one in ipairs(list) do
      assert.equal(one[2], code_of(one[1]), i)
      local _, _, code = new({ one[1] }, { policy = "default", retry = false }):chat()
      assert.equal(one[3], code, i)
    end
  end)

  local function waits(answer, wall, priority)
    local w = world.new { script = { a = { answer } }, random = function() return 0 end,
      wall = wall, options = { policy = "deepseek", breaker = false, budget = false,
        limiter = false, clocks = { total = 3600 } } }
    w:chat { priority = priority }
    local out = {}
    for i, retry in ipairs(w:seen "retry") do out[i] = retry.seconds end
    return out
  end

  it("waits longer for a full account than for a busy server, and longest in the busy hours with "
    .. "what nobody waits for", function()
    assert.same({ 2, 4, 8, 16, 32 }, waits(world.status(503), PEAK))
    assert.same({ 5, 10, 20, 40, 60 }, waits(world.status(429), PEAK))
    assert.same({ 1, 2, 4, 8, 16 }, waits(world.status(500), PEAK))
    assert.same({ 20, 40, 60, 60, 60 }, waits(world.status(429), PEAK, "batch"))
    assert.same({ 5, 10, 20, 40, 60 }, waits(world.status(429), QUIET, "batch"))
    assert.same({ 5, 10, 20, 40, 60 }, waits(world.status(429), PEAK, "interactive"))
  end)

  it("knows the busy hours of Beijing", function()
    local function is_peak(day, hour)
      return waits(world.status(500), MONDAY + day * 24 * HOUR + hour * HOUR, "batch")[1] == 4
    end
    for day = 0, 6 do
      for hour = 0, 23 do
        local busy = hour >= 9 and hour < 12 or hour >= 14 and hour < 18
        local what = ("day %d, %d h"):format(day, hour)
        assert.equal(busy and day < 5, is_peak(day, hour + 0.25), what)
      end
    end
    assert.is_true(is_peak(0, 9))
    assert.is_false(is_peak(0, 12))
  end)

  -- An account of 20 places that many programs share, each of which sees too little of it to know
  -- its limit: so without limiter, breaker and budget.
  local function full_account(seed, policy, wall)
    return outage.run { seed = seed, policy = policy, wall = wall,
      servers = { { name = "main", phases = {
        { capacity = 20, latency = 8, when_full = { status = 429 } } } } },
      calls = { { name = "person", rate = 1, to = 300, deadline = 60, priority = "interactive" },
        { name = "job", rate = 3, to = 300, deadline = 600, priority = "batch" } },
      options = { clocks = { total = 3600 }, limiter = false, budget = false, breaker = false },
    }
  end

  for seed = 1, 3 do
    it("asks a full account less often, and answers more, seed " .. seed, function()
      local default = full_account(seed, "default", PEAK)
      local peak = full_account(seed, "deepseek", PEAK)
      local quiet = full_account(seed, "deepseek", QUIET)
      assert.is_true(peak.refused < 0.8 * default.refused, peak.refused / default.refused)
      assert.is_true(peak.by_name.job.share > 0.9, peak.by_name.job.share)
      assert.is_true(default.by_name.job.share < 0.75, default.by_name.job.share)
      assert.is_true(peak.by_name.person.share > default.by_name.person.share)
      assert.is_true(peak.by_name.person.share > quiet.by_name.person.share) -- the jobs step back
    end)
  end

  it("waits, switches and hedges by who waits and what the clock says", function()
    local policy = assert(require("unbusy.policy").load "deepseek")
    local function call(wall) return { loop = { wall = function() return wall end } } end
    local function says(name, try, wall)
      return (select(2, policy:decide(call(wall or PEAK), name, try)))
    end
    local function queued(priority, seconds, untried)
      return says("queued", { priority = priority, seconds = seconds, untried = untried })
    end
    assert.equal("wait", queued("interactive", 7, true))
    assert.equal("hedge", queued("interactive", 8, true))
    assert.equal("switch", queued("interactive", 12, true))
    assert.equal("wait", queued("interactive", 60, false))
    assert.equal("wait", queued("normal", 19, true))
    assert.equal("switch", queued("normal", 20, true))
    assert.equal("wait", queued("batch", 590, true))
    assert.equal(15, says("hedge", { priority = "normal", stream = true }))
    assert.equal(5, says("hedge", { priority = "normal", stream = true }, QUIET))
    assert.equal(5, says("hedge", { priority = "normal", p95 = 2 }, QUIET))
    assert.equal(9, says("hedge", { priority = "interactive", p95 = 9 }, QUIET))
    assert.is_nil(says("hedge", { priority = "normal" })) -- a whole answer, of unknown length
    assert.is_nil(says("hedge", { priority = "batch", stream = true, p95 = 2 }))
  end)

  -- Its first target has a tenth of its places for a minute, and a queue with keep-alives.
  local function long_queue(policy, priority)
    return outage.run { seed = 1, policy = policy, wall = PEAK,
      servers = {
        { name = "main", target = { priority = 1 }, phases = {
          { capacity = 50, latency = 0.6, writing = 2, queue = 500, queue_sign = "keepalive" },
          { at = 60, capacity = 5 }, { at = 180, capacity = 50 } } },
        { name = "backup", target = { priority = 2 }, phases = {
          { capacity = 50, latency = 0.8, writing = 2 } } },
      },
      calls = { { rate = 5, to = 240, deadline = 200, stream = true, priority = priority } },
      options = { clocks = { start = 150 } },
    }
  end

  it("leaves a long queue, or asks beside it, as its page says; a job waits", function()
    local rows = {}
    for i, one in ipairs { { "default", "normal" }, { "deepseek", "normal" },
      { "deepseek", "interactive" }, { "deepseek", "batch" } } do
      local seen = long_queue(one[1], one[2])
      rows[i] = { ("%s, `%s`"):format(one[1], one[2]), ("%.1f s"):format(seen.mean),
        ("%.1f s"):format(seen.p99), ("%.1f %%"):format(100 * (seen.received / seen.calls - 1)) }
      assert.equal(1, seen.share)
      local hedge = seen.status.hedge
      assert.is_true(hedge.begun <= 0.05 * seen.calls)
      if i == 1 or i == 4 then assert.same({ 0, 0 }, { hedge.begun, hedge.switched }) end
    end
    assert.same(rows, outage.page("deepseek", "queue"))
  end)

  it("does what its page says", function()
    local rows = {}
    local list = { { "default", "default", PEAK }, { "deepseek, busy hours", "deepseek", PEAK },
      { "deepseek, quiet hours", "deepseek", QUIET } }
    for i, one in ipairs(list) do
      local seen = full_account(1, one[2], one[3])
      rows[i] = { one[1], ("%.0f %%"):format(seen.by_name.person.share * 100),
        ("%.0f %%"):format(seen.by_name.job.share * 100), tostring(seen.refused) }
    end
    assert.same(rows, outage.page "deepseek")
  end)
end)
