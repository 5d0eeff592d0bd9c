--- /status: what goes on, as JSON: `client:status()` and what is asked most.
--
-- It is for operators: for whoever knows the option's token, or, without one, for this machine
-- alone. A request that another proxy has passed on comes from wherever that says, and so not from
-- here. Questions are in it only where `cache.top.show` allows them and `?show=1` asks for them.
local access = require "unbusy.gateway.access"
local answers = require "unbusy.gateway.answers"
local errors = require "unbusy.gateway.errors"
local json = require "unbusy.json"

local status = {}

local TOP, MOST_TOP = 20, 1000 -- questions that are shown

-- Numbers as JSON can say them, and nothing that it could not.
local function sayable(value)
  local kind = type(value)
  if kind == "number" then return value - value == 0 and value or json.null end
  if kind ~= "table" then
    return (kind == "string" or kind == "boolean" or value == json.null) and value or nil
  end
  local out = json.is_array(value) and json.array() or {}
  for name, item in pairs(value) do
    if type(name) == "number" or type(name) == "string" then out[name] = sayable(item) end
  end
  return out
end

-- The list of what is asked most, as the request wants it; or nil and a refusal.
local function top_of(ctx)
  local client, args = ctx.client, ngx.req.get_uri_args(20)
  local n, show = tonumber(args.top or TOP), args.show == "1"
  if not n or n < 1 or n > MOST_TOP or n ~= math.floor(n) then
    return nil, errors.invalid(("top: a whole number from 1 to %d expected"):format(MOST_TOP))
  end
  if not client.hot then return json.null end
  if show and not client.hot.shows then
    return nil, errors.new(403, "the questions may not be shown: cache.top.show is off")
  end
  return json.array(client:top(n, { show = show }) or {})
end

--- Serves it.
---@param ctx table
---@return table? refusal
function status.serve(ctx)
  local refusal = access.check(ctx.headers, ctx.gateway.status_keys, "the status")
  if refusal then return refusal end
  local list
  list, refusal = top_of(ctx)
  if refusal then return refusal end
  local told = sayable(ctx.client:status())
  told.questions, told.worker = list, ngx.worker.pid()
  ngx.header["cache-control"] = "no-store"
  answers.send(ctx, 200, assert(json.encode(told)) .. "\n")
end

return status
