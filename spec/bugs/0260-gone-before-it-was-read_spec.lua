-- A client that had gone before nginx read its request, as those do who wait for a worker that has
-- much to do and lose their patience, was not seen to have gone: nginx is told of it once, with the
-- request itself. Its call was made, and paid to the end. So was that of a client that said
-- something before it went: the next request, or, with TLS, good-bye (as curl and Go do).
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k" } }, gateway = { ping = false },
}]]

local CHAT = '"messages":[{"role":"user","content":"hi"}]}'

local function post(path, body)
  return ("POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"):format(path, #body, body)
end

local requests = {
  chat = post("/v1/chat/completions", "{" .. CHAT),
  stream = post("/v1/chat/completions", '{"stream":true,' .. CHAT),
  batch = post("/api/v1/batch", '{"requests":[{"prompt":"one"},{"prompt":"two"}]}'),
  pass = post("/v1/files", "x"),
  models = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
}

describe("a client of the gateway", function()
  local up, g, lines

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function()
    if up then up:stop() end
  end)

  local function begin(abort)
    up:programme { reset = true }
    up:programme { latency = abort == "on" and 60 or 0.1 }
    g = gateways.start { config = CONFIG, values = { url = up.url }, abort = abort }
    lines = 0
  end
  after_each(function()
    g:settle()
    g:stop()
    assert.equal("", g:errors())
  end)

  local function ended(status)
    lines = lines + 1
    assert.equal(status, g:log(lines).status)
  end

  -- What it sends is read when it has gone.
  local function send_and_go(bytes)
    local worker = files.output("pgrep -P " .. g.server.pid)
    os.execute("kill -STOP " .. worker)
    local s = g:connect()
    s:write(bytes)
    s:flush()
    s:close()
    os.execute("kill -CONT " .. worker)
  end

  for what, bytes in pairs(requests) do
    it("that has gone when its " .. what .. " is read makes no call", function()
      begin "on"
      send_and_go(bytes)
      ended(499)
      assert.equal(0, up:counts().received)
    end)
  end

  it("is served to the end where nginx is not to look for it", function()
    begin "off"
    send_and_go(requests.chat)
    ended(200)
    assert.equal(1, up:counts().received)
  end)

  for _, what in ipairs { "chat", "stream" } do
    it("that says something and goes ends its " .. what, function()
      begin "on"
      local s = g:connect()
      s:write(requests[what])
      s:flush()
      gateways.eventually(function() return up:counts().in_service == 1 end)
      s:write(requests.models)
      s:flush()
      s:close()
      ended(499)
      gateways.eventually(function() return up:counts().aborted_by_client == 1 end)
    end)
  end
end)
