-- An upstream that speaks HTTP/2, and wishes us ill: frames that are none, in the wrong place, or
-- without end. Each call ends once, as an answer or a failure, within its time and its memory. The
-- frames are put together here; OpenSSL's own server carries them, as they are, over TLS.
local contract = require "spec.fuzz.contract"
local direct = require "spec.support.direct"
local engines = require "spec.support.engines"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local served = require "spec.support.served"
local unbusy = require "unbusy"

local DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
  CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
local END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8 -- flags

-- {== Frames ==============================================================

-- A number of so many bytes, the highest first.
local function number(n, bytes)
  local out = {}
  for i = bytes, 1, -1 do
    out[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(out)
end

-- RFC 9113 4.1; `length`: what it says of itself, where that is not true.
local function frame(kind, flags, stream, payload, length)
  payload = payload or ""
  return number(length or #payload, 3) .. string.char(kind, flags) .. number(stream, 4) .. payload
end

-- A header that is not indexed, its words as they are (RFC 7541 6.2.2).
local function literal(name, value)
  return "\0" .. string.char(#name) .. name .. string.char(#value) .. value
end

local OK = "\136" -- :status 200, of the static table
local BEGIN = frame(SETTINGS, 0, 0) .. frame(SETTINGS, ACK, 0)
local BODY = '{"choices":[]}'

local function head(fields, flags) return frame(HEADERS, flags or END_HEADERS, 1, fields) end

local ANSWER = head(OK) .. frame(DATA, END_STREAM, 1, BODY)

-- }========================================================================

-- {== The server ==========================================================

local dir

local function listens(port)
  local wanted = (":%04X 00000000:0000 0A"):format(port)
  return (files.find "/proc/net/tcp" or ""):find(wanted, 1, true)
end

-- One connection's server: what is written to it goes to the client, and what that sends is in
-- the file `asked`.
local function start()
  local port
  repeat port = served.free_port() until not listens(port)
  local pipe = assert(io.popen(("exec setpriv --pdeathsig KILL openssl s_server -quiet -naccept 1 "
    .. "-alpn h2 -accept 127.0.0.1:%d -cert %s/cert.pem -key %s/key.pem >%s/asked 2>/dev/null")
    :format(port, dir, dir, dir), "w"))
  for _ = 1, 500 do
    if listens(port) then return port, pipe end
    direct.pause(0.01)
  end
  error "openssl does not listen"
end

-- Waits for the header of the first stream, which is the question; is it there?
local function wait_until_asked()
  for _ = 1, 500 do
    if files.read(dir .. "/asked"):find "\1.%z%z%z\1" then return true end
    unbusy.sleep(0.01)
  end
  return false
end

-- The answer of a server that sends `before` at once and `bytes` once it has been asked.
local function ask(before, bytes, seconds)
  local port, pipe = start()
  local client = unbusy.new { retry = { attempts = 1 }, breaker = false, limiter = false,
    clocks = { total = seconds or 20 }, targets = { { name = "a", key = "sk-q7w4711zzkvx",
      url = ("https://127.0.0.1:%d"):format(port), proxy = false, tls = { verify = false },
      limits = { body = 2 ^ 20 } } } }
  local results, asked = nil, bytes == ""
  unbusy.run(function()
    unbusy.spawn(function()
      pipe:write(before)
      pipe:flush()
      if asked then return end
      asked = wait_until_asked()
      if not asked then return end
      pipe:write(bytes)
      pipe:flush()
    end)
    results = { client:post("/exact", "{}") }
  end)
  client:close()
  pipe:close()
  assert.is_true(asked, "nobody has asked")
  return results[1], results[2], results[3], results[4]
end

local function fails(before, bytes, expected, seconds)
  local reply, message, code, detail = ask(before, bytes, seconds)
  contract.failure(reply, message, code, detail, "sk-q7w4711zzkvx")
  assert.is_truthy((" " .. expected .. " "):find(" " .. code .. " ", 1, true),
    code .. ": " .. message)
end

-- }========================================================================

describe("an upstream that speaks HTTP/2 and wishes us ill", function()
  setup(function()
    dir = files.trimmed "mktemp -d"
    files.output(("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
      .. "-nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem 2>&1"):format(dir))
  end)
  teardown(function() os.execute("rm -r " .. files.quote(dir)) end)
  guard.watch(before_each, after_each)

  it("may also answer well", function()
    local reply = assert(ask(BEGIN, ANSWER))
    assert.equal(BODY, reply.raw)
    reply = assert(ask(BEGIN, frame(PING, 0, 0, ("p"):rep(8)):rep(500)
      .. head(literal(":status", "103")) .. head(OK, 0) .. frame(CONTINUATION, END_HEADERS, 1,
        literal("x-a", "b")) .. frame(DATA, END_STREAM, 1, BODY)))
    assert.equal("b", reply.headers["x-a"])
    assert.equal(BODY, reply.raw)
  end)

  it("speaks something else", function()
    fails("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "", "network upstream")
    fails(("\0"):rep(5000), "", "network upstream timeout", 1)
    fails(("\255"):rep(5000), "", "network upstream")
    fails("", "", "network upstream timeout", 1)
  end)

  it("sends frames that are none, or none there", function()
    for what, bytes in pairs {
      ["larger than allowed"] = frame(DATA, 0, 1, ("x"):rep(100), 0xffffff),
      ["data before its header"] = frame(DATA, END_STREAM, 1, BODY),
      ["a header of a stream that we did not open"] = frame(HEADERS, END_HEADERS, 2, OK),
      ["a promise, which we do not take"] = frame(PUSH_PROMISE, END_HEADERS, 1, number(2, 4) .. OK),
      ["the rest of a header that has not begun"] = frame(CONTINUATION, END_HEADERS, 1, OK),
      ["data in the midst of a header"] = head(OK, 0) .. frame(DATA, END_STREAM, 1, BODY),
      ["settings of a wrong length"] = frame(SETTINGS, 0, 0, "12345"),
      ["settings of a stream"] = frame(SETTINGS, 0, 1, ""),
      ["a window beyond all bounds"] = frame(WINDOW_UPDATE, 0, 0, "\127\255\255\255"):rep(2),
      ["a window of nothing"] = frame(WINDOW_UPDATE, 0, 0, "\0\0\0\0"),
      ["a ping of a wrong length"] = frame(PING, 0, 0, "1234"),
      ["a goodbye"] = frame(GOAWAY, 0, 0, number(0, 4) .. number(1, 4) .. "go away"),
    } do
      local fine, message = pcall(fails, BEGIN, bytes, "network upstream cut")
      assert.is_true(fine, what .. ": " .. tostring(message))
    end
    fails(BEGIN, head(OK) .. frame(DATA, PADDED + END_STREAM, 1, "\255x"), -- libcurl waits on
      "network upstream timeout", 1)
    for code = 0, 14 do -- (13 has libcurl ask again over HTTP/1.1, whom nobody answers)
      fails(BEGIN, frame(RST_STREAM, 0, 1, number(code, 4)), "network upstream cut timeout", 2)
    end
  end)

  it("sends headers that are none", function()
    for what, fields in pairs {
      ["an index beyond the table"] = "\255\255\255\127",
      ["an index without an end"] = ("\255"):rep(60),
      ["a length beyond its end"] = "\0\127",
      ["a bad code of Huffman's"] = "\0\129\255\129\255",
      ["no status"] = literal("content-type", "application/json"),
      ["two of them"] = OK .. OK,
      ["one that is none"] = literal(":status", "20x"),
      ["upper case"] = OK .. literal("X-Upper", "a"),
      ["of a request"] = OK .. literal(":path", "/"),
      ["of a connection"] = OK .. literal("transfer-encoding", "chunked"),
      ["two lengths"] = OK .. literal("content-length", "14") .. literal("content-length", "15"),
      ["a length that is none"] = OK .. literal("content-length", "1e3"),
    } do
      local fine, message = pcall(fails, BEGIN, head(fields) .. frame(DATA, END_STREAM, 1, BODY),
        "network upstream cut")
      assert.is_true(fine, what .. ": " .. tostring(message))
    end
  end)

  it("puts no header in by the value of another one", function()
    for _, value in ipairs { "b\r\nx-evil: 1", "b\nx-evil: 1", "b\0c", "\27[2J" } do
      local reply, message, code, detail = ask(BEGIN, head(OK .. literal("x-a", value))
        .. frame(DATA, END_STREAM, 1, BODY))
      if not reply then
        contract.failure(reply, message, code, detail)
      else
        assert.is_nil(reply.headers["x-evil"])
        for _, text in pairs(reply.headers) do assert.is_nil(text:find "[\r\n%z]") end
      end
    end
  end)

  it("breaks off, which never looks like an end", function()
    fails(BEGIN, head(OK .. literal("content-length", "100")) .. frame(DATA, END_STREAM, 1, BODY),
      "network upstream cut")
    for _, last in ipairs { frame(RST_STREAM, 0, 1, number(0, 4)), frame(RST_STREAM, 0, 1,
      number(2, 4)), frame(GOAWAY, 0, 0, number(0, 4) .. number(2, 4)), "garbage and more" } do
      fails(BEGIN, head(OK) .. frame(DATA, 0, 1, BODY) .. last, "network upstream cut timeout", 2)
    end
    fails(BEGIN, head(OK) .. frame(DATA, 0, 1, BODY), "timeout cut", 1)
  end)

  it("packs much into little: one long header, named again and again", function()
    local before = engines.memory()
    local kept = "\64\3x-b\127\161\30" .. ("v"):rep(4000) -- RFC 7541 6.2.1: entry 62 from now on
    fails(BEGIN, head(OK .. kept .. ("\190"):rep(10000)) .. frame(DATA, END_STREAM, 1, BODY),
      "network upstream")
    assert.is_true(engines.memory() - before < (os.getenv "UNBUSY_SANITIZED" and 128e6 or 32e6))
  end)

  it("goes on without an end: pieces of a header, pings, settings, empty data", function()
    local flood = {
      head(OK, 0) .. frame(CONTINUATION, 0, 1, literal("x-a", ("v"):rep(100))):rep(400),
      frame(PING, 0, 0, ("p"):rep(8)):rep(3000), frame(SETTINGS, 0, 0, ""):rep(5000),
      head(OK) .. frame(DATA, 0, 1, ""):rep(5000),
      head(literal(":status", "103")):rep(3000),
    }
    for _, bytes in ipairs(flood) do fails(BEGIN, bytes, "network upstream timeout cut", 2) end
  end)
end)
