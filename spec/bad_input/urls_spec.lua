-- URLs of targets: what may stand there, where it leads, and what is refused.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

local function make(url)
  local client = unbusy.new { retry = false, targets = {
    { name = "a", url = url, key = "k", proxy = false } } }
  return client
end

describe("a target's URL", function()
  guard.watch(before_each, after_each)

  it("is a host, perhaps a port, a path and a query", function()
    for _, url in ipairs { "http://a", "https://a/", "https://a.example:8443/v1", "http://[::1]/v1",
      "http://[::ffff:127.0.0.1]:8080", "https://a.example/v1?api-version=2024-10-21",
      "https://a.example?x=1&y=%20z", "https://a.example/v1/?", "https://a.example/?a=/b?c:d",
      "https://a_b.example/%7Ex", "https://a.example./v1" } do
      assert(make(url))
    end
  end)

  it("is nothing else, and no message shows it", function()
    for _, url in ipairs { "", "a", "//a", "http:", "http:/a", "http://", "http:///x", "http://?x",
      "http://:80", "http://a:/", "http://a:x", "http://a:80:81/", "http://a:80x/v1", "ftp://a",
      "HTTP://a", "file:///etc/passwd", "http://u@a", "http://u:secret@a/v1",
      "https://evil.test?x@api.deepseek.com", "https://evil.test/@api.deepseek.com",
      "http://a#b", "http://a/v1?x#y", "http://a\\b", "http://a/\\b", "http://a b/", "http://a/b c",
      "http://[::1", "http://::1/", "http://[::1]x/", "http://[evil.test]/", "http://a[1]/" } do
      local ok, message = pcall(make, url)
      assert.is_false(ok, url)
      assert.matches("urls_spec%.lua:%d+: unbusy: targets%[1%]%.url: http:// or https://, a host",
        message)
      assert.is_nil(message:find("secret", 1, true))
    end
    for _, url in ipairs { "http://a\0b", "http://a/\1", "http://a\r\nHost: b", "http://a/\127" } do
      local ok, message = pcall(make, url)
      assert.is_false(ok)
      assert.matches("url: a text without control characters expected", message)
    end
  end)

  it("has its query behind every path", function()
    local w = world.new { script = { a = { world.good() } },
      targets = { a = { url = "http://a.test/openai/?api-version=2024-10-21" } } }
    w:chat()
    w.client:post("/v1/files?purpose=batch", "x")
    w.client:embed { input = "x" }
    assert.same({
      "http://a.test/openai/chat/completions?api-version=2024-10-21",
      "http://a.test/openai/v1/files?purpose=batch&api-version=2024-10-21",
      "http://a.test/openai/embeddings?api-version=2024-10-21",
    }, { w.log[1].request.url, w.log[2].request.url, w.log[3].request.url })
    w:assert_clean()
  end)

  it("cannot be led elsewhere by a path", function()
    local w = world.new { script = { a = { world.good() } } }
    for _, path in ipairs { "//evil.test/x", "/@evil.test", "/../../evil.test", "/?@evil.test",
      "/\\evil.test", "/x:80@evil.test" } do
      w.client:post(path, "x")
      assert.matches("^http://a%.test/", w.log[#w.log].request.url)
    end
    for _, path in ipairs { "", "x", "http://evil.test", "/x y", "/x\r\nHost: evil.test", "/x\0",
      "/x\9", "/x#y", "/\127" } do
      local ok, message = pcall(w.client.post, w.client, path, "x")
      assert.is_false(ok, path)
      assert.matches("post: a path that starts with / expected", message)
    end
    w:assert_clean()
  end)

  describe("over the wire", function()
    local up
    setup(function() up = busyd.start { workers = 1 } end)
    teardown(function() up:stop() end)

    it("comes with its query", function()
      up:programme { reset = true, log = true }
      local client = make(up.url .. "/v1?api-version=2024-10-21")
      assert.equal("echo: hi", assert(client:chat(QUESTION)).text)
      assert(client:post("/chat/completions?a=%2F@evil.test", QUESTION))
      local log = up:log()
      assert.same({ 2, "/v1/chat/completions?api-version=2024-10-21",
        "/v1/chat/completions?a=%2F@evil.test&api-version=2024-10-21" },
        { #log, log[1].path, log[2].path })
    end)
  end)
end)
