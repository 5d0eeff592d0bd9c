-- What may not be done twice (a POST that is passed on) is sent but once, also where the connection
-- that was kept for it had died on the way. Servers that close theirs after five seconds made
-- whoever asked every five seconds fail again and again, with "the connection was lost before an
-- answer" and the remark that it may have been carried out.
local guard = require "spec.support.leak_guard"
local launcher = require "spec.support.launcher"
local unbusy = require "unbusy"

-- A server that closes a connection where a second request comes after a rest.
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
  lua_shared_dict state 1m;
  server {
    listen 127.0.0.1:${port};
    location / {
      content_by_lua_block {
        ngx.req.read_body()
        local state, name = ngx.shared.state, ngx.var.connection
        local last = state:get(name)
        ngx.update_time()
        if last and ngx.now() - last > 1.9 then return ngx.exit(444) end
        state:set(name, ngx.now())
        ngx.header["x-requests"] = ngx.var.connection_requests
        ngx.print "{}"
      }
    }
  }
}
]]

describe("what is sent but once", function()
  guard.watch(before_each, after_each)
  local server
  setup(function() server = launcher.start { config = CONFIG } end)
  teardown(function() server:stop() end)

  it("goes out on no connection that has rested", function()
    local client = unbusy.new { retry = false, targets = {
      { name = "a", url = ("http://127.0.0.1:%d"):format(server.port), key = "k" } } }
    local function pass()
      local answer = assert(client:pass { method = "POST", path = "/x", body = "x" })
      assert.equal("{}", answer:body())
      return answer.headers["x-requests"]
    end
    assert.equal("1", pass())
    assert.equal("2", pass()) -- one that was just used is as good as new
    for _ = 1, 2 do
      unbusy.sleep(2.2)
      assert.equal("1", pass())
    end
    client:close()
  end)
end)
