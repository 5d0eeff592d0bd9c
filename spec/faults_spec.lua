-- Every fault the busy upstream knows, mixed, over real HTTP: no answer may be lost, doubled, torn
-- or given to the wrong caller, and every call must end exactly once.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local target = require "unbusy.target"
local unbusy = require "unbusy"

local CALLS = tonumber(os.getenv "UNBUSY_FAULT_CALLS")
  or (os.getenv "UNBUSY_SANITIZED" and 2000) or 10000
local AT_ONCE = 64

-- preset -> fields; each meets 1 % of the requests.
local presets = {
  busy_503 = {}, server_500 = {}, overloaded_529 = {}, busy_text_cn = {}, overloaded_body = {},
  rate_limited = {}, slow_down = {}, insufficient_quota = {}, payment_402 = {}, unauthorized = {},
  forbidden = {}, invalid_400 = {}, bad_gateway_502 = {}, timeout_504 = {}, cloudflare_520 = {},
  should_retry = {}, redirect = { location = "http://127.0.0.1:1/" }, echo_key = {}, empty_200 = {},
  no_choices = {}, insufficient_system_resource = {}, malformed_json = {}, deep_json = {},
  error_in_stream = {}, event_error = {}, no_finish = {}, no_done = {},
  blank_lines = { seconds = 0.05, every = 0.01 },
  keepalive_comments = { seconds = 0.05, every = 0.01 },
  stall_headers = { seconds = 0.05 }, role_then_stall = { seconds = 0.05 },
  stall_stream = { seconds = 0.05 },
  cut_stream = {}, reset_stream = {}, cut_body = {}, cut_headers = {}, close = {}, reset = {},
  garbage = {}, endless_header = { bytes = 400000 }, gzip = {}, gzip_bomb = { bytes = 8388608 },
  many_events = { n = 200 }, huge_event = { bytes = 100000 }, split_event = {}, crlf_stream = {},
}

local function faults()
  local list = {}
  for name, fields in pairs(presets) do
    local answer = { preset = name }
    for k, v in pairs(fields) do answer[k] = v end
    list[#list + 1] = { share = 0.01, answer = answer }
  end
  table.sort(list, function(a, b) return a.answer.preset < b.answer.preset end)
  return list
end

local function new_client(up)
  local targets = {}
  for i, name in ipairs { "one", "two" } do -- two accounts, one server
    targets[i] = { name = name, url = up.url .. "/v1", key = "key-" .. name,
      limits = { body = 1048576 } }
  end
  return unbusy.new {
    targets = targets, retry = { base = 0.001, cap = 0.01, attempts = 8 },
    budget = { tokens = 1e6, ratio = 1 }, queue = { max_wait = 60 },
    breaker = { min_calls = 1000 }, limiter = { kind = "fixed", initial = AT_ONCE },
    clocks = { headers = 5, start = 5, token = 5, total = 120 },
  }
end

-- What a good answer to `question` may be: the echo, or what a preset makes of it.
local function is_right(text, question)
  if text == busyd.expected(question) then return true end
  if text == ("x"):rep(100000) then return true end -- huge_event
  return text == busyd.expected(question, { tokens = 200 }) -- many_events
end

-- One call, streamed or not: "good", or the failure's code.
local function ask(client, question, streamed)
  local request = { model = "m", messages = { { role = "user", content = question } } }
  local reply, message, code
  if streamed then
    local stream
    stream, message, code = client:stream(request)
    if stream then reply, message, code = stream:reply() end
  else
    reply, message, code = client:chat(request)
  end
  if not reply then
    assert.is_string(message)
    assert.is_string(code)
    return code
  end
  assert.is_true(is_right(reply.text, question),
    ("wrong answer to %s: %s"):format(question, (reply.text or "nil"):sub(1, 80)))
  return "good"
end

describe("a mix of every fault", function()
  guard.watch(before_each, after_each)

  it(("ends each of %d calls once, with its own whole answer or a clear failure"):format(CALLS),
  function()
    local up = busyd.start { workers = 2, programme = { faults = faults(), latency = 0.001 } }
    local aside = target.SET_ASIDE
    target.SET_ASIDE = 0 -- refused keys come back at once, or nothing would be left to mix
    finally(function() target.SET_ASIDE = aside up:stop() end)
    local client = new_client(up)
    local ended, results, next_call = {}, {}, 0
    unbusy.run(function()
      for _ = 1, AT_ONCE do
        unbusy.spawn(function()
          while next_call < CALLS do
            next_call = next_call + 1
            local n = next_call
            local result = ask(client, "question " .. n, n % 2 == 0)
            ended[n] = (ended[n] or 0) + 1
            results[result] = (results[result] or 0) + 1
          end
        end)
      end
    end)
    for n = 1, CALLS do assert.equal(1, ended[n]) end
    local counts = up:counts()
    assert.equal(0, counts.internal_errors)
    assert.is_true(counts.faulted > CALLS * 0.2, "the mix did not happen: " .. counts.faulted)
    -- Only these may reach the caller: what is final, and what a stream shows after its start.
    local allowed = { good = true, cut = true, invalid = true }
    for code, count in pairs(results) do
      assert.is_true(allowed[code] or count <= CALLS * 0.01, ("%s: %d"):format(code, count))
    end
    assert.is_true(results.good > CALLS * 0.9, "good: " .. results.good)
    local status = client:status()
    assert.equal(0, status.active)
    assert.equal(0, status.budget.permits)
    for _, t in ipairs(status.targets) do assert.equal(0, t.breaker.outstanding) end
    client:close()
  end)
end)
