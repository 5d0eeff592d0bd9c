-- Found by spec/fuzz/client_fuzz.lua. A server that repeats the key it was sent is masked in
-- messages. As the error's code or type the key went on in the failure's detail, unmasked, when it
-- did not look like one.
local world = require "spec.support.world"

describe("a key that comes back as the error's code or type", function()
  it("is masked in the detail as in the message", function()
    local w = world.new { script = { a = { world.status(401, nil,
      '{"error":{"message":"no key-of-a","code":"key-of-a","type":"x.key-of-a"}}') } } }
    local reply, message, code, detail = w:chat()
    assert.is_nil(reply)
    assert.equal("auth", code)
    assert.equal("a: 401 unauthorized: no [masked]", message)
    for _, word in pairs { detail.provider_code, detail.provider_type } do
      assert.is_nil(word:find("key-of-a", 1, true))
    end
    w:assert_clean()
  end)

  it("and what is none stays as it is", function()
    local w = world.new { script = { a = { world.status(401, nil,
      '{"error":{"message":"m","code":"invalid_api_key"}}') } } }
    local _, _, _, detail = w:chat()
    assert.equal("invalid_api_key", detail.provider_code)
    assert.is_nil(detail.provider_type)
  end)
end)
