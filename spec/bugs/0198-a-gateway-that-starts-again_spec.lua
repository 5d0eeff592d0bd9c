-- `unbusy top` ended when the gateway that it watched did not answer once: with a gateway that is
-- started again, which is when one looks. The page of /status keeps what it knew, and goes on.
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local launcher = require "spec.support.launcher"
local served = require "spec.support.served"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

-- A gateway that answers, does not after GET /down, and does again after GET /up.
local SERVER = [[
${modules}
daemon off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
events { worker_connections 64; }
http {
  access_log off;
  ${temp_paths}
  lua_shared_dict state 32k;
  server {
    listen 127.0.0.1:${port};
    default_type application/json;
    location / { content_by_lua_block {
      local state, uri = ngx.shared.state, ngx.var.uri
      if uri == "/up" or uri == "/down" then state:set("now", uri) return ngx.exit(204) end
      if state:get "now" == "/down" then return ngx.exit(444) end
      ngx.print '{"version":"9","targets":[{"name":"up","state":"closed"}]}'
    } }
  }
}
]]

describe("unbusy top", function()
  local server, place, pid, url

  setup(function()
    server, place = launcher.start { config = SERVER }, served.place()
    url = "http://127.0.0.1:" .. server.port
  end)
  teardown(function()
    if pid then os.execute("kill " .. pid .. " 2>/dev/null") end
    if server then server:stop() end
    if place then place:remove() end
  end)

  it("goes on where the gateway does not answer for a while", function()
    local screen = place.dir .. "/screen"
    local function drawn(pattern)
      return select(2, files.text(screen):gsub("\27%[H\27%[J" .. pattern, ""))
    end
    local function wait(pattern, n, what)
      served.wait(function() return drawn(pattern) >= n end, what)
    end
    pid = files.trimmed(("env TERM=xterm setsid script -qfec 'stty rows 20 cols 70; %s "
      .. "bin/unbusy top --every 0.1 --url %s' /dev/null </dev/null >%s 2>&1 "
      .. "& echo $!"):format(lua, url, screen))
    wait("unbusy 9: no target is out", 1, "a drawing")
    direct.ask("GET", url .. "/down")
    wait("as it last was: [^\r\n]+\r\nunbusy 9: ", 12, "one without the gateway")
    local before = drawn "unbusy 9: "
    direct.ask("GET", url .. "/up")
    wait("unbusy 9: ", before + 2, "one with it again")
  end)

  it("ends where it never answers", function()
    direct.ask("GET", url .. "/down")
    local r = place:run { "top", "--url", url }
    assert.equal(1, r.rc)
  end)
end)
