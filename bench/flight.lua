--- What single flight saves in a herd, and what it costs where there is none: with and without it,
-- in turns of one run.
--
-- A herd of calls that ask the same at once, plain ones and streams, against the specs' busy server
-- with 20 places, which counts what it received. And what one call more costs: in virtual time, so
-- that there is nothing but our own code, where nobody asks the same, and where somebody does.
--
--   UNBUSY_BENCH_CALLS     calls of one herd (1000)
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local json = require "unbusy.json"
local unbusy = require "unbusy"
local virtual = require "unbusy.loops.virtual"

local CALLS = tonumber(os.getenv "UNBUSY_BENCH_CALLS") or 1000
local ROUNDS = 5

local function question(text)
  return { model = "m", messages = { { role = "user", content = text } } }
end

local function quantile(list, q)
  return list[math.max(1, math.ceil(q * #list))]
end

-- {== Herds over HTTP =====================================================

-- So many at once: seconds to the end of each, sorted, and those that failed.
local function herd(client, kind, text)
  local times, failed = {}, 0
  unbusy.run(function()
    for _ = 1, CALLS do
      unbusy.spawn(function()
        local began = core.now()
        local reply = client[kind](client, question(text))
        if reply and kind == "stream" then reply = reply:reply() end
        if reply then
          assert(reply.text == busyd.expected(text), "another's answer")
          times[#times + 1] = core.now() - began
        else
          failed = failed + 1
        end
      end)
    end
  end)
  table.sort(times)
  return times, failed
end

local function herds(up)
  print(("a herd of %d, a server of 20 places, 0.3 s each"):format(CALLS))
  for _, kind in ipairs { "chat", "stream" } do
    for _, coalesce in ipairs { true, false } do
      up:programme { reset = true, capacity = 20, queue = 0, latency = 0.3 }
      local client = assert(unbusy.new { cache = { coalesce = coalesce },
        limiter = { initial = 20 }, clocks = { total = 60, start = 60, headers = 60 },
        queue = { size = 2 * CALLS, max_wait = 60 },
        targets = { { name = "up", url = up.url .. "/v1" } } })
      local times, failed = herd(client, kind, "what " .. kind)
      print(("  %-6s %-8s upstream calls %5d  p50 %7.3f s  p99 %7.3f s  failed %d"):format(kind,
        coalesce and "shared" or "apart", up:counts().received, quantile(times, 0.5) or 0 / 0,
        quantile(times, 0.99) or 0 / 0, failed))
      client:close()
    end
  end
end

-- }========================================================================

-- {== What a call costs ===================================================

local BODY = json.encode { id = "x", object = "chat.completion", model = "m",
  choices = { { index = 0, finish_reason = "stop",
    message = { role = "assistant", content = ("word "):rep(140) } } } }

-- A server in virtual time that answers after 10 ms.
local function new_loop()
  return virtual.new { serve = function(_, answer, loop)
    loop.sleep(0.01)
    answer:head(200, { ["content-type"] = "application/json" })
    answer:data(BODY)
  end }
end

-- Microseconds of each of `n` calls, 50 at a time, whose texts come out of `text(i)`.
local function cost(coalesce, n, text)
  local loop = new_loop()
  local client = assert(unbusy.new { loop = loop, cache = { coalesce = coalesce, entries = 10 },
    limiter = false, targets = { { name = "a", url = "http://a.test" } } })
  collectgarbage()
  local began = os.clock()
  loop.run(function()
    local next = 0
    for _ = 1, 50 do
      loop.spawn(function()
        while next < n do
          next = next + 1
          assert(client:chat(question(text(next))))
        end
      end)
    end
  end)
  local seconds = os.clock() - began
  client:close()
  return seconds / n * 1e6
end

local function costs()
  local n = 5000
  local kinds = {
    { "nobody asks the same", function(i) return "question " .. i end },
    { "50 ask the same", function(i) return "question " .. math.floor((i - 1) / 50) end },
  }
  print "\na call in virtual time, with its server: microseconds of CPU, best of rounds"
  for _, kind in ipairs(kinds) do
    local with, without = math.huge, math.huge
    for _ = 1, ROUNDS do
      with = math.min(with, cost(true, n, kind[2]))
      without = math.min(without, cost(false, n, kind[2]))
    end
    print(("  %-24s shared %7.1f   apart %7.1f   ratio %5.2f"):format(kind[1], with, without,
      with / without))
  end
end

-- }========================================================================

local up = busyd.start { workers = 2, programme = {} }
local ok, message = pcall(herds, up)
up:stop()
assert(ok, message)
costs()
