--- The control requests below /__busy.
local cjson = require "cjson"
local counters = require "server.counters"
local journal = require "server.journal"
local programme = require "server.programme"
local request = require "server.request"

local control = {}

local function say(status, body)
  ngx.status = status
  ngx.header.content_length = #body
  ngx.print(body)
end

local function reset()
  counters.reset()
  journal.clear()
  programme.rewind()
end

local routes = {}

routes["GET /__busy"] = function() return 200, programme.json() end

routes["POST /__busy"] = function()
  local new, problem = programme.set(request.body())
  if not new then return 400, cjson.encode { error = { message = problem } } end
  if new.reset then reset() end
  return 200, "{}"
end

routes["GET /__busy/counts"] = function()
  local all = counters.all()
  all.script_left = programme.script_left()
  return 200, cjson.encode(all)
end

routes["GET /__busy/log"] = function() return 200, journal.json() end

routes["POST /__busy/reset"] = function()
  reset()
  return 200, "{}"
end

--- Answers one control request.
---@param name string  this server's own, for a starter to know it by
function control.serve(name)
  routes["GET /__busy/name"] = routes["GET /__busy/name"] or function() return 200, name end
  local route = routes[ngx.req.get_method() .. " " .. ngx.var.uri]
  if not route then return say(404, '{"error":{"message":"unknown control request"}}') end
  say(route())
end

return control
