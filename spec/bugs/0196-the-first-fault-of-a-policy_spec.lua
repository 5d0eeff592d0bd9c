-- The count of a policy's faults was there from the first fault on. Prometheus sees no growth in a
-- series that begins at 1: UnbusyPolicyFaults told nobody of it, however many they were, unless
-- there was one more after the next scrape.
local unbusy = require "unbusy"

describe("the faults of a policy", function()
  it("are counted from 0 on", function()
    local client = unbusy.new { metrics = true, policy = { retry = function() end },
      targets = { { name = "a", url = "http://127.0.0.1:1", policy = "patient" } } }
    local text = client:metrics()
    client:close()
    for _, name in ipairs { "functions of the program", "patient" } do
      local line = ('\nunbusy_policy_faults_total{policy="%s"} 0\n'):format(name)
      assert.is_truthy(text:find(line, 1, true), text:match "[^\n]*policy_faults_total{[^\n]*")
    end
  end)
end)
