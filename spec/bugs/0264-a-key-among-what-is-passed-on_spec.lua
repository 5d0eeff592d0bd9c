-- Clients' keys are never sent on, and yet they were where `gateway.forward` named one of the two
-- headers besides `authorization` that a key may come in: the provider read the gateway's own keys.
local gateway_options = require "unbusy.gateway.options"

describe("gateway.forward", function()
  local function read(given)
    local ok, message = pcall(gateway_options.read, given, 1)
    return not ok and message:gsub("^%S+:%d+: ", "") or nil
  end

  for _, name in ipairs { "x-api-key", "Api-Key" } do
    it("has no " .. name .. " where clients have keys", function()
      assert.equal(("unbusy: gateway.forward[2]: '%s' is a client's key here, and never passed on")
        :format(name:lower()), read { keys = { "a" }, forward = { "x-a", name } })
      assert.is_nil(read { forward = { "x-a", name } }) -- nobody's: it is what the site says it is
    end)
  end
end)
