--- Row 5.2: the sum of the nodes' CPU over 8000 m of 10000 m: +3 replicas, and a notice to
--- Alertmanager.
local kube_api = require "spec.support.kube_api"
local served = require "spec.support.served"
local shell = require "unbusy.cli.shell"

local INTO = "build/kubernetes/kubectl"

-- A pinned kubectl, installed where it is not there yet.
local function kubectl()
  if not shell.succeeds("[ -x " .. INTO .. " ]") then
    local said = shell.output "sh spec/support/third_party.sh install-kubernetes 2>&1"
    if not shell.succeeds("[ -x " .. INTO .. " ]") then
      error("no kubectl: " .. said:sub(-200), 0)
    end
  end
  return shell.output "pwd" .. "/" .. INTO
end

local function nodes(millicores)
  return { a = { cpu = ("%dm"):format(millicores - 3000), whole = "4" },
    b = { cpu = "3000m", whole = "6" } }
end

-- One look of `unbusy scale`, at five replicas: what it has asked for, and whom it has told.
local function look(api, place, program, millicores)
  api:set { nodes = nodes(millicores) }
  local r = place:run({ "scale", "deepseek-service", "--kubectl", program, "--once", "--state",
    ("%s/%d"):format(place.dir, millicores), "--alertmanager", api.url },
    { env = ("env KUBECONFIG=%s HOME=%s"):format(api.kubeconfig, place.tmp) })
  if r.rc ~= 0 then error(r.err .. r.out, 0) end
  local state = api:state()
  return (state.written[1] or 5) - 5, #state.alerts, r.out
end

local function measure(sheet)
  local program, place, api = kubectl(), served.place(), kube_api.start()
  local ok, message = pcall(function()
    sheet:input("replicas before", 5)
    sheet:input("the nodes have", "10000m")
    local more, told, said = look(api, place, program, 8400)
    sheet:figure { what = "replicas more at 8400m", claimed = "+3", value = more, show = "%+d",
      least = 3, most = 3 }
    sheet:figure { what = "notices to Alertmanager", claimed = "1", value = told, show = "%d",
      least = 1, most = 1 }
    sheet:say("It said: `" .. said:gsub("%s+$", "") .. "`")
    more, told = look(api, place, program, 8000)
    sheet:figure { what = "replicas more at 8000m, and notices", claimed = "0", value = more + told,
      show = "%d", most = 0 }
  end)
  api:stop()
  place:remove()
  if not ok then error(message, 0) end
  sheet:say("A real kubectl was run; the API that it asks, and Alertmanager's, are stand-ins that "
    .. "write down what they are asked for. No cluster was run.")
end

return {
  row = "5.2", title = "Scaling script", seconds = 200, measure = measure,
  how = "`unbusy scale` with a real kubectl, one look at a time.",
}
