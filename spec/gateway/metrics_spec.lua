-- /metrics: who may see it, in which format, and that what two workers have counted is what the
-- upstream has received, call for call.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"
local scraped = require "spec.support.scraped"

local CONFIG = [[return {
  targets = {
    { name = "up", url = "${up}/v1", key = "sk-secret", price = { input = 1, output = 2 } },
  },
  retry = { attempts = 3, base = 0.01, jitter = 0 }, breaker = false, budget = false,
  cache = { entries = 100, bytes = 1000000 }, clocks = { total = 30 }, region = ${region},
  metrics = ${metrics}, gateway = { keys = { "client-key" }, metrics = ${shown} },
}]]

local KEY = { "authorization: Bearer client-key" }

local up, g

local function start(values, more)
  values.up, values.region = up.url, values.region or "nil"
  values.metrics, values.shown = values.metrics or "nil", values.shown or "nil"
  local given = { config = CONFIG, values = values }
  for name, value in pairs(more or {}) do given[name] = value end
  g = gateways.start(given)
end

local function chat(text, more)
  local request = { model = "m-1", messages = { { role = "user", content = text } } }
  for name, value in pairs(more or {}) do request[name] = value end
  return g:ask("/v1/chat/completions", { headers = KEY, body = json.encode(request) })
end

local function scrape(open)
  local answer = g:ask("/metrics",
    { headers = open and { "accept: application/openmetrics-text; version=1.0.0" } or nil })
  assert.equal(200, answer.status)
  return scraped.read(answer.body, open), answer
end

