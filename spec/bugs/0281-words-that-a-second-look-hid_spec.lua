-- A server that refused its only key and wanted to be asked again (`x-should-retry: true`) was not,
-- as there was no key left; and of its answer nothing was told on but that.
local json = require "unbusy.json"
local world = require "spec.support.world"

describe("a server that refuses the only key and wants another try", function()
  it("has its words told", function()
    local w = world.new { script = { a = { world.status(401, { ["x-should-retry"] = "true" },
      json.encode { error = { message = "this key has expired", code = "key_expired" } }) } } }
    local _, message, code, detail = w:chat()
    assert.equal("auth", code)
    assert.matches("this key has expired", message, 1, true)
    assert.same({ 401, 1, "key_expired" }, { detail.status, detail.tries, detail.provider_code })
    assert.equal(1, #w.log)
    w:assert_clean()
  end)
end)
