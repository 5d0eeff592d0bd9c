-- `unbusy scale --rule load --job NAME` asked whether that job's gateways are there, and added up
-- the calls of every job's: those of a second gateway, for batches, brought more replicas.
local prometheus = require "unbusy.scaling.prometheus"

describe("what the rule load asks for", function()
  it("is the job's alone", function()
    for _, target in ipairs { false, "own" } do
      for name, query in pairs(prometheus.queries("unbusy-gateway", target or nil)) do
        assert.is_truthy(query:find('{job="unbusy-gateway"', 1, true), name .. ": " .. query)
      end
    end
  end)
end)