describe("the gateway's metrics", function()
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function()
    up:programme {}
    up:reset()
  end)
  after_each(function() if g then g:stop() end g = nil end)

  it("are there by default, for this machine alone, in the format that is asked for", function()
    start {}
    assert.equal(200, chat("天气如何").status)
    local s, answer = scrape()
    assert.equal("text/plain; version=0.0.4; charset=utf-8", answer.headers["content-type"])
    assert.equal("no-store", answer.headers["cache-control"])
    assert.equal(1, s:value
      'unbusy_http_requests_total{path="/v1/chat/completions",status="200"}')
    s, answer = scrape(true)
    assert.equal("application/openmetrics-text; version=1.0.0; charset=utf-8",
      answer.headers["content-type"])
    assert.equal(1, s:value 'unbusy_http_requests_total{path="/metrics",status="200"}')
    for _, word in ipairs { "天气", "secret", "client%-key" } do
      assert.is_nil(answer.body:find(word))
    end
    local head = g:ask("/metrics", { method = "HEAD" })
    assert.same({ 200, "" }, { head.status, head.body })
    assert.equal(405, g:ask("/metrics", { method = "POST", body = "{}" }).status)
    for _, name in ipairs { "x-forwarded-for: 127.0.0.1", "via: 1.1 x" } do
      local refused = g:ask("/metrics", { headers = { name } })
      assert.equal(403, refused.status)
      assert.matches("for this machine alone", refused.body)
    end
    assert.is_nil(g:errors():find("sleep", 1, true)) -- Debian's nginx has a word on sleep(0)
    local paths = { ["/v1/models/m-1"] = "/v1/models/{id}", ["/v1/x-1/y"] = "/v1/{other}",
      ["/nowhere"] = "other" }
    for path in pairs(paths) do g:ask(path, { headers = KEY }) end
    s = scrape()
    for _, label in pairs(paths) do
      assert.equal(1, s:sum("unbusy_http_requests_total", { path = label }))
    end
    assert.equal(4, s:sum("unbusy_http_requests_total", { path = "/metrics" }) -
      s:sum("unbusy_http_requests_total", { path = "/metrics", status = "403" }))
  end)

  it("are whole where they are long, also for HTTP 1.0", function()
    g = gateways.start { config = [[
      local targets = {}
      for i = 1, 150 do targets[i] = { name = "t" .. i, url = "http://127.0.0.1:9/v1" } end
      return { targets = targets }]] }
    local s, answer = scrape(true)
    assert.is_true(#answer.body > 100000)
    assert.equal(#answer.body, tonumber(answer.headers["content-length"]))
    assert.equal(150, s:sum("unbusy_breaker_state", { state = "closed" }))
    local old = g:connect()
    old:write "GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n"
    local head, body = assert(old:read "*a"):match "^(.-)\r\n\r\n(.*)$"
    assert.equal(#body, tonumber(head:lower():match "content%-length: (%d+)"))
    assert.equal(150, scraped.read(body):sum("unbusy_breaker_state", { state = "closed" }))
  end)

  it("are for whoever has their token, from anywhere", function()
    start { shown = '{ token = "let-me-see" }' }
    assert.equal(401, g:ask("/metrics").status)
    assert.equal(401, g:ask("/metrics", { headers = KEY }).status)
    assert.equal(200, g:ask("/metrics",
      { headers = { "authorization: Bearer let-me-see", "via: 1.1 x" } }).status)
  end)

  it("are not there where they are switched off, in one place or the other", function()
    for _, values in ipairs { { shown = "false" }, { metrics = "false" } } do
      start(values)
      assert.equal(404, g:ask("/metrics").status)
      assert.equal(200, chat("x").status)
      g:stop()
    end
  end)

  it("are left out where their region has no room for them, with a warning", function()
    start { region = "{ bytes = 2097152 }" }
    assert.equal(200, chat("x").status)
    assert.equal(404, g:ask("/metrics").status)
    assert.matches("nothing is counted: region: no room for a metrics", g:errors())
  end)

  describe("of two workers", function()
    local function workers()
      local pipe, out = io.popen("pgrep -P " .. g.server.pid), {}
      for pid in pipe:lines() do out[pid] = true end
      pipe:close()
      return out
    end

    -- Waits until there are two workers, and none of these.
    local function wait_for_others(old)
      gateways.eventually(function()
        local count = 0
        for pid in pairs(workers()) do
          if old[pid] then return false end
          count = count + 1
        end
        return count == 2
      end)
    end

    it("stay when the workers are reloaded, and when one is killed under a call", function()
      start({}, { workers = 2 })
      for i = 1, 5 do assert.equal(200, chat("q" .. i).status) end
      local old = workers()
      os.execute("kill -HUP " .. g.server.pid)
      wait_for_others(old)
      assert.equal(5, scrape():sum "unbusy_tries_total")
      up:programme { latency = 60 }
      os.execute(g:command("/v1/chat/completions", { headers = KEY,
        body = '{"messages":[{"role":"user","content":"slow"}]}' }) .. " >/dev/null 2>&1 &")
      gateways.eventually(function() return scrape():value "unbusy_calls_active" == 1 end)
      assert.equal(1, scrape():sum "unbusy_target_in_flight")
      old = workers()
      for pid in pairs(old) do os.execute("kill -KILL " .. pid) end
      wait_for_others(old)
      local s = gateways.eventually(function()
        local ok, page = pcall(scrape)
        return ok and page:value "unbusy_calls_active" == 0 and page
      end)
      assert.equal(5, s:sum "unbusy_tries_total")
      assert.equal(0, s:sum "unbusy_target_in_flight" + s:sum "unbusy_in_flight")
    end)

    local FAULTS = { { share = 0.1, answer = { preset = "busy_503" } },
      { share = 0.1, answer = { preset = "rate_limited" } },
      { share = 0.05, answer = { preset = "server_500" } },
      { share = 0.05, answer = { preset = "cut_body" } },
      { share = 0.05, answer = { preset = "cut_stream" } },
      { share = 0.05, answer = { preset = "malformed_json" } } }

    -- Sends so many requests at the same time, a third as streams, some that are refused here.
    local function send_all(n)
      local lines = {}
      for i = 1, n do
        local body = json.encode { model = "m-1", stream = i % 3 == 0,
          messages = { { role = "user", content = i % 10 == 0 and "the same" or "q" .. i } } }
        if i % 25 == 0 then body = "{" end
        lines[i] = g:command("/v1/chat/completions", { headers = KEY, body = body })
          .. " >/dev/null &"
      end
      os.execute(table.concat(lines, "\n") .. "\nwait")
    end

    it("are what the upstream has received, call for call", function()
      start({}, { workers = 2 })
      up:programme { faults = FAULTS, seed = 7 }
      send_all(150)
      local s, counts = scrape(), up:counts()
      assert.equal(counts.received, s:sum "unbusy_tries_total")
      assert.is_true(counts.received > 100)
      for _, http in ipairs { "200", "429", "500", "503" } do
        assert.equal(counts.statuses[http] or 0, s:sum("unbusy_tries_total", { status = http }))
      end
      assert.equal(counts.completed, s:sum("unbusy_tries_total", { code = "" }))
      assert.equal(150, s:sum("unbusy_http_requests_total", { path = "/v1/chat/completions" }))
      assert.equal(144, s:sum "unbusy_calls_total")
      assert.equal(6, s:sum("unbusy_http_requests_total", { status = "400" }))
      assert.equal(144, s:sum "unbusy_call_duration_seconds_count")
      assert.equal(counts.received, s:sum "unbusy_try_duration_seconds_count")
      assert.equal(0, s:value "unbusy_calls_active")
      assert.equal(0, s:sum "unbusy_target_in_flight")
      assert.equal(0, s:sum "unbusy_in_flight")
      -- Whichever worker is asked, it is the same.
      for _ = 1, 6 do
        local again = scrape()
        for _, name in ipairs { "unbusy_tries_total", "unbusy_calls_total", "unbusy_tokens_total",
          "unbusy_cost_total", "unbusy_limit", "gen_ai_client_token_usage_sum" } do
          assert.equal(s:sum(name), again:sum(name))
        end
      end
    end)
  end)
end)
