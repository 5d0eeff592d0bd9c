-- A body that nginx had put into a file was read into room for the largest one that
-- `gateway.body` allows: of 1 GB for each small request, and from 2 GiB on there was "not enough
-- memory", and the answer to every such request was 500.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"

local CONFIG = [[return { targets = { { name = "main", url = "${url}/v1", key = "k" } },
  gateway = { body = ${body} } }]]

local HEAP = [[location = /__heap { access_log off; content_by_lua_block {
  ngx.print(math.floor(collectgarbage "count")) } }]]

describe("a body that went by way of a file", function()
  local up

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() if up then up:stop() end end)

  -- The status of a request with a body of about 50 kB, and how many MB Lua's heap is then.
  local function ask(limit)
    local g = gateways.start { config = CONFIG, values = { url = up.url, body = limit },
      server = "client_body_buffer_size 8k;" .. HEAP }
    local text = '{"model":"m","messages":[{"role":"user","content":"' .. ("x"):rep(50000) .. '"}]}'
    local status = g:ask("/v1/chat/completions", { body = text }).status
    local heap = tonumber(g:ask("/__heap").body) / 1024
    g:stop()
    return status, heap
  end

  it("takes the room that it needs, whatever may come", function()
    for _, limit in ipairs { "2^29", "2^31", "2^40" } do
      local status, heap = ask(limit)
      assert.equal(200, status)
      assert.is_true(heap < 100, heap)
    end
    assert.equal(200, (ask "60000"))
    assert.equal(413, (ask "40000"))
  end)
end)
