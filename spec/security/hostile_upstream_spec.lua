-- An upstream that wishes us ill: whatever bytes it answers with, the call ends once, as an answer
-- or a failure; what is said of it fits on a line and is obeyed by no terminal and no log; and it
-- takes no more memory than was allowed. (See bad_input/hostile_spec, too.)
local contract = require "spec.fuzz.contract"
local engines = require "spec.support.engines"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local raw_server = require "spec.support.raw_server"
local unbusy = require "unbusy"

local KEY = "sk-q7w4711zzkvx"
local OK = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
local MOST = 2 ^ 20

local function packed(bytes, layers)
  return files.output(("head -c %d /dev/zero | %s"):format(bytes,
    ("gzip -9 | "):rep(layers):sub(1, -4)))
end

describe("an upstream that wishes us ill", function()
  local raw, client
  setup(function() raw = raw_server.start() end)
  teardown(function() if raw then raw:stop() end end)
  guard.watch(before_each, after_each)
  before_each(function()
    client = unbusy.new { retry = { attempts = 1 }, breaker = false, limiter = false,
      clocks = { total = 60 }, targets = { { name = "a", url = raw.url:gsub("/$", ""), key = KEY,
        proxy = false, limits = { body = MOST } } } }
  end)
  after_each(function() client:close() end)

  -- Its answer to one call, byte for byte: a reply, or the failure's code and message.
  local function ask(bytes)
    local reply, message, code, detail = client:post("/exact", bytes,
      { headers = { "content-type: application/octet-stream" } })
    if reply then return reply end
    contract.failure(reply, message, code, detail, KEY)
    return nil, code, message
  end

  local function fails(bytes, expected, words)
    local reply, code, message = ask(bytes)
    assert.is_nil(reply, bytes:sub(1, 60))
    assert.is_truthy((" " .. expected .. " "):find(" " .. code .. " ", 1, true),
      code .. " of " .. bytes:sub(1, 60))
    if words then assert.is_truthy(message:find(words, 1, true), message) end
  end

  it("says a length beyond all numbers, with which a cut would look like the end", function()
    for _, length in ipairs { "99999999999999999999", "9223372036854775808", ("9"):rep(400),
      "18446744073709551621" } do
      fails(OK .. "Content-Length: " .. length .. "\r\n\r\nhello", "upstream", "is no number")
    end
  end)

  it("hides an answer behind its answer", function()
    local reply = ask(OK .. "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. '11\r\n{"choices":[{}]}\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nsecond')
    assert.equal('{"choices":[{}]}\n', reply.raw) -- chunks decide: RFC 9112 6.3
  end)

  it("packs much into little, in layers", function()
    local before = engines.memory()
    for layers = 1, 3 do
      local bomb = packed(2 ^ 26, layers)
      fails(("%sContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s"):format(OK,
        ("gzip, "):rep(layers):sub(1, -3), #bomb, bomb), "upstream", "larger than allowed")
    end
    fails(OK .. "Content-Encoding: " .. ("gzip, "):rep(50) .. "gzip\r\n\r\nx", "upstream network")
    assert.is_true(engines.memory() - before < (os.getenv "UNBUSY_SANITIZED" and 128e6 or 32e6))
  end)

  it("says what a terminal, a log or a page would obey", function()
    for _, words in ipairs { "\\u001b[2J\\u001b]0;owned\\u0007", "a\\r\\nx-evil: 1", "\\u0000",
      "\\u009b31m", "\\u2028", "<script>alert(1)</script>", KEY, "%s%n%d", "a\\tb\\nc" } do
      for _, status in ipairs { "400 Bad", "401 No", "429 Busy", "500 Oh", "503 \27[2J" } do
        local body = ('{"error":{"message":"%s","code":"%s","type":"%s"}}'):format(words, words,
          words)
        fails(("HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(status,
          #body, body), "invalid auth limited busy upstream quota")
      end
    end
    for _, line in ipairs { "X-A: b\0c", "X-A: \27[2J", "X\0A: b", ": b", "X-A", "X-A: b\rX-B: c",
      " folded", ("x"):rep(70000) .. ": b", "X-Request-Id: " .. KEY } do
      local reply = ask(OK .. line .. "\r\nContent-Length: 2\r\n\r\n{}")
      for name, value in pairs(reply and reply.headers or {}) do
        assert.is_nil((name .. value):find "[\r\n]")
        assert.is_nil(value:find(KEY, 1, true))
      end
    end
  end)

  it("sends us elsewhere, to a file or another host", function()
    for _, to in ipairs { "file:///etc/passwd", "gopher://127.0.0.1:1/x", "http://169.254.169.254/",
      "//evil.example/", "http://a:b@127.0.0.1:1/", "javascript:alert(1)", "\27[2J" } do
      for _, status in ipairs { 301, 302, 303, 307, 308 } do
        fails(("HTTP/1.1 %d Go\r\nConnection: close\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n")
          :format(status, to), "upstream", "redirected, not followed")
      end
    end
  end)
end)
