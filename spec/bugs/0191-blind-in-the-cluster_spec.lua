-- deploy/autoscale/load asked Prometheus for the job "unbusy", which nothing in deploy/kubernetes
-- has: scrape.yaml calls it "unbusy-gateway", and the operator, left to itself, made it
-- "unbusy/unbusy-gateway" of the PodMonitor. It was blind, and scaled nothing.
local files = require "spec.support.files"

local function found(path, pattern)
  return assert(files.text("deploy/" .. path):match(pattern), path .. ": " .. pattern)
end

describe("the job of the gateways in Kubernetes", function()
  local JOB = found("kubernetes/scrape.yaml", "job_name: (%S+)")

  it("is what unbusy scale asks for", function()
    assert.equal(JOB, found("autoscale/load/kustomization.yaml", "%-%-job=(%S+)"))
  end)

  it("is the same with the Prometheus operator", function()
    local label = found("kubernetes/components/pod-monitor/podmonitor.yaml", "jobLabel: (%S+)")
    local pod = found("kubernetes/base/gateway/deployment.yaml", "\n  template:(.*)$")
    assert.equal(JOB, pod:match(label:gsub("%p", "%%%0") .. ": (%S+)"))
  end)

  it("is one that the alerts know", function()
    assert.is_truthy(JOB:find "^unbusy")
  end)
end)
