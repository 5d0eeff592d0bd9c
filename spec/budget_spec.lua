local budget = require "unbusy.budget"

local function begin(b, calls)
  for _ = 1, calls do b:begin() end
  return b
end

local function tokens(b) return b:stats().tokens end

-- Takes until it is refused; gives the permits.
local function drain(b, kind)
  local out = {}
  for _ = 1, 5000 do
    local permit = b:take(kind or "retry")
    if not permit then return out end
    out[#out + 1] = permit
  end
  error "never refused"
end

-- A budget whose tokens never matter.
local function permits_only(o)
  o.tokens, o.retry_cost, o.throttle_cost = 0, 0, 0
  return budget.new(o)
end

describe("budget", function()
  it("starts with a full quota and nothing under way", function()
    assert.same({ active = 0, permits = 0, tokens = 500, refused = 0 }, budget.new():stats())
    assert.same(70, tokens(budget.new { tokens = 70 }))
  end)

  describe("permits", function()
    it("are three however few calls there are", function()
      assert.equal(3, #drain(permits_only {}))
      assert.equal(3, #drain(begin(permits_only {}, 1)))
      assert.equal(3, #drain(begin(permits_only {}, 15)))
    end)

    it("are a fifth of the calls under way when that is more", function()
      assert.equal(3, #drain(begin(permits_only {}, 19)))
      assert.equal(4, #drain(begin(permits_only {}, 20)))
      assert.equal(20, #drain(begin(permits_only {}, 100)))
    end)

    it("count whole ones, and a hair of rounding does not cost one", function()
      assert.equal(29, #drain(begin(permits_only { ratio = 0.29 }, 100)))
      assert.equal(2, #drain(permits_only { floor = 2.9 }))
      assert.equal(0, #drain(permits_only { floor = 0.5 }))
      assert.equal(0, #drain(begin(permits_only { floor = 0, ratio = 0 }, 100)))
    end)

    it("are shared by retries and hedges", function()
      local b = permits_only {}
      assert.is_truthy(b:take "retry")
      assert.is_truthy(b:take "throttle")
      assert.is_truthy(b:take "hedge")
      for _, kind in ipairs { "retry", "throttle", "hedge" } do
        local permit, message, code, detail = b:take(kind)
        assert.is_nil(permit)
        assert.equal("budget: the retry budget is spent", message)
        assert.equal("budget", code)
        assert.is_nil(detail)
      end
      assert.same({ active = 0, permits = 3, tokens = 0, refused = 3 }, b:stats())
    end)

    it("are out until they are given, whatever became of the try", function()
      for _, outcome in ipairs { "ok", "fail" } do
        local b = permits_only {}
        local out = drain(b)
        assert.is_true(b:give(out[2], outcome))
        assert.equal(2, b:stats().permits)
        assert.is_truthy(b:take "hedge")
        assert.is_nil((b:take "hedge"))
      end
    end)

    it("out stay out when the calls they were counted from have ended", function()
      local b = begin(permits_only {}, 50)
      local out = drain(b)
      assert.equal(10, #out)
      for _ = 1, 50 do b:finish "fail" end
      for i = 1, 7 do assert.is_true(b:give(out[i], "fail")) end
      assert.is_nil((b:take "retry"))
      b:give(out[8], "fail")
      assert.is_truthy(b:take "retry")
    end)

    it("are 1024 at most, and the next take is refused and costs nothing", function()
      local b = begin(budget.new { ratio = 100, retry_cost = 0.25, tokens = 500 }, 100)
      local out = drain(b)
      assert.equal(1024, #out)
      assert.equal(244, tokens(b))
      assert.is_true(b:give(out[500], "ok"))
      assert.is_truthy(b:take "retry")
      assert.is_nil((b:take "retry"))
      assert.equal(244, tokens(b))
    end)
  end)

  describe("tokens", function()
    it("pay for a retry with 14, for a throttled one with 5, for a hedge with 14", function()
      local b = budget.new {}
      b:take "retry"
      assert.equal(486, tokens(b))
      b:take "throttle"
      assert.equal(481, tokens(b))
      b:take "hedge"
      assert.equal(467, tokens(b))
    end)

    it("come back for a success, as many as were paid", function()
      local b = budget.new {}
      for kind, cost in pairs { retry = 14, throttle = 5, hedge = 14 } do
        local permit = b:take(kind)
        assert.equal(500 - cost, tokens(b))
        b:give(permit, "ok")
        assert.equal(500, tokens(b))
      end
    end)

    it("are lost for a failure: 35 retries empty the quota", function()
      local b = budget.new {}
      for i = 1, 35 do
        local permit = b:take "retry"
        assert.is_truthy(permit, i)
        b:give(permit, "fail")
      end
      assert.equal(10, tokens(b))
      assert.same({ nil, "budget: the retry budget is spent", "budget" }, { b:take "retry" })
      assert.equal(10, tokens(b))
      assert.is_truthy(b:take "throttle") -- 5 is still there
      assert.is_truthy(b:take "throttle")
      assert.is_nil((b:take "throttle"))
      assert.equal(0, tokens(b))
    end)

    it("are enough when they just cover the cost", function()
      assert.is_truthy(budget.new { tokens = 14 }:take "retry")
      assert.is_nil((budget.new { tokens = 13.99 }:take "retry"))
      assert.is_truthy(budget.new { tokens = 0, retry_cost = 0 }:take "retry")
    end)

    it("are earned by clean first tries, one each, up to the quota", function()
      local b = budget.new {}
      b:give(b:take "retry", "fail")
      for i = 1, 20 do
        b:begin()
        assert.is_true(b:finish "ok")
        assert.equal(math.min(500, 486 + i), tokens(b))
      end
    end)

    it("are not earned by calls that failed or took a retry", function()
      local b = budget.new {}
      b:give(b:take "retry", "fail")
      b:begin()
      assert.is_true(b:finish "fail")
      assert.equal(486, tokens(b))
    end)

    it("never exceed the quota, also when a refund comes after they were earned again", function()
      local b = budget.new { tokens = 20 }
      local permit = b:take "retry"
      for _ = 1, 12 do
        b:begin()
        b:finish "ok"
      end
      assert.equal(18, tokens(b))
      b:give(permit, "ok")
      assert.equal(20, tokens(b))
    end)

    it("bear one lost retry per 14 clean calls for ever, and no more", function()
      local b, retries = budget.new {}, 0
      for call = 1, 14000 do
        b:begin()
        if call % 2 == 0 then -- every second call fails, and its retry too
          local permit = b:take "retry"
          if permit then
            retries = retries + 1
            b:give(permit, "fail")
          end
          b:finish "fail"
        else
          b:finish "ok"
        end
      end
      assert.equal(535, retries) -- (500 + 7000) / 14, rounded down
    end)
  end)

  it("ignores what comes twice, late or from nowhere", function()
    local b = begin(budget.new {}, 2)
    local permit = b:take "retry"
    assert.is_true(b:give(permit, "fail"))
    local before = b:stats()
    assert.is_false(b:give(permit, "ok"))
    local again = b:take "retry" -- the same slot, another permit
    assert.not_equal(permit, again)
    assert.is_false(b:give(permit, "ok"))
    assert.is_true(b:give(again, "ok"))
    for _, wrong in ipairs { 0, -1, 0.5, 1, 65536, 2 ^ 53, 2 ^ 60, math.huge, -math.huge, 0 / 0 } do
      assert.is_false(b:give(wrong, "ok"))
    end
    assert.is_false(b:give(budget.new {}:take "retry", "ok"))
    assert.same(before, b:stats())
  end)

  it("ignores the end of a call that never began", function()
    local b = budget.new {}
    b:give(b:take "retry", "fail")
    assert.is_false(b:finish "ok")
    assert.is_false(b:finish "fail")
    assert.same({ active = 0, permits = 0, tokens = 486, refused = 0 }, b:stats())
    b:begin()
    assert.is_true(b:finish "ok")
    assert.is_false(b:finish "ok")
    assert.equal(487, tokens(b))
  end)

  it("agrees with a naive model over 20,000 random steps", function()
    local state = 20260805
    local function random(n)
      state = state * 16807 % 2147483647
      return state % n + 1
    end
    local b = budget.new { ratio = 0.3, floor = 2, tokens = 60, retry_cost = 7,
      throttle_cost = 2.5 }
    local m = { active = 0, tokens = 60, refused = 0, out = {}, permits = 0 }
    local ever, costs = {}, { retry = 7, throttle = 2.5, hedge = 7 }
    local steps = {
      function()
        b:begin()
        m.active = m.active + 1
      end,
      function()
        local word = ({ "ok", "fail" })[random(2)]
        assert.equal(m.active > 0, b:finish(word))
        if m.active > 0 and word == "ok" then m.tokens = math.min(60, m.tokens + 1) end
        m.active = math.max(0, m.active - 1)
      end,
      function()
        local kind = ({ "retry", "throttle", "hedge" })[random(3)]
        local may = m.tokens >= costs[kind]
          and m.permits + 1 <= math.floor(math.max(0.3 * m.active, 2) + 1e-9)
        local permit = b:take(kind)
        assert.equal(may, permit ~= nil)
        if not may then
          m.refused = m.refused + 1
          return
        end
        assert.is_nil(m.out[permit])
        m.out[permit], m.permits, m.tokens = kind, m.permits + 1, m.tokens - costs[kind]
        ever[#ever + 1] = permit
      end,
      function()
        local permit = ever[math.max(1, #ever + 1 - random(6))] or 1
        local word = ({ "ok", "fail" })[random(2)]
        local kind = m.out[permit]
        assert.equal(kind ~= nil, b:give(permit, word))
        if not kind then return end
        m.out[permit], m.permits = nil, m.permits - 1
        if word == "ok" then m.tokens = math.min(60, m.tokens + costs[kind]) end
      end,
    }
    for _ = 1, 20000 do
      steps[({ 1, 1, 2, 2, 3, 3, 4, 4 })[random(8)]]()
      local got = b:stats()
      if got.active ~= m.active or got.permits ~= m.permits or got.tokens ~= m.tokens
        or got.refused ~= m.refused or got.tokens < 0 then
        assert.same({ active = m.active, permits = m.permits, tokens = m.tokens,
          refused = m.refused }, got)
      end
    end
    assert.is_true(m.refused > 100 and #ever > 1000, #ever)
  end)

  it("raises on wrong use, at the caller's line", function()
    local function message(...)
      local ok, text = pcall(budget.new, ...)
      assert.is_false(ok)
      return text
    end
    assert.matches("budget: a table of options expected, got 5", message(5))
    assert.matches("unknown option 'token', did you mean 'tokens'%?", message { token = 1 })
    assert.matches("unknown option 'clock'", message { clock = os.time })
    for _, name in ipairs { "ratio", "floor", "tokens", "retry_cost", "throttle_cost" } do
      local field = budget.schema[name]
      assert.matches(name .. ": number expected, got a string", message { [name] = "1" })
      assert.matches(name .. ": number expected", message { [name] = 0 / 0 })
      assert.matches(name .. ": a number at least 0 expected", message { [name] = -1 })
      assert.matches(name .. ": a number at least 0 expected", message { [name] = -math.huge })
      assert.matches(name .. ": a number at most " .. ("%d"):format(field.max),
        (message { [name] = math.huge }:gsub("1e%+09", "1000000000")))
    end
    assert.matches("budget: region: an open region expected", message { region = {}, name = "b" })
    assert.matches("budget: name: belongs to a region", message { name = "b" })
    local ok, text = pcall(function() budget.new { tokns = 1 } end)
    assert.is_false(ok)
    assert.matches("budget_spec%.lua:%d+: budget: unknown option", text)
    local b = budget.new {}
    assert.has_error(function() b:take "retries" end)
    assert.has_error(function() b:take() end)
    assert.has_error(function() b:give("x", "ok") end)
    assert.has_error(function() b:give(nil, "ok") end)
    assert.has_error(function() b:give(1) end)
    assert.has_error(function() b:give(1, "neutral") end)
    assert.has_error(function() b:finish() end)
    assert.has_error(function() b:finish "good" end)
    assert.has_error(function() b.take({}, "retry") end)
    assert.same({ active = 0, permits = 0, tokens = 500, refused = 0 }, b:stats())
  end)
end)
