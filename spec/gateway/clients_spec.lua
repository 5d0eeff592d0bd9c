local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "sk-upstream-4711" } },
  retry = { attempts = 3, base = 0.01 }, gateway = { ping = false },
}]]

local function request(body)
  return ("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s")
    :format(#body, body)
end

local QUESTION = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
local STREAM = '{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'

for _, abort in ipairs { "on", "off" } do
  describe("a client of the gateway, with lua_check_client_abort " .. abort .. ",", function()
    local up, g, lines

    setup(function()
      up = busyd.start { workers = 1 }
      g = gateways.start { config = CONFIG, values = { url = up.url }, abort = abort,
        server = "send_timeout 1s;" }
      lines = 0
    end)

    teardown(function()
      if g then g:stop() end
      if up then up:stop() end
    end)

    before_each(function() up:programme { reset = true } end)

    after_each(function()
      g:settle()
      assert.is_nil(g:errors():find("[error]", 1, true))
    end)

    local function ended(status)
      lines = lines + 1
      local line = g:log(lines)
      assert.equal(status, line.status)
      return line
    end

    local function aborted()
      gateways.eventually(function() return up:counts().aborted_by_client == 1 end)
    end

    it("goes while its stream comes, and the upstream's ends too", function()
      up:programme { token_interval = 0.05, answer = { tokens = 2000 } }
      local s = g:connect()
      s:write(request(STREAM))
      s:flush()
      repeat until s:read("*l"):find "^data:"
      s:close()
      aborted()
      assert.equal("main", ended(499).target)
    end)

    if abort == "on" then
      for what, body in pairs { answer = QUESTION, stream = STREAM } do
        it("goes before its " .. what .. " begins, and the upstream's call ends", function()
          up:programme { latency = 60 }
          local s = g:connect()
          s:write(request(body))
          s:flush()
          gateways.eventually(function() return up:counts().in_service == 1 end)
          s:close()
          aborted()
          assert.equal("cancelled", ended(499).code)
        end)
      end

      it("goes while its call waits in line, and leaves the line", function()
        up:programme { script = { { preset = "rate_limited", retry_after = 60 } } }
        local s = g:connect()
        s:write(request(QUESTION))
        s:flush()
        gateways.eventually(function() return up:counts().refused + up:counts().faulted == 1 end)
        s:close()
        ended(499)
        g:stop() -- the target rests
        g = gateways.start { config = CONFIG, values = { url = up.url }, abort = abort,
          server = "send_timeout 1s;" }
        lines = 0
      end)
    end

    it("that reads nothing is let go, and holds nothing up", function()
      local event = ('data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n')
        :format(("x"):rep(65536))
      up:programme { script = { { body = event:rep(256), -- more than kernels keep
        headers = { ["content-type"] = "text/event-stream" } } } }
      local s = g:connect()
      s:write(request(STREAM))
      s:flush()
      ended(499)
      s:close()
    end)

    it("that reads a byte at a time gets all of it", function()
      up:programme { answer = { tokens = 50 } }
      local s = g:connect()
      s:write(request(STREAM:gsub("^{", '{"x":1,')))
      s:flush()
      local out = {}
      repeat out[#out + 1] = s:read(1) until table.concat(out, "", math.max(1, #out - 13))
        :find("[DONE]", 1, true)
      s:close()
      ended(200)
    end)
  end)
end
