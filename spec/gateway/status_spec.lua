-- /status: who may see it, and what is in it.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "up", url = "${up}/v1", key = "sk-secret", models = { default = "m" } } },
  cache = { top = ${top}, entries = 100, bytes = 1000000, warm = ${warm} },
  gateway = { status = ${status}, keys = { "client-key" } },
}]]

describe("the gateway's status", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function()
    up:programme {}
    up:reset()
  end)

  local g
  after_each(function() if g then g:stop() end g = nil end)

  local function start(values, more)
    values.up = up.url
    values.top, values.status = values.top or "true", values.status or "true"
    values.warm = values.warm or "nil"
    local given = { config = CONFIG, values = values }
    for name, value in pairs(more or {}) do given[name] = value end
    g = gateways.start(given)
    return g
  end

  local function chat(text)
    return g:ask("/v1/chat/completions", { headers = { "authorization: Bearer client-key" },
      body = json.encode { messages = { { role = "user", content = text } } } })
  end

  it("shows the client's, and what is asked most, by hashes", function()
    start {}
    for _, text in ipairs { "天气如何", "天气如何", "two" } do assert.equal(200, chat(text).status) end
    local answer = g:ask "/status"
    assert.equal(200, answer.status)
    assert.equal("application/json", answer.headers["content-type"])
    assert.equal("no-store", answer.headers["cache-control"])
    local told = json.decode(answer.body)
    assert.same({ 2, 1 }, { told.questions[1].count, told.questions[2].count })
    assert.matches("^%x+$", told.questions[1].hash)
    assert.same({ "up", "closed" }, { told.targets[1].name, told.targets[1].state })
    assert.same({ 2, false }, { told.top.used, told.top.shows })
    assert.is_table(told.cache)
    assert.is_table(told.warm)
    for _, word in ipairs { "天气", "two", "secret", "client%-key" } do
      assert.is_nil(answer.body:find(word))
    end
    assert.equal(1, #json.decode(g:ask("/status?top=1").body).questions)
    assert.equal("", g:ask("/status", { method = "HEAD" }).body)
  end)

  it("shows the questions where that is allowed, and asked for", function()
    start { top = "{ show = true }" }
    for _ = 1, 2 do chat "天气如何" end
    assert.is_nil(g:ask("/status").body:find "天气")
    local told = json.decode(g:ask("/status?show=1").body)
    assert.equal("天气如何", told.questions[1].question)
    g:stop()
    start {}
    local refused = g:ask "/status?show=1"
    assert.equal(403, refused.status)
    assert.matches("cache%.top%.show is off", refused.body)
  end)

  it("is for this machine alone", function()
    start({}, { http = "real_ip_header x-real-from; set_real_ip_from 127.0.0.1;" })
    assert.equal(200, g:ask("/status").status)
    local refused = g:ask("/status", { headers = { "x-real-from: 192.0.2.7" } })
    assert.equal(403, refused.status)
    for _, name in ipairs { "x-forwarded-for: 127.0.0.1", "forwarded: for=127.0.0.1", "via: 1.1 x",
      "x-real-ip: 127.0.0.1" } do
      assert.equal(403, g:ask("/status", { headers = { name } }).status)
    end
  end)

  it("is not read by a page whose name leads here", function()
    start {}
    for _, host in ipairs { "evil.example", "localhost.evil.example:80", "127.0.0.1.evil" } do
      local refused = g:ask("/status", { headers = { "host: " .. host } })
      assert.equal(403, refused.status)
      assert.matches("by its address or as localhost", refused.body)
    end
    for _, host in ipairs { "localhost", "a.localhost:8080", "127.0.0.1:1", "[::1]:8080" } do
      assert.equal(200, g:ask("/status", { headers = { "host: " .. host } }).status)
    end
  end)

  it("takes its token as a password", function()
    start { status = '{ token = "let-me-see" }' }
    local function status_of(words) return g:ask("/status", { options = words }).status end
    assert.equal(200, status_of "-u 'anybody:let-me-see'")
    assert.equal(200, status_of "-u ':let-me-see'")
    for _, wrong in ipairs { "-u let-me-see:", "-u anybody:let-me-se",
      "-H 'authorization: Basic !'", "-H 'authorization: Basic'" } do
      assert.equal(401, status_of(wrong))
    end
  end)

  it("is for whoever has its token, from anywhere", function()
    start({ status = '{ token = "let-me-see" }' },
      { http = "real_ip_header x-real-from; set_real_ip_from 127.0.0.1;" })
    for _, headers in ipairs { {}, { "authorization: Bearer client-key" },
      { "authorization: Bearer let-me-se" } } do
      local refused = g:ask("/status", { headers = headers })
      assert.equal(401, refused.status)
      assert.equal("Bearer", refused.headers["www-authenticate"])
    end
    assert.equal(200, g:ask("/status", { headers = { "authorization: Bearer let-me-see",
      "x-real-from: 192.0.2.7", "via: 1.1 x" } }).status)
    assert.equal(200, chat("x").status)
  end)

  it("is not there where it is switched off", function()
    start { status = "false" }
    assert.equal(404, g:ask("/status").status)
  end)

  it("takes numbers of questions, and GET", function()
    start {}
    for _, wrong in ipairs { "0", "-1", "x", "1.5", "1e9", "1001" } do
      assert.equal(400, g:ask("/status?top=" .. wrong).status)
    end
    assert.equal(405, g:ask("/status", { method = "POST", body = "{}" }).status)
  end)

  it("says null where nothing is counted", function()
    start { top = "false" }
    assert.equal(json.null, json.decode(g:ask("/status").body).questions)
  end)

  it("shows how far the cache is warmed, without a call, by one of the workers", function()
    start({ warm = '{ questions = { "one", "two", "three" } }' }, { workers = 3,
      http = "init_worker_by_lua_block { gateway:begin() }" })
    local asked = 0
    for _ = 1, 600 do
      asked = up:counts().received
      if asked >= 3 then break end
      require("spec.support.direct").pause(0.05)
    end
    assert.equal(3, asked)
    for _, text in ipairs { "one", "two", "three" } do
      assert.equal("cache", chat(text).headers["x-unbusy-source"])
    end
    assert.equal(3, up:counts().received)
  end)
end)
