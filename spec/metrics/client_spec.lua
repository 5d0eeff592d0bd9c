-- What a client counts, in virtual time.
local batching = require "spec.support.batching"
local canceller = require "unbusy.canceller"
local coalesced = require "spec.support.coalesced"
local guard = require "spec.support.leak_guard"
local scraped = require "spec.support.scraped"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good, status, words = world.good, world.status, world.words

local function new(script, options, targets)
  local o = { metrics = true, retry = { attempts = 3, base = 1, jitter = 0 } }
  for name, value in pairs(options or {}) do o[name] = value end
  return world.new { script = script, options = o, targets = targets }
end

local function read(w)
  scraped.read(assert(w.client:metrics "openmetrics"), true)
  return scraped.read(assert(w.client:metrics()))
end

local function drain(stream)
  repeat
    local piece, _, code = stream:read()
    if code then return code end
  until not piece
end

describe("a client's metrics", function()
  after_each(world.end_all)
  guard.watch(before_each, after_each)

  it("count calls by their kind and where the answer came from", function()
    local w = new({ a = { good() } }, { cache = true })
    w:chat()
    w:chat()
    w:chat { cache = false }
    w.client:chat({ model = "x", messages = world.question.messages }, { cache = false })
    assert.is_nil(drain(w:stream()))
    local s = read(w)
    assert.equal(3, s:value 'unbusy_calls_total{code="",kind="chat",source="upstream"}')
    assert.equal(1, s:value 'unbusy_calls_total{code="",kind="chat",source="cache"}')
    assert.equal(1, s:value 'unbusy_calls_total{code="",kind="stream",source="cache"}')
    assert.equal(5, s:sum "unbusy_calls_total")
    assert.equal(5, s:sum "unbusy_call_duration_seconds_count")
    assert.equal(0, s:value "unbusy_calls_active")
    assert.equal(3, s:value 'unbusy_tries_total{account="a",code="",status="200",target="a"}')
    assert.equal(3, s:value 'unbusy_try_duration_seconds_bucket{le="0.25",target="a"}')
    assert.equal(0, s:value 'unbusy_try_duration_seconds_bucket{le="0.05",target="a"}')
    assert.near(0.3, s:value 'unbusy_try_duration_seconds_sum{target="a"}', 1e-9)
    assert.equal(2, s:value 'unbusy_cache_requests_total{level="near",result="hit"}')
    w:assert_clean()
  end)

  it("count tries by what came of them, and those that were made again", function()
    local w = new({ a = { status(503), status(429), { fail = "network", message = "x" },
      good(), status(400) } })
    assert.is_nil(w:chat())
    assert.is_truthy(w:chat())
    assert.equal("invalid", select(3, w:chat()))
    local s = read(w)
    local function tries(code, http)
      return s:value(('unbusy_tries_total{account="a",code="%s",status="%s",target="a"}')
        :format(code, http))
    end
    assert.same({ 1, 1, 1, 1, 1 }, { tries("busy", "503"), tries("limited", "429"),
      tries("network", "none"), tries("", "200"), tries("invalid", "400") })
    assert.equal(2, s:value 'unbusy_retries_total{target="a"}')
    assert.equal(1, s:value 'unbusy_calls_total{code="network",kind="chat",source="none"}')
    assert.equal(1, s:value 'unbusy_calls_total{code="invalid",kind="chat",source="none"}')
    assert.equal(2, s:value 'unbusy_call_duration_seconds_count{source="none"}')
    assert.equal(0, s:value 'unbusy_target_in_flight{target="a"}')
    assert.equal(#w.log, s:sum "unbusy_tries_total")
  end)

  it("follow a stream to its end", function()
    local w = new { a = { words({ "one", "two", "three" }, 1) } }
    local seen = {}
    w.loop.run(function()
      local stream = w:stream()
      seen.active = read(w):value "unbusy_calls_active"
      seen.flying = read(w):value 'unbusy_target_in_flight{target="a"}'
      drain(stream)
    end)
    local s = read(w)
    assert.same({ active = 1, flying = 1 }, seen)
    assert.equal(1, s:value 'unbusy_calls_total{code="",kind="stream",source="upstream"}')
    assert.near(1.1, s:value 'unbusy_first_token_seconds_sum{target="a"}', 1e-9)
    assert.near(3.1, s:value 'unbusy_try_duration_seconds_sum{target="a"}', 1e-9)
    assert.near(3.1, s:value 'unbusy_call_duration_seconds_sum{source="upstream"}', 1e-9)
    assert.equal(0, s:value "unbusy_calls_active")
    assert.equal(0, s:value 'unbusy_target_in_flight{target="a"}')
    assert.equal(0, s:value "unbusy_call_overhead_seconds_count") -- whoever reads takes time, too
  end)

  it("tell a stream that is cut, one that is closed and one that is lost", function()
    local cut = world.streamed({ { 0.1, world.chunk { content = "x" } } },
      { fail = "network", message = "gone" })
    local w = new { a = { cut, words({ "one", "two" }, 1) } }
    assert.equal("cut", drain(w:stream()))
    local stream = w:stream()
    stream:read()
    stream:close()
    stream:close()
    w:stream() -- nobody reads it
    collectgarbage()
    collectgarbage()
    local s = read(w)
    assert.equal(1, s:value 'unbusy_calls_total{code="cut",kind="stream",source="none"}')
    assert.equal(2, s:value 'unbusy_calls_total{code="cancelled",kind="stream",source="none"}')
    assert.equal(1, s:value 'unbusy_tries_total{account="a",code="cut",status="200",target="a"}')
    assert.equal(2,
      s:value 'unbusy_tries_total{account="a",code="cancelled",status="200",target="a"}')
    assert.equal(0, s:value "unbusy_calls_active")
    assert.equal(0, s:value 'unbusy_target_in_flight{target="a"}')
  end)

  it("count tokens and what they cost, those of the provider's cache apart", function()
    local answer = good()
    answer.body = answer.body:gsub('"prompt_tokens":10',
      '"prompt_tokens":10,"prompt_cache_hit_tokens":4')
    local w = new({ a = { answer } }, nil,
      { a = { price = { input = 2, cached = 1, output = 4 }, models = { default = "m-1" } } })
    w:chat()
    w:chat()
    local s = read(w)
    local function tokens(kind)
      return s:value(('unbusy_tokens_total{target="a",type="%s"}'):format(kind))
    end
    assert.same({ 12, 8, 10 }, { tokens "input", tokens "cached", tokens "output" })
    assert.near(2 * (6 * 2 + 4 * 1 + 5 * 4) / 1e6, s:value 'unbusy_cost_total{target="a"}', 1e-12)
    local of = 'gen_ai_operation_name="chat",gen_ai_provider_name="openai",'
      .. 'gen_ai_request_model="m-1"'
    assert.equal(20, s:value(
      ('gen_ai_client_token_usage_sum{%s,gen_ai_token_type="input"}'):format(of)))
    assert.equal(2, s:value(
      ('gen_ai_client_operation_duration_seconds_count{error_type="",%s}'):format(of)))
  end)

  it("have GenAI's names for what was asked of a server", function()
    local w = new({ a = { words({ "x" }, 2), status(503) } },
      { cache = true, retry = false }, { a = { provider = "deepseek" } })
    drain(w.client:stream { model = "deepseek-x", messages = world.question.messages })
    local _, _, code = w.client:chat(
      { model = "deepseek-x", messages = world.question.messages }, { cache = false })
    assert.equal("busy", code)
    local s = read(w)
    local of = 'gen_ai_operation_name="chat",gen_ai_provider_name="deepseek",'
      .. 'gen_ai_request_model="deepseek-x"'
    assert.near(2.1, s:value(
      ("gen_ai_client_operation_time_to_first_chunk_seconds_sum{%s}"):format(of)), 1e-9)
    assert.equal(1, s:value(
      ('gen_ai_client_operation_duration_seconds_count{error_type="",%s}'):format(of)))
    assert.equal(1, s:value(
      ('gen_ai_client_operation_duration_seconds_count{error_type="busy",%s}'):format(of)))
  end)

  it("have names of models out of the configuration, and of those that were answered", function()
    local w = new({ a = function(request)
      return request.body:find "real" and good() or status(404)
    end }, { metrics = { models = 1 } }, { a = { models = { known = "known-1" } } })
    local secret = "sk-0123456789"
    for _, model in ipairs { "known", secret, "real-1", "real-2", "real 3\n" .. secret } do
      w.client:chat { model = model, messages = world.question.messages }
    end
    local text = w.client:metrics()
    assert.is_nil(text:find(secret, 1, true))
    local s, seen = read(w), {}
    for _, sample in ipairs(s.list) do
      seen[sample.labels.gen_ai_request_model or ""] = true
    end
    assert.same({ [""] = true, ["known-1"] = true, ["real-1"] = true, other = true }, seen)
    assert.equal(5, s:sum "gen_ai_client_operation_duration_seconds_count")
  end)

  it("are found again by a model's name; names that callers make up are not kept", function()
    local w = new({ a = function() return good() end }, { metrics = { models = 1 } },
      { a = { models = { known = "known-1" } } })
    for _, model in ipairs { "known", "made-1", "made-2", "made-1", "made-3", "known", "made-2" } do
      w.client:chat { model = model, messages = world.question.messages }
    end
    local s, kept = read(w), {}
    for model, count in pairs { ["known-1"] = 2, ["made-1"] = 2, other = 3 } do
      assert.equal(count, s:sum("gen_ai_client_operation_duration_seconds_count",
        { gen_ai_request_model = model }))
    end
    for model in pairs(w.client.meter.good.a.chat) do kept[model] = true end
    assert.same({ ["known-1"] = true, ["made-1"] = true }, kept)
  end)

  it("have the beginning of a long name, in whole characters", function()
    local w = new({ a = { good() } }, nil, { a = { account = ("户"):rep(40) } })
    w:chat()
    assert.equal(1, read(w):sum("unbusy_tries_total",
      { account = ("户"):rep(33), status = "200" }))
  end)

  it("show who has no credit, and whose keys are refused", function()
    local w = new({ a = { status(402) }, b = { status(401) }, c = { status(403) }, d = { good() } },
      {}, { b = { account = "b" }, c = { account = "c", keys = { "one", "two" } },
        d = { account = "d" } })
    for _, name in ipairs { "a", "b", "c", "d" } do w:chat { target = name } end
    local function refused()
      local s, seen = read(w), {}
      for _, name in ipairs { "a", "b", "c", "d" } do
        for _, code in ipairs { "quota", "auth" } do
          local n = s:value(('unbusy_target_refused{code="%s",target="%s"}'):format(code, name))
          if n == 1 then seen[#seen + 1] = name .. " " .. code else assert.equal(0, n) end
        end
      end
      return seen
    end
    assert.same({ "a quota", "b auth", "c auth" }, refused())
    w.loop.run(function() w.loop.sleep(301) end)
    assert.same({}, refused())
  end)

  it("show breakers, limits and the budget as they are", function()
    local w = new({ a = { status(500) }, b = { good() } }, { limiter = { initial = 7 },
      breaker = { min_calls = 2, open_for = 1000 }, retry = { attempts = 2, base = 0.1 } },
      { b = { account = "other", priority = 2 } })
    for _ = 1, 3 do w:chat() end
    local s = read(w)
    local function state(target, name)
      return s:value(('unbusy_breaker_state{state="%s",target="%s"}'):format(name, target))
    end
    assert.same({ 1, 0, 0, 1 },
      { state("a", "open"), state("a", "closed"), state("b", "open"), state("b", "closed") })
    assert.equal(1, s:value 'unbusy_breaker_opened_total{target="a"}')
    assert.equal(0, s:value 'unbusy_breaker_opened_total{target="b"}')
    assert.is_true(s:value 'unbusy_limit{account="other",model=""}' >= 7)
    assert.equal(0, s:value 'unbusy_in_flight{account="other",model=""}')
    assert.equal(500, s:value "unbusy_retry_budget_size")
    assert.is_true(s:value "unbusy_retry_budget_tokens" <= 500)
  end)

  it("see the line: who waits, for how long, and who is turned away", function()
    local w = new({ a = { good("x", 10) } },
      { limiter = { kind = "fixed", initial = 1 }, queue = { size = 1, shed = false } })
    local seen
    w.loop.run(function()
      local tasks = {}
      for i = 1, 3 do
        local given = { priority = i == 1 and "interactive" or nil }
        tasks[i] = w.loop.spawn(function() w:chat(given) end)
        w.loop.sleep(0.01)
      end
      seen = read(w)
      for _, task in ipairs(tasks) do task:join() end
    end)
    assert.equal(1, seen:value 'unbusy_queue_waiting{priority="normal"}')
    assert.equal(0, seen:value 'unbusy_queue_waiting{priority="batch"}')
    assert.equal(2, seen:value "unbusy_calls_active")
    assert.equal(1, seen:value "unbusy_queue_size")
    assert.equal(1, seen:value 'unbusy_in_flight{account="a",model=""}')
    local s = read(w)
    assert.equal(1, s:value 'unbusy_queue_refused_total{code="full"}')
    assert.equal(1, s:value 'unbusy_queue_wait_seconds_count{priority="normal"}')
    assert.near(9.99, s:value 'unbusy_queue_wait_seconds_sum{priority="normal"}', 1e-6)
    assert.equal(0, s:sum "unbusy_queue_waiting")
    assert.equal(0, s:value "unbusy_calls_active")
    assert.is_true(s:value 'unbusy_limit_refused_total{account="a",model=""}' > 0)
    w:assert_clean()
  end)

  it("see second tries beside slow ones", function()
    local w = new({ a = { good("slow", 60) }, b = { good("quick", 0.5) } },
      { hedge = { after = 1, most = 1 }, retry = false }, { b = { priority = 2 } })
    assert.equal("quick", w:chat().text)
    local s = read(w)
    assert.equal(1, s:value 'unbusy_hedges_total{result="sent"}')
    assert.equal(1, s:value 'unbusy_hedges_total{result="won"}')
    assert.equal(1,
      s:value 'unbusy_tries_total{account="a",code="cancelled",status="none",target="a"}')
    assert.equal(0, s:sum "unbusy_retries_total")
    assert.equal(0, s:sum "unbusy_target_in_flight")
  end)

  it("see calls that share one", function()
    local w = coalesced.world({ good("hello", 2) }, { metrics = true })
    coalesced.ask(w, 5)
    local s = read(w)
    assert.equal(1, s:value 'unbusy_flights_total{result="led"}')
    assert.equal(4, s:value 'unbusy_flights_total{result="joined"}')
    assert.equal(1, s:sum "unbusy_tries_total")
    assert.equal(4, s:value 'unbusy_calls_total{code="",kind="chat",source="coalesced"}')
    assert.equal(1, s:value 'unbusy_calls_total{code="",kind="chat",source="upstream"}')
    assert.equal(15, s:sum("unbusy_tokens_total"))
  end)

  it("see batches", function()
    local w = batching.world { options = { metrics = true },
      batch = { rule = "embeddings", max = 4, window = 0.02 } }
    batching.ask(w, "embed", batching.many(4))
    local s = read(w)
    assert.equal(4, s:value 'unbusy_batch_size_sum{rule="embeddings"}')
    assert.equal(1, s:value 'unbusy_batch_size_bucket{le="4.0",rule="embeddings"}')
    assert.equal(4, s:value 'unbusy_calls_total{code="",kind="embed",source="batch"}')
    assert.equal(1, s:sum "unbusy_tries_total")
  end)

  it("count the faults of policies", function()
    local w = new({ a = { status(503), good() } },
      { policy = { retry = function() error "no" end } })
    assert.is_truthy(w:chat())
    assert.equal(1, read(w):sum "unbusy_policy_faults_total")
  end)

  it("count what is called off", function()
    local w = new { a = { good("x", 10) } }
    local cancel = canceller.new()
    w.loop.run(function()
      local task = w.loop.spawn(function() w:chat { cancel = cancel } end)
      w.loop.sleep(1)
      cancel:cancel()
      task:join()
    end)
    local s = read(w)
    assert.equal(1, s:value 'unbusy_calls_total{code="cancelled",kind="chat",source="none"}')
    assert.equal(0, s:value "unbusy_calls_active")
    assert.equal(0, s:sum "unbusy_target_in_flight")
  end)

  it("count a call whose task is ended, once", function()
    local w = new { a = { good("x", 10) } }
    w.loop.run(function()
      local task = w.loop.spawn(function() w:chat() end)
      w.loop.sleep(1)
      w.loop.cancel(task)
      w.loop.sleep(1)
    end)
    local s = read(w)
    assert.equal(1, s:value 'unbusy_calls_total{code="cancelled",kind="chat",source="none"}')
    assert.equal(1,
      s:value 'unbusy_tries_total{account="a",code="cancelled",status="none",target="a"}')
    assert.equal(0, s:value "unbusy_calls_active")
    assert.equal(0, s:sum "unbusy_target_in_flight")
  end)

  it("put what finds no room together", function()
    local targets, script = {}, {}
    for i = 1, 30 do
      local name = ("target-with-a-long-name-%02d"):format(i)
      script[name], targets[name] = { good() }, { weight = 1 }
    end
    local w = new(script, { metrics = { bytes = 16384 } }, targets)
    for _ = 1, 60 do assert.is_truthy(w:chat()) end
    local s = read(w)
    assert.is_true(s:value "unbusy_metrics_refused_total" > 0)
    assert.equal(60, s:sum "unbusy_tries_total")
    assert.equal(60, s:sum "unbusy_calls_total")
  end)

  it("are off where they are not wanted, and then nothing is made", function()
    local w = world.new { script = { a = { good() } } }
    assert.is_nil(w.client.meter)
    w:chat()
    assert.error_matches(function() w.client:metrics() end,
      "metrics: nothing is counted: the option metrics is off")
    assert.error_matches(function()
      unbusy.new { targets = { { name = "a", url = "http://a" } }, metrics = { bytes = 1 } }
    end, "metrics.bytes")
  end)

  it("are given in two formats, and no more", function()
    local w = new { a = { good() } }
    w:chat()
    local plain, open = w.client:metrics "prometheus", w.client:metrics "openmetrics"
    assert.equal(plain, w.client:metrics())
    assert.is_truthy(plain:find("# TYPE unbusy_calls_total counter\n", 1, true))
    assert.is_truthy(open:find("# TYPE unbusy_calls counter\n", 1, true))
    assert.is_truthy(open:find("# UNIT unbusy_call_duration_seconds seconds\n", 1, true))
    assert.equal(1, scraped.read(open, true):sum "unbusy_calls_total")
    assert.error_matches(function() w.client:metrics "xml" end,
      "prometheus or openmetrics expected")
    w.client:close()
    assert.same({ "the client is closed", "closed" }, { select(2, w.client:metrics()) })
  end)
end)
