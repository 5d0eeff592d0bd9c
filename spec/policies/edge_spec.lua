-- edge: routine questions are answered near by and soon, hard ones by the centre; and neither side
-- is left alone by the other.
local json = require "unbusy.json"
local outage = require "spec.support.outage"
local world = require "spec.support.world"

local good, status = world.good, world.status

local function user(content) return { role = "user", content = content } end

local function new(given)
  given = given or {}
  local o = { policy = "edge" }
  for name, value in pairs(given.options or {}) do o[name] = value end
  return world.new { script = given.script or { edge = { good "near" }, centre = { good "far" } },
    order = given.order or { "centre", "edge" }, random = given.random,
    targets = given.targets or { edge = { pool = "edge" }, centre = { pool = "centre" } },
    options = o }
end

local function asked(w)
  local out = {}
  for i, entry in ipairs(w.log) do out[i] = entry.host end
  return table.concat(out, " ")
end

local function no_faults(w)
  for _, p in ipairs(w.client:status().policy) do assert.same({}, p.faults, p.last_fault) end
  w:assert_clean()
end

-- Who answers a request (a text is a chat's only message).
local function who(request)
  local w = new()
  if type(request) == "string" then request = { messages = { user(request) } } end
  local method = request.messages and "chat" or "complete"
  if method == "complete" then
    local answer = { status = 200, body = json.encode {
      choices = { { index = 0, text = "x", finish_reason = "stop" } } } }
    w.script.edge, w.script.centre = { answer }, { answer }
  end
  local reply = assert(w.client[method](w.client, request))
  no_faults(w)
  return reply.target
end

local HARD = "explain why "

local picture = { { type = "text", text = "what is it?" },
  { type = "image_url", image_url = { url = "data:…" } } }

local function conversation(turns)
  local out = {}
  for _ = 1, turns do
    out[#out + 1] = user "hi"
    out[#out + 1] = { role = "assistant", content = "hello" }
  end
  out[#out + 1] = user "and now?"
  return out
end

describe("the policy edge", function()
  local routine = {
    ["a greeting"] = "hello", ["a question"] = "When do you open on Sunday?",
    ["one in Chinese"] = "你们几点开门?", ["with an accent"] = "Où êtes-vous?",
    ["300 characters"] = ("é"):rep(300), ["nothing"] = "",
    ["parts of text"] = { messages = { user { { type = "text", text = "hi" } } } },
    ["no content"] = { messages = { { role = "user", content = json.null } } },
    ["a short conversation"] = { messages = conversation(5) },
    ["few tokens"] = { messages = { user "hi" }, max_tokens = 300 },
    ["no tools"] = { messages = { user "hi" }, tools = json.array {} },
    ["a form that is none"] = { messages = { user "hi" }, response_format = { type = "text" } },
    ["a short prompt"] = { prompt = "once upon" },
  }
  for what, request in pairs(routine) do
    it("sends to the edge: " .. what, function() assert.equal("edge", who(request)) end)
  end

  local hard = {
    ["a word of the list"] = "Please EXPLAIN tides", ["one in Chinese"] = "为什么天是蓝的?",
    ["code"] = "```lua\nprint(1)\n```", ["301 characters"] = ("é"):rep(301),
    ["a huge text"] = ("x"):rep(1e6), ["Russian"] = "Когда вы открываетесь?",
    ["Japanese"] = "いつ開きますか", ["Korean"] = "언제 열어요", ["Arabic"] = "متى تفتح",
    ["Thai"] = "เปิดเมื่อไร", ["a picture"] = { messages = { user(picture) } },
    ["tools"] = { messages = { user "hi" }, tools = json.array { { type = "function" } } },
    ["functions"] = { messages = { user "hi" }, functions = json.array { { name = "f" } } },
    ["a tool's answer"] = { messages = { user "hi", { role = "tool", content = "7" } } },
    ["a long conversation"] = { messages = conversation(6) },
    ["a long context"] = {
      messages = { { role = "system", content = ("x"):rep(4000) }, user "hi" } },
    ["many tokens"] = { messages = { user "hi" }, max_tokens = 301 },
    ["many tokens, newly named"] = { messages = { user "hi" }, max_completion_tokens = 1000 },
    ["JSON"] = { messages = { user "hi" }, response_format = { type = "json_object" } },
    ["several answers"] = { messages = { user "hi" }, n = 2 },
    ["a list of prompts"] = { prompt = json.array { "a", "b" } },
    ["messages that are none"] = { messages = { "hi" } },
    ["a conversation without end"] = { messages = conversation(1e5) },
  }
  for what, request in pairs(hard) do
    it("sends to the centre: " .. what, function() assert.equal("centre", who(request)) end)
  end

  it("leaves what is no question to the built-in order", function()
    local answer = { status = 200, body = '{"data":[{"embedding":[]}],"output":[{}]}' }
    local w = new { script = { edge = { answer }, centre = { answer } } }
    w.client:embed { input = "hi" }
    w.client:responses { input = "hi" }
    w.client:post("/x", "text")
    assert(w.client:pass { path = "/x" }):body()
    assert.equal("centre centre centre centre", asked(w))
    no_faults(w)
  end)

  it("leaves the order to others where there are not both pools", function()
    local w = new { targets = { edge = { pool = "near" }, centre = { pool = "centre" } } }
    assert.equal("centre", w:chat().target)
    no_faults(w)
  end)

  it("sends a routine question to the centre where the edge is full", function()
    local w = new { script = { edge = { good("near", 5) }, centre = { good "far" } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    w.loop.run(function()
      w.loop.spawn(function() w:chat() end)
      w.loop.sleep(1)
      assert.equal("centre", w:chat().target)
    end)
    no_faults(w)
  end)

  it("sends it there where the edge fails, and back to neither twice in a row", function()
    local w = new { script = { edge = { status(500) }, centre = { status(500) } },
      options = { retry = { attempts = 4 } } }
    w:chat()
    assert.equal("edge centre edge centre", asked(w))
    no_faults(w)
  end)

  local function hard_one(w)
    return w.client:chat { messages = { user(HARD .. "it rains") } }
  end

  it("lets a hard question wait for a centre that is full", function()
    local w = new { script = { edge = { good "near" }, centre = { good("far", 3) } },
      options = { limiter = { kind = "fixed", initial = 1 } } }
    w.loop.run(function()
      w.loop.spawn(function() hard_one(w) end)
      w.loop.sleep(1)
      assert.equal("centre", hard_one(w).target)
      assert.near(6, w:now(), 1e-9)
    end)
    no_faults(w)
  end)

  it("asks the edge a hard question where the centre is down", function()
    local w = new { script = { edge = { good "near" }, centre = { status(500) } },
      options = { breaker = { min_calls = 1, open_for = 60 } } }
    assert.equal("near", hard_one(w).text)
    assert.equal("near", hard_one(w).text)
    assert.equal("centre edge edge", asked(w))
    no_faults(w)
  end)

  it("asks it where the centre wants to be left alone", function()
    local w = new { script = { edge = { good "near" },
      centre = { status(503, { ["retry-after"] = "50" }) } } }
    hard_one(w)
    assert.equal("near", hard_one(w).text)
    assert.equal("centre edge edge", asked(w))
    no_faults(w)
  end)

  it("takes several targets of a side in turn, by their weight and load", function()
    local answer = good("near", 1)
    local w = new { script = { e1 = { answer }, e2 = { answer }, c = { good "far" } },
      order = { "e1", "e2", "c" }, random = function() return 0 end,
      targets = { e1 = { pool = "edge", weight = 1 }, e2 = { pool = "edge", weight = 3 },
        c = { pool = "centre" } } }
    w.loop.run(function()
      for _ = 1, 4 do
        w.loop.spawn(function() w:chat() end)
        w.loop.sleep(0.01)
      end
    end)
    local count = {}
    for _, entry in ipairs(w.log) do count[entry.host] = (count[entry.host] or 0) + 1 end
    assert.same({ e1 = 1, e2 = 3 }, count)
    no_faults(w)
  end)

  it("goes with escalation: a weak answer is asked for at the centre", function()
    local w = new { script = { edge = { good "" }, centre = { good "far" } },
      options = { escalate = true } }
    local reply = w:chat()
    assert.same({ "far", "short" }, { reply.text, reply.escalated.reason })
    no_faults(w)
  end)

  -- Four of five questions are routine; the edge takes 0.1 s, the centre 1.2 s.
  local function mixed(seed, policy)
    return outage.run { seed = seed, policy = policy,
      servers = {
        { name = "far", target = { pool = "centre", price = { input = 1, output = 4 } },
          phases = { { capacity = 60, latency = 1.2 } } },
        { name = "near", target = { pool = "edge", price = { input = 0, output = 0 } },
          phases = { { capacity = 8, latency = 0.1 } } },
      },
      calls = { { name = "routine", rate = 16, to = 120, deadline = 30 },
        { name = "hard", rate = 4, to = 120, deadline = 30, words = HARD } },
    }
  end

  local function mean_of(seen)
    local sum, n = 0, 0
    for _, kind in pairs(seen.by_name) do
      sum, n = sum + kind.mean * kind.answered, n + kind.answered
    end
    return sum / n
  end

  for seed = 1, 3 do
    it("answers sooner, and for less, seed " .. seed, function()
      local default, mine = mixed(seed, "default"), mixed(seed, "edge")
      assert.is_true(mean_of(default) > 1.15, mean_of(default))
      assert.is_true(mean_of(mine) < 0.38, mean_of(mine))
      assert.is_true(mine.cost < 0.25 * default.cost)
      assert.equal(1, mine.by_name.routine.share)
      assert.equal(1, mine.by_name.hard.share)
      assert.is_true(mine.by_name.hard.mean > 1.19)
    end)
  end

  it("does what its page says", function()
    local rows = {}
    for i, name in ipairs { "default", "edge" } do
      local seen = mixed(1, name)
      local calls = seen.by_name.routine.calls + seen.by_name.hard.calls
      rows[i] = { name, ("%.2f s"):format(mean_of(seen)),
        ("%.2f s"):format(seen.by_name.routine.mean), ("%.2f s"):format(seen.by_name.hard.mean),
        ("%.2f"):format(seen.cost * 1000 / calls) }
    end
    assert.same(rows, outage.page "edge")
  end)
end)
