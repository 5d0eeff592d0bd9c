local gateways = require "spec.support.gateways"
local unbusy = require "unbusy"

local TARGETS = { { name = "main", url = "http://127.0.0.1:1/v1" } }

describe("a gateway's options", function()
  local function message_of(gateway)
    local ok, message = pcall(function()
      unbusy.new { targets = TARGETS, gateway = gateway }
    end)
    assert.is_false(ok)
    return message
  end

  it("are part of the client's", function()
    unbusy.new({ targets = TARGETS, gateway = {} }):close()
    unbusy.new({ targets = TARGETS, gateway = { keys = { "a", { key = "b", name = "n", calls = 1,
      tokens = 1 } }, body = 1, ping = false, forward = { "X-A" }, controls = {}, pass = false,
      trace = true } }):close()
  end)

  it("are checked", function()
    for what, wrong in pairs {
      ["unknown option 'gateway.key', did you mean 'keys'?"] = { key = {} },
      ["gateway.keys: a list of length at least 1 expected, got 0"] = { keys = {} },
      ["gateway.keys: list expected, got a string"] = { keys = "sk" },
      ["unbusy: gateway.keys[1]: a text without blanks and control characters expected"] =
        { keys = { "" } },
      ["unbusy: gateway.keys[2]: a text without blanks"] = { keys = { "a", "b c" } },
      ["unbusy: gateway.keys[2]: the same as keys[1]"] = { keys = { "a", { key = "a" } } },
      ["unbusy: gateway.keys[2]: the name of keys[1]"] =
        { keys = { { key = "a", name = "n" }, { key = "b", name = "n" } } },
      ["gateway.keys[1].key is missing"] = { keys = { { name = "a" } } },
      ["gateway.keys[1].calls: a number above 0 expected"] =
        { keys = { { key = "a", calls = 0 } } },
      ["gateway.body: a number at least 1"] = { body = 0 },
      ["gateway.ping: a number at least 1"] = { ping = 0 },
      ["unbusy: gateway.forward[1]: 'authorization' is never passed on"] =
        { forward = { "Authorization" } },
      ["unbusy: gateway.forward[1]: 'cookie' is never passed on"] = { forward = { "cookie" } },
      ["unbusy: gateway.forward[2]: 'connection' is never passed on"] =
        { forward = { "x-a", "connection" } },
      ["unbusy: gateway.forward[1]: no name of a header"] = { forward = { "a b" } },
      ["gateway.controls[1]: one of"] = { controls = { "model" } },
    } do
      local message = message_of(wrong)
      assert.is_truthy(message:find(what, 1, true), message)
      assert.is_truthy(message:find "options_spec.lua:%d+:", message)
    end
  end)

  it("show no key in what is wrong", function()
    local message = message_of { keys = { "sk-1234567", "sk-1234567" } }
    assert.is_nil(message:find("sk-123", 1, true))
  end)

  it("that are wrong keep nginx from starting, and say what and where", function()
    for config, what in pairs {
      ["return { targets = {} }"] = "gateway.lua: unbusy: targets: a list of length at least 1",
      ["return { targets = { { name = 'a', url = 'ftp://x' } } }"] = "unbusy: targets[1].url",
      ["return { targets = { { name = 'a', url = 'http://x' } }, gateway = { bodi = 1 } }"] =
        "unbusy: unknown option 'gateway.bodi', did you mean 'body'?",
      ["return 1"] = "a table expected, got a number",
      ["return {"] = "gateway.lua:1:",
      ["error 'no such thing'"] = "gateway.lua:1: no such thing",
    } do
      local ok, message = pcall(gateways.start, { config = config })
      assert.is_false(ok)
      assert.is_truthy(message:find(what, 1, true), message)
      assert.is_truthy(message:find("init_by_lua", 1, true), message)
    end
  end)
end)

describe("a gateway outside of nginx", function()
  it("is made, and says that it serves nobody there", function()
    local gateway = require "unbusy.gateway"
    local ok, message = pcall(function()
      local g = gateway.new { targets = TARGETS }
      g:handle()
    end)
    assert.is_false(ok)
    assert.is_truthy(message:find("unbusy.gateway: handle() is for nginx, in content_by_lua", 1,
      true))
  end)
end)
