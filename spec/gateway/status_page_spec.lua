-- The page of /status, and what it shows: who is given it, and what happened lately.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "up", url = "${up}/v1", models = { default = "m" } } },
  retry = { attempts = 2, base = 0.01 }, cache = { entries = 100, bytes = 1000000 },
  fallback = ${fallback}, gateway = { status = ${status} },
}]]

-- As Chromium and Firefox ask.
local BROWSER = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

describe("the status as a page", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function() up:programme { reset = true } end)

  local g
  after_each(function() if g then g:stop() end g = nil end)

  local function start(values, more)
    local given = { config = CONFIG, values = { up = up.url, status = "true", fallback = "nil" } }
    for name, value in pairs(values or {}) do given.values[name] = value end
    for name, value in pairs(more or {}) do given[name] = value end
    g = gateways.start(given)
    return g
  end

  local function get(path, ...) return g:ask(path, { headers = { ... } }) end

  local function chat(text, more)
    local body = { messages = { { role = "user", content = text } } }
    for name, value in pairs(more or {}) do body[name] = value end
    return g:ask("/v1/chat/completions", { body = json.encode(body) })
  end

  local function told() return json.decode(get("/status.json").body) end

  -- The numbers of the last hour that are not 0.
  local function hour()
    local out = {}
    for source, counts in pairs(told().hour.answers) do
      local sum = 0
      for _, n in ipairs(counts) do sum = sum + n end
      if sum > 0 then out[source] = sum end
    end
    return out
  end

  describe("is given", function()
    it("to browsers, and JSON to everybody else", function()
      start()
      local function kind(path, accept)
        local answer = accept and get(path, "accept: " .. accept) or get(path, "accept:")
        assert.same({ path, 200 }, { path, answer.status })
        assert.equal("accept", answer.headers.vary)
        return answer.headers["content-type"]
      end
      assert.equal("text/html; charset=utf-8", get("/status", BROWSER).headers["content-type"])
      for accept, expected in pairs {
        ["text/html"] = "text/html; charset=utf-8",
        ["TEXT/HTML;level=1 , application/json"] = "text/html; charset=utf-8",
        ["*/*"] = "application/json", ["text/*"] = "application/json",
        ["application/json"] = "application/json",
        ["text/html;q=0"] = "application/json",
        ["text/html;q=0.4, application/json;q=0.5"] = "application/json",
        ["text/htmlx"] = "application/json", [";;,,q=x"] = "application/json",
      } do
        assert.same({ accept, expected }, { accept, kind("/status", accept) })
      end
      assert.equal("application/json", kind "/status")
      assert.equal("application/json", get("/status.json", BROWSER).headers["content-type"])
    end)

    it("with a policy of its own each time, and without a word of what goes on", function()
      start()
      local nonces = {}
      for i = 1, 2 do
        local answer = get("/status", BROWSER)
        local nonce = answer.headers["content-security-policy"]:match "script%-src 'nonce%-(%x+)'"
        assert.equal(2, select(2, answer.body:gsub('nonce="' .. nonce .. '"', "")))
        assert.equal(2, select(2, answer.body:gsub("nonce=", "")))
        assert.is_nil(answer.body:find("{{", 1, true))
        assert.is_nil(answer.body:find("127.0.0.1", 1, true))
        assert.matches("^<!doctype html>\n", answer.body)
        assert.equal(#answer.body, tonumber(answer.headers["content-length"]))
        nonces[i] = nonce
      end
      assert.are_not.equal(nonces[1], nonces[2])
      assert.equal("", g:ask("/status", { method = "HEAD", headers = { BROWSER } }).body)
    end)

    it("to nobody who may not see it, and to whoever has the token", function()
      start({ status = '{ token = "let-me-see" }' })
      for _, path in ipairs { "/status", "/status.json" } do
        assert.equal(401, get(path, BROWSER).status)
        assert.equal(200, get(path, BROWSER, "authorization: Bearer let-me-see").status)
      end
      assert.equal('Basic realm="unbusy", charset="UTF-8"',
        get("/status", BROWSER).headers["www-authenticate"])
      -- A page's own request must not have the browser ask.
      assert.equal("Bearer", get("/status.json").headers["www-authenticate"])
      g:stop()
      start()
      assert.equal(403, get("/status", BROWSER, "x-forwarded-for: 127.0.0.1").status)
      g:stop()
      start { status = "false" }
      assert.equal(404, get("/status", BROWSER).status)
      assert.equal(404, get("/status.json").status)
    end)
  end)

  describe("shows of the last hour", function()
    it("where answers have come from, and how soon they began", function()
      start()
      assert.same({}, hour())
      for _, text in ipairs { "one", "one", "two" } do assert.equal(200, chat(text).status) end
      assert.equal(200, chat("three", { stream = true }).status)
      assert.same({ upstream = 3, cache = 1 }, hour())
      local start_of = told().targets[1].start
      assert.equal(3, start_of.calls)
      assert.is_true(start_of.half > 0 and start_of.half <= start_of.most)
    end)

    it("failures, of calls and of tries", function()
      start()
      up:programme { faults = { { share = 1, answer = { preset = "busy_503" } } } }
      assert.equal(503, chat("one").status)
      up:programme { faults = { { share = 1, answer = { preset = "invalid_400" } } } }
      assert.equal(400, chat("two").status)
      assert.same({ failed = 2 }, hour())
      local list = told().hour.failures
      assert.same({ { "up", "invalid", 1 }, { "up", "busy", 2 } },
        { { list[1].target, list[1].code, list[1].count },
          { list[2].target, list[2].code, list[2].count } })
      assert.is_nil(list[3])
      assert.is_true(list[1].ago <= list[2].ago)
    end)

    it("a stream that is cut as failed, and what stands in as what it is", function()
      start({ fallback = '"系统繁忙"' })
      up:programme { faults = { { share = 1, answer = { preset = "busy_503" } } } }
      assert.equal("fallback", chat("one").headers["x-unbusy-source"])
      up:programme { faults = { { share = 1, answer = { preset = "cut_stream", after = 2 } } } }
      assert.is_nil(chat("two words", { stream = true }).body:find("[DONE]", 1, true))
      assert.same({ fallback = 1, failed = 1 }, hour())
    end)

    it("each of a batch", function()
      start()
      local body = json.encode { requests = { { prompt = "one" }, { prompt = "two" },
        { wrong = 1 } } }
      assert.equal(200, g:ask("/api/v1/batch", { body = body }).status)
      assert.same({ upstream = 2 }, hour())
    end)

    it("nothing of requests that came to no call", function()
      start()
      for _, body in ipairs { "{", '{"messages":[]}', '{"messages":5}' } do
        assert.equal(400, g:ask("/v1/chat/completions", { body = body }).status)
      end
      assert.equal(404, get("/nowhere").status)
      assert.same({}, hour())
      assert.same(0, #told().hour.failures)
    end)
  end)

  it("is the same from every worker, with models that only another was asked for", function()
    start({}, { workers = 3 })
    chat "one"
    local seen, n = {}, 0
    for _ = 1, 300 do
      local t = told()
      assert.same({ 1, 0 }, { t.hour.answers.upstream[60] + t.hour.answers.upstream[59],
        t.targets[1].limits.m.in_flight })
      if not seen[t.worker] then seen[t.worker], n = true, n + 1 end
      if n == 3 then break end
    end
    assert.is_true(n > 1)
  end)
end)
