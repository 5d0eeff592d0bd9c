-- The cache in the gateway: whose answers are whose, what a request may say, what an answer says.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1" } }, retry = false, breaker = false, ${more}
}]]

describe("the gateway's cache", function()
  local up, g

  local function start(more, workers)
    g = gateways.start { config = CONFIG, workers = workers,
      values = { url = up.url, more = more or "" } }
  end

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)
  before_each(function() up:programme { reset = true } end)

  after_each(function()
    if not g then return end
    g:settle()
    assert.is_nil(g:errors():find("[error]", 1, true))
    g:stop()
    g = nil
  end)

  local function body_of(text, more)
    local request = { model = "m", messages = { { role = "user", content = text or "hi" } } }
    for k, v in pairs(more or {}) do request[k] = v end
    return json.encode(request)
  end

  local function ask(headers, body)
    return g:ask("/v1/chat/completions", { body = body or body_of(), headers = headers })
  end

  local function source(...)
    return ask(...).headers["x-unbusy-source"]
  end

  it("says how old an answer is, and gives it byte for byte", function()
    start "cache = {}"
    local first = ask()
    local again = ask()
    assert.equal("cache", again.headers["x-unbusy-source"])
    assert.equal("0", again.headers.age)
    assert.is_nil(first.headers.age)
    assert.equal(first.body, again.body)
    assert.equal("m", json.decode(again.body).model)
    local line = g:log(2)
    assert.same({ "cache", 200, "m" }, { line.source, line.status, line.model })
    assert.equal(json.decode(first.body).usage.prompt_tokens, line.prompt_tokens)
  end)

  it("gives streams again as they came, and whole to who wants that", function()
    start "cache = {}"
    local stream = body_of("tell me a story", { stream = true })
    local first = ask(nil, stream)
    assert.equal("upstream", first.headers["x-unbusy-source"])
    local again = ask(nil, stream)
    assert.equal("cache", again.headers["x-unbusy-source"])
    assert.equal(first.body, again.body)
    assert.is_true(select(2, first.body:gsub("data: ", "")) > 3)
    local with = ask(nil, body_of("tell me a story",
      { stream = true, stream_options = { include_usage = true } }))
    assert.equal("cache", with.headers["x-unbusy-source"])
    assert.is_truthy(with.body:find('"usage":{', 1, true))
    local whole = json.decode(ask(nil, body_of "tell me a story").body)
    assert.equal("echo: tell me a story", whole.choices[1].message.content)
    assert.equal(1, up:counts().received)
  end)

  it("keeps each client key's answers apart where it is to", function()
    start([[cache = { per = "tenant" }, gateway = { keys = { "sk-one", "sk-two",
      { key = "sk-three", name = "team" } } }]], 2)
    local keys = { "one", "two", "three" }
    for _, expected in ipairs { "upstream", "cache" } do
      for _, key in ipairs(keys) do
        assert.equal(expected, source { "authorization: Bearer sk-" .. key })
      end
    end
    assert.equal("cache", source { "api-key: sk-two" })
    os.execute("kill -HUP " .. g.server.pid) -- the new workers know their keys by new secrets
    for _ = 1, 5 do assert.equal("cache", source { "authorization: Bearer sk-two" }) end
    assert.equal(3, up:counts().received)
  end)

  it("keeps them apart by a header, which goes nowhere else", function()
    up:programme { reset = true, log = true }
    start 'cache = { per = { header = "X-Team" } }'
    assert.equal("upstream", source { "x-team: a" })
    assert.equal("cache", source { "X-TEAM: a" })
    assert.equal("upstream", source { "x-team: b" })
    for _ = 1, 2 do
      assert.equal("upstream", source())
      assert.equal("upstream", source { "x-team;" })
      assert.equal("upstream", source { "x-team: a", "x-team: b" })
    end
    assert.is_nil(up:log()[1].headers["x-team"])
  end)

  it("keeps them apart by the request's user", function()
    start 'cache = { per = "user" }'
    assert.equal("upstream", source(nil, body_of("hi", { user = "ann" })))
    assert.equal("cache", source(nil, body_of("hi", { user = "ann" })))
    assert.equal("upstream", source(nil, body_of("hi", { user = "bob" })))
    for _ = 1, 2 do assert.equal("upstream", source()) end
  end)

  it("of a batch are those of its tenant too", function()
    start [[cache = { per = "tenant" }, gateway = { keys = { "sk-one", "sk-two" } }]]
    local function batch(key)
      return g:ask("/api/v1/batch", { headers = { "authorization: Bearer " .. key },
        body = json.encode { model = "m", requests = { { prompt = "hi" }, { prompt = "ho" } } } })
        .headers["x-unbusy-source"]
    end
    assert.same({ "upstream", "cache", "upstream" },
      { batch "sk-one", batch "sk-one", batch "sk-two" })
    assert.equal("cache", source { "authorization: Bearer sk-one" })
  end)

  it("takes bytes that say a name twice for what no other request is", function()
    start "cache = {}"
    local evil = '{"model":"m","messages":[{"role":"user","content":"evil","content":"hi"}]}'
    assert.equal("upstream", source(nil, evil))
    assert.equal("upstream", source())
    assert.equal("cache", source())
    assert.equal(2, up:counts().received)
  end)

  describe("is told by cache-control", function()
    local ALLOWED = 'cache = { stale = 1000 }, '
      .. 'gateway = { controls = { "cache", "cache-control" } }'

    local function said(directives, body)
      local answer = ask({ "cache-control: " .. directives }, body)
      return answer.headers["x-unbusy-source"] or answer.status
    end

    it("what it may read and keep", function()
      start(ALLOWED)
      assert.equal(504, said "only-if-cached")
      assert.equal("upstream", said "no-store")
      assert.equal(504, said "only-if-cached")
      assert.equal("upstream", said "max-age=60")
      assert.equal("cache", said "max-age=60, only-if-cached")
      assert.equal("cache", said "Max-Age=\"60\"")
      assert.equal("cache", said "ONLY-IF-CACHED")
      assert.equal("upstream", said "no-cache")
      assert.equal("upstream", said "max-age=0")
      assert.equal("upstream", said "no-store, max-age=60")
      for _, nothing in ipairs { "private", "max-age=x", "max-age", "max-age=-5", ",,", "=5",
        "stale", "no-transform", "min-fresh=5", "max-age=5x", "no-cache=\"x\"" } do
        assert.equal("cache", said(nothing), nothing)
      end
      assert.equal("upstream", source { "cache-control: no-cache", "x-unbusy-cache: refresh" })
      assert.equal("cache", source { "cache-control: no-cache", "x-unbusy-cache: 60" })
      assert.equal("upstream", source { "cache-control: private", "cache-control: no-cache" })
      local answer = ask({ "cache-control: only-if-cached" }, body_of "new")
      local e = json.decode(answer.body).error
      assert.same({ 504, "timeout_error", "invalid" }, { answer.status, e.type, e.code })
      assert.equal(504, ask({ "cache-control: only-if-cached" },
        body_of("new", { stream = true })).status)
    end)

    it("what stale answer will do", function()
      start [[cache = { ttl = 0.01, jitter = 0, stale = 1000 },
        gateway = { controls = { "cache-control" } }]]
      assert.equal("upstream", source())
      gateways.eventually(function() return source { "cache-control: max-stale" } == "stale" end)
      local answer = ask { "cache-control: max-stale=500" }
      assert.equal("stale", answer.headers["x-unbusy-source"])
      assert.is_nil(answer.headers["x-unbusy-code"])
      assert.is_truthy(tonumber(answer.headers.age))
      assert.equal(504, said "only-if-cached")
      assert.equal("stale", said "only-if-cached, max-stale")
      up:programme { reset = true, script = { { preset = "busy_503" } } }
      for _, none in ipairs { "max-age=500", "no-cache", "max-age=500, stale-if-error=0" } do
        up:programme { reset = true, script = { { preset = "busy_503" } } }
        assert.equal(503, said(none), none)
      end
      for _, one in ipairs { "private", "max-age=500, stale-if-error=500",
        "no-cache, max-stale" } do
        up:programme { reset = true, script = { { preset = "busy_503" } } }
        answer = ask { "cache-control: " .. one }
        assert.same({ 200, "stale", "busy" },
          { answer.status, answer.headers["x-unbusy-source"], answer.headers["x-unbusy-code"] })
      end
    end)

    it("nothing, where the site has not allowed it", function()
      start "cache = {}"
      source()
      assert.equal("cache", said "no-cache")
      assert.equal("cache", said "no-store")
      assert.equal("upstream", said("only-if-cached", body_of "new"))
    end)
  end)

  it("asks anew behind a stale answer, once for all", function()
    start "cache = { ttl = 0.01, jitter = 0, revalidate = 500, stale = 1000 }"
    up:programme { reset = true, answer = { text = "old" } }
    assert.equal("upstream", source())
    up:programme { reset = true, latency = 0.3, answer = { text = "new" } }
    local stale = gateways.eventually(function()
      local answer = ask()
      return answer.headers["x-unbusy-source"] == "stale" and answer
    end)
    assert.is_truthy(stale.body:find("old", 1, true))
    for _ = 1, 5 do ask() end
    gateways.eventually(function() return ask().body:find("new", 1, true) end)
  end)

  it("is not started with what cannot be", function()
    for more, words in pairs {
      ['cache = { per = "tenant" }'] = "gateway.keys expected",
      ['gateway = { controls = { "cache-control" } }'] = "'cache-control' needs a cache" } do
      local ok, message = pcall(start, more)
      g = nil
      assert.is_false(ok)
      assert.is_truthy(tostring(message):find(words, 1, true))
    end
  end)
end)
