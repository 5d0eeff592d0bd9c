-- Behind `listen [::]:8080 ipv6only=off` nginx writes 127.0.0.1 as ::ffff:127.0.0.1, which was
-- taken for another machine: pages of other sites could use a gateway without keys, and its status
-- was refused to who sat before it.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"

local CONFIG = 'return { targets = { { name = "main", url = "${url}/v1", key = "k" } } }'

describe("an address of IPv4 that is written as one of IPv6", function()
  local up, g

  setup(function()
    up = busyd.start { workers = 1 }
    g = gateways.start { config = CONFIG, values = { url = up.url },
      http = "real_ip_header x-real-from; set_real_ip_from 127.0.0.1;" }
  end)
  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  local function ask(from, path, body, origin)
    return g:ask(path, { body = body, headers = { "x-real-from: " .. from, origin } }).status
  end

  local QUESTION = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'

  it("is of this machine, where the other one is", function()
    for _, from in ipairs { "127.0.0.1", "::ffff:127.0.0.1", "::1" } do
      assert.equal(200, ask(from, "/status.json"))
      assert.equal(403, ask(from, "/v1/chat/completions", QUESTION, "origin: https://evil.example"))
      assert.equal(200, ask(from, "/v1/chat/completions", QUESTION))
    end
    for _, from in ipairs { "10.0.0.1", "::ffff:10.0.0.1", "::ffff:1270:1" } do
      assert.equal(403, ask(from, "/status.json"))
    end
  end)
end)
