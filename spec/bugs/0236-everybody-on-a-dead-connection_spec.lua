-- Over HTTP/2 all calls to a server share one connection. Where the process at its other end hung
-- (behind one port there are many: workers, or pods behind a balancer), each new call was put on
-- it, too, as long as others waited there: none was answered any more, with a breaker or without,
-- though a new connection would have led to somebody who was well.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local engines = require "spec.support.engines"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local launcher = require "spec.support.launcher"
local unbusy = require "unbusy"

local CONFIG = [[
${modules}
daemon off;
${user}
pid ${dir}/nginx.pid;
error_log ${dir}/error.log error;
worker_processes 3;
events { worker_connections 1024; accept_mutex off; }
http {
  access_log off;
  ${temp_paths}
  server {
    listen 127.0.0.1:${port} ssl http2;
    ssl_certificate ${tls}/tls.pem;
    ssl_certificate_key ${tls}/tls.key;
    location / { content_by_lua_block { ngx.req.read_body() ngx.print(ngx.worker.pid()) } }
  }
}
]]

describe("a connection of HTTP/2 whose other end hangs", function()
  guard.watch(before_each, after_each)
  local up, server, frozen
  setup(function()
    up = busyd.start { tls = true }
    server = launcher.start { config = CONFIG, values = { tls = up.dir,
      user = files.output "id -u":match "^0%s" and "user root root;" or "" } }
  end)
  teardown(function()
    up:stop()
    server:stop()
  end)

  local function freeze(pid)
    frozen = pid
    os.execute("kill -STOP " .. pid)
  end
  local function thaw()
    if frozen then os.execute("kill -CONT " .. frozen) end
    frozen = nil
  end
  after_each(thaw)

  local function request()
    return { url = ("https://localhost:%d/"):format(server.port), method = "POST", headers = {},
      body = "x", ca_file = up.ca }
  end

  local function wait(e, seconds)
    local limit = core.now() + seconds
    while core.now() < limit do
      e:wait(limit - core.now())
      e:step()
    end
  end

  it("gets no new requests, until it is heard again", function()
    local e = core.engine()
    freeze(engines.fetch(e, request()).body)
    local given_up, kept = e:submit(request()), e:submit(request())
    wait(e, 1.5)
    e:cancel(given_up)
    for _ = 1, 3 do
      local got = engines.fetch(e, request())
      assert.same({ 200, false }, { got.status, got.info.http2 })
      assert.not_equal(frozen, got.body)
    end
    thaw()
    assert.is_true(engines.finish_all(e, { kept })[1].info.http2)
    local got = engines.fetch(e, request())
    assert.same({ 200, true, true }, { got.status, got.info.http2, got.info.reused })
    e:close()
  end)

  it("gets them while nobody has waited for long, or something comes", function()
    local e = core.engine()
    freeze(engines.fetch(e, request()).body)
    local given_up, kept = e:submit(request()), e:submit(request())
    wait(e, 0.1)
    e:cancel(given_up) -- that says nothing
    local next_one = e:submit(request())
    wait(e, 1.5)
    thaw()
    for _, got in ipairs(engines.finish_all(e, { kept, next_one })) do
      assert.same({ 200, true, true }, { got.status, got.info.http2, got.info.reused })
    end
    e:close()
  end)

  it("does not hold up whoever calls", function()
    local client = unbusy.new { retry = false, targets = { { name = "a", key = "k",
      url = ("https://localhost:%d"):format(server.port), tls = { ca = up.ca } } } }
    local answered = 0
    unbusy.run(function()
      freeze(assert(client:post("/", "x")).raw)
      for _ = 1, 20 do
        unbusy.spawn(function()
          if client:post("/", "x", { deadline = 2 }) then answered = answered + 1 end
        end)
        unbusy.sleep(0.3)
      end
    end)
    thaw()
    client:close()
    assert.is_true(answered >= 5, ("%d of 20 were answered"):format(answered))
  end)
end)
