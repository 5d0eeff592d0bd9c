--- A Deployment and its cluster, by way of a real `kubectl`.
--
-- What is read is read with `kubectl get --raw`, whose answer is the API's own JSON; what is
-- changed is changed with `kubectl scale --current-replicas`, which changes nothing where somebody
-- else has changed the number meanwhile. Who we are and which cluster it is, kubectl knows: its
-- kubeconfig, or inside a pod the service account.
local json = require "unbusy.json"
local nodes = require "unbusy.scaling.nodes"

local cluster = {}
cluster.__index = cluster

local PATIENCE = 10 -- seconds for each request to the API

--- A cluster.
---@param o table { deployment =, namespace =, selector = of nodes or nil, kubectl = words before
--- the arguments, run = fun(words: string[]): string? output, string? message, wall = fun(): number
--- (Unix seconds), fresh = seconds }
---@return table
function cluster.new(o)
  return setmetatable({ o = o }, cluster)
end

local function command(self, words)
  local all = {}
  for _, word in ipairs(self.o.kubectl) do all[#all + 1] = word end
  all[#all + 1] = ("--request-timeout=%ds"):format(PATIENCE)
  for _, word in ipairs(words) do all[#all + 1] = word end
  return self.o.run(all)
end

local function raw(self, path)
  return command(self, { "get", "--raw", path })
end

local function escaped(text)
  return (text:gsub("[^%w_.~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function scale_path(self)
  return ("/apis/apps/v1/namespaces/%s/deployments/%s/scale"):format(self.o.namespace,
    self.o.deployment)
end

--- How many replicas are asked for.
---@return integer? replicas, string? message
function cluster:replicas()
  local text, message = raw(self, scale_path(self))
  if not text then return nil, message end
  local scale = json.decode(text)
  local spec = type(scale) == "table" and scale.kind == "Scale" and scale.spec
  if type(spec) ~= "table" then return nil, "the API's answer is no Scale" end
  if spec.replicas == nil then return 0 end -- the API leaves out a zero
  local n = json.whole(spec.replicas)
  if not n or n < 0 then return nil, "the API's answer has no number of replicas" end
  return n
end

--- The CPU of the nodes: see `nodes.sum`; `lacks` also where the API does not say.
---@return table seen
function cluster:cpu()
  local query = self.o.selector and "?labelSelector=" .. escaped(self.o.selector) or ""
  local list, message = raw(self, nodes.LIST .. query)
  if not list then return { lacks = "the list of nodes: " .. message } end
  local usage
  usage, message = raw(self, nodes.USAGE .. query)
  if not usage then return { lacks = "the nodes' CPU: " .. message } end
  return nodes.sum(list, usage, { now = self.o.wall(), fresh = self.o.fresh })
end

--- The name of a HorizontalPodAutoscaler that scales the same Deployment; nil where there is none,
--- or where we may not look (then with a message).
---@return string? name, string? message
function cluster:rival()
  local text, message = raw(self, ("/apis/autoscaling/v1/namespaces/%s/horizontalpodautoscalers")
    :format(self.o.namespace))
  local list = text and json.decode(text)
  if type(list) ~= "table" or type(list.items) ~= "table" then
    return nil, message or "the API's answer is no list"
  end
  for _, item in ipairs(list.items) do
    local spec = type(item) == "table" and item.spec
    local ref = type(spec) == "table" and spec.scaleTargetRef
    if type(ref) == "table" and ref.kind == "Deployment" and ref.name == self.o.deployment then
      local meta = item.metadata
      return type(meta) == "table" and tostring(meta.name) or "?"
    end
  end
end

--- Asks for so many replicas, if there are still as many as was seen.
---@param from integer
---@param to integer
---@return boolean? done, string? message
function cluster:scale(from, to)
  local out, message = command(self, { "scale", "deployment/" .. self.o.deployment,
    "--namespace=" .. self.o.namespace, ("--current-replicas=%d"):format(from),
    ("--replicas=%d"):format(to) })
  if not out then return nil, message end
  return true
end

return cluster
