-- What workers share lives on over a reload. When the new configuration gave a target another URL,
-- the answers of the old server were given for those of the new one, and the breaker that the old
-- one had opened kept everybody from the new one.
local client = require "unbusy.client"
local gateways = require "spec.support.gateways"
local region = require "unbusy.region"

local CONFIG = [[return {
  targets = { { name = "main", url = "http://127.0.0.1:${port2}/old", key = "k1" } }, retry = false,
  breaker = { consecutive = 2, open_for = 600 }, cache = { temperature = 2, stale = 0 },
}]]

local UPSTREAM = [[server {
  listen 127.0.0.1:${port2};
  access_log off;
  default_type application/json;
  location / { return 200 '{"choices":[{"message":{"content":"$uri"},"finish_reason":"stop"}]}'; }
  location /bad/ { return 500 '{}'; }
}]]

describe("a server with the name of another one", function()
  local g

  teardown(function() if g then g:stop() end end)

  local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
  end

  local function reload(place)
    local path, old = g.dir .. "/gateway.lua", g:ask("/__pid").body
    local text = read(path):gsub("(127.0.0.1:%d+/)%a+", "%1" .. place)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    os.execute("kill -HUP " .. read(g.dir .. "/nginx.pid"))
    gateways.eventually(function()
      local lives = os.execute("kill -0 " .. old .. " 2>/dev/null") -- LuaJIT: 0 for true
      return not lives or lives ~= true and lives ~= 0
    end)
  end

  local function ask(text)
    return g:ask("/v1/chat/completions", { body =
      ('{"model":"m","messages":[{"role":"user","content":"%s"}]}'):format(text) })
  end

  it("has neither its answers nor its breaker, after a reload", function()
    g = gateways.start { config = CONFIG, http = UPSTREAM, values = {}, server = [[
      location = /__pid {
        access_log off;
        content_by_lua_block { ngx.print(ngx.worker.pid()) }
      }
    ]] }
    assert.is_truthy(ask("a").body:find("/old/", 1, true))
    assert.equal("cache", ask("a").headers["x-unbusy-source"])
    reload "new"
    assert.is_truthy(ask("a").body:find("/new/", 1, true))
    reload "bad"
    for i = 1, 3 do ask("b" .. i) end
    assert.equal(503, ask("c").status)
    reload "new"
    assert.equal(200, ask("d").status)
    assert.equal("cache", ask("a").headers["x-unbusy-source"]) -- its own one is still there
    assert.is_nil(g:errors():find("do not share", 1, true))
  end)

  it("has them where both are the same", function()
    local r = assert(region.new { bytes = 8 * 1024 * 1024 })
    local function new(url)
      return assert(client.new { region = r, cache = { entries = 10, bytes = 10000 },
        targets = { { name = "main", url = url, key = "k" } } })
    end
    local a = new "http://127.0.0.1:1/v1"
    local parts = r:stats().parts
    local b = new "http://127.0.0.1:1/v1"
    assert.equal(parts, r:stats().parts)
    local c = new "http://127.0.0.1:2/v1"
    assert.equal(parts + 1, r:stats().parts)
    for _, made in ipairs { a, b, c } do made:close() end
    r:close()
  end)
end)
