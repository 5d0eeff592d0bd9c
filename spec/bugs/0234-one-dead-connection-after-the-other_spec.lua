-- A request whose kept connection had died was sent again on the next kept one. Servers close those
-- that have been idle for some seconds all at the same time (Node and uvicorn after five): then the
-- second one had died as well, and the call failed as `network`, "the connection was lost twice".
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local guard = require "spec.support.leak_guard"
local launcher = require "spec.support.launcher"
local unbusy = require "unbusy"

-- A server that answers one request on each connection, and closes it where there comes another.
local CONFIG = [[
${modules}
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log error;
events { worker_connections 1024; }
http {
  access_log off;
  ${temp_paths}
  server {
    listen 127.0.0.1:${port};
    listen 127.0.0.1:${port2} ssl;
    ssl_certificate ${tls}/tls.pem;
    ssl_certificate_key ${tls}/tls.key;
    location / {
      content_by_lua_block {
        ngx.req.read_body()
        if tonumber(ngx.var.connection_requests) > 1 then return ngx.exit(444) end
        ngx.sleep(0.2)
        ngx.print "{}"
      }
    }
  }
}
]]

local IDLE = 8 -- connections that are kept

describe("a request whose kept connection has died", function()
  guard.watch(before_each, after_each)
  local up, server
  setup(function()
    up = busyd.start { tls = true }
    server = launcher.start { config = CONFIG, values = { tls = up.dir } }
  end)
  teardown(function()
    up:stop()
    server:stop()
  end)

  for _, way in ipairs { "http", "https" } do
    it("is sent again on a new one, over " .. way, function()
      local e = core.engine()
      local url = way == "http" and ("http://localhost:%d/"):format(server.port)
        or ("https://localhost:%d/"):format(server.port2)
      local function ask(count)
        local ids = {}
        for i = 1, count do
          ids[i] = assert(e:submit { url = url, method = "POST", headers = {}, body = "x",
            ca_file = up.ca })
        end
        for _, got in ipairs(engines.finish_all(e, ids)) do
          assert.same({ nil, "{}", count == 1 },
            { got.code, got.body, got.info.resent }, got.message)
          assert.is_false(got.info.reused)
        end
      end
      ask(IDLE)
      for _ = 1, IDLE do ask(1) end
      e:close()
    end)
  end

  it("is no failure of a call", function()
    local client = unbusy.new { retry = false, targets = {
      { name = "a", url = ("http://localhost:%d"):format(server.port), key = "k" } } }
    unbusy.run(function()
      for _ = 1, IDLE do
        unbusy.spawn(function() assert(client:post("/", "x")) end)
      end
    end)
    assert.equal(200, assert(client:post("/", "x")).status)
    client:close()
  end)
end)
