-- A gateway's pod that was evicted (its node ran out of memory, a volume was over its sizeLimit)
-- stays in Kubernetes' list with its address, as Failed. deploy/kubernetes/scrape.yaml went on
-- asking it: UnbusyDown did not end, and whoever was given that address was sent the token.
local files = require "spec.support.files"

describe("deploy/kubernetes/scrape.yaml", function()
  it("asks no pod that has ended", function()
    local rules = {}
    for rule in (files.text "deploy/kubernetes/scrape.yaml" .. "      - "):gmatch
      "source_labels: (.-)\n      %-" do
      rules[#rules + 1] = rule
    end
    local found
    for _, rule in ipairs(rules) do
      if rule:find("[__meta_kubernetes_pod_phase]", 1, true) then found = rule end
    end
    assert.is_truthy(found, "pod_phase")
    assert.is_truthy(found:find "regex: Failed|Succeeded\n" and found:find "action: drop")
  end)
end)
