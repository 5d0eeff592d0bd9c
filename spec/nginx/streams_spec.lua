local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local direct = require "spec.support.direct"
local engines = require "spec.support.engines"
local launcher = require "spec.support.launcher"
local sites = require "spec.support.site"

-- An upstream that says 50 MB in 50,000 events, as fast as they are taken.
local TALKER = [[
${modules}
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
events { worker_connections 64; }
http {
  access_log off;
  ${temp_paths}
  lua_shared_dict said 1m;
  server {
    listen 127.0.0.1:${port};
    location /said { content_by_lua_block { ngx.print(ngx.shared.said:get "n" or 0) } }
    location / { content_by_lua_block {
      local event = 'data: {"id":"x","object":"chat.completion.chunk","model":"m","choices":[{'
        .. '"index":0,"delta":{"content":"%06d%s"},"finish_reason":%s}]}\n\n'
      local filling = ("x"):rep(994)
      ngx.header.content_type = "text/event-stream"
      for i = 1, 50000 do
        ngx.print(event:format(i, filling, i < 50000 and "null" or '"stop"'))
        ngx.flush(true)
        ngx.shared.said:set("n", i)
      end
      ngx.print "data: [DONE]\n\n"
    } }
  }
}
]]

describe("inside nginx", function()
  local e
  setup(function() e = core.engine() end)
  teardown(function() e:close() end)

  it("a hundred streams share one connection over HTTP/2", function()
    local up = busyd.start { tls = true, workers = 1 }
    local site = sites.start { limiter = { initial = 1000, max = 1000 }, targets = {
      { name = "a", url = up.tls_url .. "/v1", tls = { ca = up.ca } } } }
    up:programme { latency = 1, token_interval = 0.05, reset = true }
    local said = site:get_many(100, "/stream?q=n%d.")
    for i = 1, 100 do assert.equal(("echo: n%d."):format(i), said[i]) end
    local counts = up:counts()
    assert.is_true(counts.in_service_max > 50, counts.in_service_max)
    assert.is_true(counts.connections <= 1, counts.connections)
    assert.equal("", site:faults())
    site:stop()
    up:stop()
  end)

  it("a client that reads slowly holds up its upstream, and fills no memory", function()
    local up = launcher.start { config = TALKER }
    local url = ("http://127.0.0.1:%d"):format(up.port)
    local site = sites.start { targets = { { name = "a", url = url } }, locations = [[
      location /kept { content_by_lua_block {
        collectgarbage()
        collectgarbage()
        ngx.print(collectgarbage "count")
      } }
    ]] }
    assert.equal("hi", (site:get "/hi"))
    local pid = site:workers()[1]
    local memory = sites.memory(pid)
    local id = assert(e:submit { url = site.url .. "/stream", method = "GET", headers = {} })
    engines.await_head(e, id) -- and then reads nothing
    local said = sites.await("the upstream is held up", function()
      local before = tonumber(engines.fetch(e, { url = url .. "/said", method = "GET",
        headers = {} }).body)
      direct.pause(0.5)
      local now = tonumber(engines.fetch(e, { url = url .. "/said", method = "GET",
        headers = {} }).body)
      return before > 0 and before == now and now
    end)
    assert.is_true(said < 20000, said) -- what the kernel takes on both ways
    assert.is_true(sites.memory(pid) < memory + 2e7, sites.memory(pid) - memory)
    assert.equal(1, site:status().core.transfers)
    local got = { pieces = {} }
    engines.drive(e, function() return engines.take(e, id, got) end)
    assert.same({ 50e6 }, { #got.body, got.code })
    for i = 1, 50000, 997 do
      assert.equal(i, tonumber(got.body:sub(i * 1000 - 999, i * 1000 - 994)))
    end
    sites.await("all is given back", function() return site:status().active == 0 end)
    assert.is_true(tonumber((site:get "/kept")) < 20000)
    assert.equal("", site:faults())
    site:stop()
    up:stop()
  end)

  it("a stream that nobody reads ends with its call's time", function()
    local up = busyd.start {}
    local site = sites.start { targets = { { name = "a", url = up.url .. "/v1" } }, locations = [[
      location /unread { content_by_lua_block {
        local stream = client:stream(question(), { deadline = 2 })
        ngx.print(stream:read().text)
        ngx.flush(true)
        while client:status().active > 0 do ngx.sleep(0.1) end
        local _, message, code = stream:read()
        ngx.print(code, ": ", message, "|", (select(3, stream:read())))
      } }
    ]] }
    up:programme { token_interval = 0.05, answer = { tokens = 1000 }, reset = true }
    assert.matches("timeout: .*|timeout$", (site:get "/unread"))
    assert.equal("", site:faults())
    sites.await("the upstream is left", function() return up:counts().in_service == 0 end)
    site:stop()
    up:stop()
  end)
end)
