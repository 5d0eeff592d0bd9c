-- A gateway of two workers under a load that rises and falls, with faults that come and go: what
-- it has counted is what the upstream has received, call for call, from the first minute to the
-- last, and its memory and descriptors stay where they are.
--
-- Not part of the quick suites. `make soak` lasts 30 minutes; UNBUSY_SOAK_SECONDS says otherwise.
local busyd = require "spec.support.busyd"
local cqueues = require "cqueues"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local scraped = require "spec.support.scraped"

local SECONDS = tonumber(os.getenv "UNBUSY_SOAK_SECONDS")
  or math.max(8, 60 * (tonumber(os.getenv "UNBUSY_SOAK") or 1))
local LOOKS = 20        -- at memory and counters, evenly
local CLIENTS = 40      -- at the top of the load
local WAVE = SECONDS / 5 -- seconds from one top to the next

local CONFIG = [[return {
  targets = { { name = "up", url = "${up}/v1", price = { input = 1, output = 2 } } },
  retry = { attempts = 3, base = 0.01, cap = 0.1 }, breaker = { open_for = 0.2, min_calls = 50 },
  clocks = { start = 5, token = 5, total = 20 }, queue = { max_wait = 5 },
  cache = { entries = 200, bytes = 2000000, ttl = 1, coalesce = true },
}]]

-- What the upstream is like in each part of the time.
local programmes = {
  { latency = 0.02 },
  { latency = 0.05, faults = { { share = 0.1, answer = { preset = "busy_503" } },
    { share = 0.05, answer = { preset = "cut_stream" } } } },
  { capacity = 4, queue = 4, latency = 0.05, when_full = { preset = "rate_limited" } },
  { latency = { kind = "uniform", min = 0.01, max = 0.3 }, faults = {
    { share = 0.05, answer = { preset = "server_500" } },
    { share = 0.05, answer = { preset = "cut_body" } },
    { share = 0.05, answer = { preset = "malformed_json" } } } },
}

-- {== What the workers hold ==================================================

-- Bytes of memory of their own, and descriptors, of all workers together.
local function held(g)
  local bytes, descriptors = 0, 0
  for pid in files.output("pgrep -P " .. g.server.pid):gmatch "%d+" do
    bytes = bytes + tonumber(files.output(("cat /proc/%s/status"):format(pid)):match
      "RssAnon:%s+(%d+)") * 1024
    descriptors = descriptors + tonumber(files.output(("ls /proc/%s/fd | wc -l"):format(pid)))
  end
  return bytes, descriptors
end

-- }========================================================================

describe("a gateway that counts", function()
  local up, g
  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  local began, sent, answered = 0, 0, 0

  local function now() return cqueues.monotime() - began end

  -- How many clients ask just now.
  local function load_now()
    return CLIENTS * (0.55 - 0.45 * math.cos(2 * math.pi * now() / WAVE))
  end

  -- One request on a connection of its own, read to its end.
  local function ask(i, n)
    local text = n % 8 == 0 and "common " .. n % 5 or ("question %d of %d"):format(n, i)
    local body = ('{"model":"m","stream":%s,"messages":[{"role":"user","content":"%s"}]}')
      :format(tostring(n % 3 == 0), text)
    local s = g:connect(60)
    sent = sent + 1
    s:write(("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
      .. "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"):format(#body, body))
    s:flush()
    local line = s:read "*l"
    assert(line and line:find "^HTTP/1.1 %d+", "no answer")
    s:read "*a"
    s:close()
    answered = answered + 1
  end

  local function client(i)
    local n = 0
    while now() < SECONDS do
      if i > load_now() then
        cqueues.sleep(0.1)
      else
        n = n + 1
        ask(i, n)
        cqueues.sleep(0.02)
      end
    end
  end

  local function scrape()
    local answer = g:ask "/metrics"
    assert.equal(200, answer.status)
    return scraped.read(answer.body)
  end

  local looks = {}

  local function look_on()
    for k = 1, LOOKS do
      cqueues.sleep(math.max(0, k * SECONDS / LOOKS - now()))
      local bytes, descriptors = held(g)
      looks[k] = { bytes = bytes, files = descriptors, page = scrape() }
      up:programme(programmes[k % #programmes + 1])
    end
  end

  -- A counter never falls.
  local function check_counters()
    for k = 2, #looks do
      local before, page = looks[k - 1].page, looks[k].page
      for _, s in ipairs(before.list) do
        if before.types[s.family] ~= "gauge" then
          local parts = {}
          for label, value in pairs(s.labels) do
            parts[#parts + 1] = ('%s="%s"'):format(label, value)
          end
          table.sort(parts)
          local key = parts[1] and ("%s{%s}"):format(s.name, table.concat(parts, ",")) or s.name
          assert.is_true((page:value(key) or -1) >= s.value, key .. " has fallen")
        end
      end
    end
  end

  local function most(from, to, name)
    local best = 0
    for k = from, to do best = math.max(best, looks[k][name]) end
    return best
  end

  it("counts what the upstream has received, in flat memory", function()
    up = busyd.start { workers = 2 }
    g = gateways.start { workers = 2, config = CONFIG, values = { up = up.url } }
    up:reset()
    began = cqueues.monotime()
    local loop = cqueues.new()
    for i = 1, CLIENTS do loop:wrap(client, i) end
    loop:wrap(look_on)
    assert(loop:loop())
    for _ = 1, 8 do g:settle() end -- whichever worker answers
    local s, counts = scrape(), up:counts()
    print(("metrics soak: %d requests in %.0f s, %d at the upstream; memory %.1f MB, then %.1f; "
      .. "descriptors %d, then %d"):format(answered, SECONDS, counts.received,
      most(LOOKS / 4, LOOKS / 2, "bytes") / 2 ^ 20, most(LOOKS * 3 / 4, LOOKS, "bytes") / 2 ^ 20,
      most(LOOKS / 4, LOOKS / 2, "files"), most(LOOKS * 3 / 4, LOOKS, "files")))
    assert.equal(sent, answered)
    assert.equal(sent, s:sum("unbusy_http_requests_total", { path = "/v1/chat/completions" }))
    assert.equal(sent, s:sum "unbusy_calls_total")
    assert.equal(sent, s:sum "unbusy_call_duration_seconds_count")
    assert.equal(counts.received,
      s:sum "unbusy_tries_total" + s:sum "unbusy_resent_total"
        - s:sum("unbusy_tries_total", { status = "none" }))
    assert.equal(counts.completed, s:sum("unbusy_tries_total", { code = "" }))
    for _, http in ipairs { "429", "500", "503" } do
      assert.equal(counts.statuses[http] or 0, s:sum("unbusy_tries_total", { status = http }))
    end
    assert.equal(0, s:value "unbusy_calls_active")
    assert.equal(0, s:sum "unbusy_target_in_flight" + s:sum "unbusy_in_flight"
      + s:sum "unbusy_queue_waiting")
    check_counters()
    local before, after = most(LOOKS / 4, LOOKS / 2, "bytes"), most(LOOKS * 3 / 4, LOOKS, "bytes")
    assert.is_true(after <= before * 1.1 + 6 * 2 ^ 20,
      ("memory: %d, then %d"):format(before, after))
    assert.is_true(most(LOOKS * 3 / 4, LOOKS, "files") <= most(LOOKS / 4, LOOKS / 2, "files") + 20)
  end)
end)
