-- A client that goes in the midst of its answer is noticed by a write that fails, where nginx does
-- not tell before (`lua_check_client_abort off`, and sometimes with it). Such a call stood as
-- answered on the status page, which says that it counts none of them, and in the log without a
-- code, beside those whose answers were whole; the metrics had it as cancelled.
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "up", url = "http://127.0.0.1:${port2}/v1", key = "k" } },
  retry = false, metrics = true, gateway = { status = true, ping = false },
}]]

local chunk = 'data: {"choices":[{"index":0,"delta":{"content":"' .. ("x"):rep(900) .. '"}}]}\\n\\n'

-- A server whose answers take some seconds.
local UPSTREAM = [[server {
  listen 127.0.0.1:${port2};
  access_log off;
  default_type text/event-stream;
  limit_rate 1000;
  location / { return 200 ']] .. chunk:rep(3) .. [['; }
}]]

local STREAM = '{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'

local function calls_of(g)
  local answers = 0
  for _, counts in pairs(json.decode(g:ask("/status.json").body).hour.answers) do
    for _, n in ipairs(counts) do answers = answers + n end
  end
  local counted = {}
  for labels in g:ask("/metrics").body:gmatch "unbusy_calls_total(%b{}) 1" do
    counted[#counted + 1] = labels:match 'source="(%a+)"' .. " " .. labels:match 'code="(%a*)"'
  end
  return answers, counted
end

for _, abort in ipairs { "off", "on" } do
  describe("a client that goes in the midst, lua_check_client_abort " .. abort .. ",", function()
    for what, path in pairs { ["of a stream"] = "/v1/chat/completions",
      ["of what is passed on"] = "/v1/audio" } do
      it(what .. " has had no answer", function()
        local g = gateways.start { config = CONFIG, http = UPSTREAM, values = {}, abort = abort }
        local s = g:connect()
        s:write(("POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"):format(path,
          #STREAM, STREAM))
        s:flush()
        repeat until s:read("*l"):find "^data:"
        s:close()
        local line = g:log(1)
        g:settle()
        local answers, counted = calls_of(g)
        g:stop()
        assert.same({ answers = 0, counted = { "none cancelled" } },
          { answers = answers, counted = counted })
        assert.same({ 499, "cancelled", "up" }, { line.status, line.code, line.target })
      end)
    end
  end)
end
