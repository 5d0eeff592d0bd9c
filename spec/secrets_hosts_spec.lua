-- Where a key goes: to its target's host and nowhere else.
local busyd = require "spec.support.busyd"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local proxies = require "spec.support.proxy"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local unpack = table.unpack or unpack -- luacheck: ignore
local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

describe("a key", function()
  guard.watch(before_each, after_each)
  local one, two, proxy
  setup(function()
    one = busyd.start { workers = 1, tls = true }
    two = busyd.start { workers = 1 }
    proxy = proxies.start()
  end)
  teardown(function()
    one:stop()
    two:stop()
    proxy:stop()
  end)
  before_each(function()
    one:programme { reset = true, log = true }
    two:programme { reset = true, log = true }
  end)

  it("follows no redirect, to another port or another name of the same machine", function()
    local elsewhere = { two.url, (two.url:gsub("127.0.0.1", "localhost")),
      (one.url:gsub("127.0.0.1", "localhost")), one.tls_url, "//127.0.0.1:1/" }
    for _, status in ipairs { 302, 307 } do
      for _, location in ipairs(elsewhere) do
        one:programme { reset = true, script = { { preset = "redirect", status = status,
          location = location .. "/v1/chat/completions" } } }
        local client = unbusy.new { targets = {
          { name = "a", url = one.url, key = "key-1", proxy = false } } }
        local _, message, code = client:chat(QUESTION)
        assert.same({ "upstream", ("a: %d redirected, not followed"):format(status) },
          { code, message })
        assert.same({ 1, 0 }, { one:counts().received, two:counts().received })
      end
    end
  end)

  it("stays at its target when a call goes elsewhere", function()
    one:programme { reset = true, log = true, script = { { preset = "busy_503" },
      { preset = "unauthorized" }, { preset = "reset" } } }
    local client = unbusy.new { retry = { base = 0.001 }, targets = {
      { name = "a", url = one.url, keys = { "key-1", "key-2" }, proxy = false, priority = 1,
        headers = { ["X-One"] = "secret-one" } },
      { name = "b", url = two.url, key = "key-3", proxy = false, priority = 2,
        headers = { ["X-Two"] = "secret-two" } },
      { name = "c", url = two.url .. "/v1", proxy = false, priority = 3 },
    } }
    for _ = 1, 6 do assert(client:chat(QUESTION)) end
    assert(client:chat(QUESTION, { target = "c" }))
    for _, entry in ipairs(one:log()) do
      assert.is_truthy(("Bearer key-1 Bearer key-2"):find(entry.headers.authorization, 1, true))
      assert.same({ "secret-one" }, { entry.headers["x-one"], entry.headers["x-two"] })
    end
    local seen = {}
    for _, entry in ipairs(two:log()) do
      local key = entry.headers.authorization or "none"
      seen[key] = true
      assert.is_nil(entry.headers["x-one"])
      assert.equal(key ~= "none" and "secret-two" or nil, entry.headers["x-two"])
    end
    assert.same({ ["Bearer key-3"] = true, none = true }, seen)
  end)

  it("goes to a proxy only inside the tunnel, and the proxy's password to the proxy only",
  function()
    local client = unbusy.new { retry = false, targets = { { name = "a", url = one.tls_url,
      key = "key-1", tls = { ca = one.ca }, headers = { ["X-Word"] = "hush" },
      proxy = ("http://user:pr0xy-W0rd@127.0.0.1:%s"):format(proxy.port) } } }
    assert.equal("echo: hi", assert(client:chat(QUESTION)).text)
    local heads = proxy:heads()
    assert.equal(1, #heads)
    assert.matches("^CONNECT localhost:%d+ HTTP/1.1\r\n", heads[1])
    assert.matches("Proxy%-Authorization: Basic dXNlcjpwcjB4eS1XMHJk\r\n", heads[1])
    assert.is_nil(heads[1]:find("key-1", 1, true))
    assert.is_nil(heads[1]:find("hush", 1, true))
    local sent = one:log()[1].headers
    assert.same({ "Bearer key-1", "hush" }, { sent.authorization, sent["x-word"] })
    assert.is_nil(sent["proxy-authorization"])
    wire.close_idle() -- the proxy serves one connection at a time
  end)

  it("is read by the proxy of a target without TLS, as HTTP has it", function()
    local client = unbusy.new { retry = false, targets = { { name = "a", key = "key-1",
      url = "http://made-up.invalid/v1", proxy = "http://127.0.0.1:" .. proxy.port } } }
    assert.equal("busy", (select(3, client:chat(QUESTION))))
    local heads = proxy:heads()
    assert.matches("^POST http://made%-up%.invalid/v1/chat/completions HTTP/1%.1\r\n", heads[1])
    assert.matches("\r\nAuthorization: Bearer key%-1\r\n", heads[1])
  end)

  local COUNT = [[
    local unbusy = require "unbusy"
    for i = 1, #arg, 2 do
      local client = unbusy.new { targets = { { name = arg[i], url = arg[i + 1] } } }
      io.write(#client.targets[1].keys, " ")
    end
  ]]

  local function keys_sent(env, ...)
    return (engines.child(COUNT, env, ...):gsub("%s*status 0\n$", ""))
  end

  it("of the environment goes to its own provider's hosts", function()
    local env = "DEEPSEEK_API_KEY=d OPENAI_API_KEY=o"
    assert.equal("1 1 1 1 1 1 1 1", keys_sent(env,
      "deepseek", "https://api.deepseek.com", "deepseek", "https://deepseek.com:8443/v1",
      "DeepSeek", "https://API.DeepSeek.COM/v1", "deepseek", "https://api.deepseek.com./v1?a=b",
      "openai", "https://api.openai.com/v1", "openai", "https://eu.api.openai.com",
      "OpenAI", "https://openai.com?x=1", "openai", "https://api.openai.com:443"))
  end)

  it("of the environment goes to nobody who looks like them", function()
    local names, words = {}, {}
    for _, url in ipairs { "https://api.deepseek.com.evil.test", "https://evildeepseek.com",
      "https://deepseek.com.", "https://deepseek.co", "https://deepseek-com.test",
      "https://evil.test/api.deepseek.com", "https://evil.test?.deepseek.com",
      "https://evil.test/?x=.deepseek.com", "https://deepseek.evil.test", "https://[::1]",
      "https://127.0.0.1", "https://localhost", "https://api.deepseek%2ecom",
      "https://evil.test%2f.deepseek.com", "https://evil.test%00.deepseek.com",
      "https://evil.test\239\188\143.deepseek.com", "https://api\227\128\130deepseek.com",
      "https://\208\176pi.deepseek.com", "https://api.openai.com", "http://api.deepseek.com",
      "https://api.deepseek.com.:1.evil.test" } do
      names[#names + 1] = "deepseek"
      names[#names + 1] = url
      words[#words + 1] = url == "https://deepseek.com." and "1" or "0"
    end
    -- the last one is refused: its port is none
    local refused = table.remove(names)
    table.remove(names)
    table.remove(words)
    assert.equal(table.concat(words, " "), keys_sent("DEEPSEEK_API_KEY=d", unpack(names)))
    assert.matches("a host and a path expected",
      keys_sent("DEEPSEEK_API_KEY=d", "deepseek", refused))
  end)

  it("of the environment is none when it is empty", function()
    assert.equal("0 0", keys_sent("DEEPSEEK_API_KEY= A_API_KEY=", "deepseek",
      "https://api.deepseek.com", "a", "https://a"))
    assert.equal("1 0", keys_sent("A_B_API_KEY=x", "a-b", "https://a", "ab", "https://a"))
  end)
end)
