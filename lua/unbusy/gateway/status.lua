--- /status: what goes on, as JSON: `client:status()` and what is asked most.
--
-- It is for operators: for whoever knows the option's token, or, without one, for this machine
-- alone. A request that another proxy has passed on comes from wherever that says, and so not from
-- here. Questions are in it only where `cache.top.show` allows them and `?show=1` asks for them.
local answers = require "unbusy.gateway.answers"
local errors = require "unbusy.gateway.errors"
local json = require "unbusy.json"

local status = {}

local TOP, MOST_TOP = 20, 1000 -- questions that are shown

-- What a proxy says of whom it speaks for.
local passed_on = { "x-forwarded-for", "forwarded", "via", "x-real-ip", "cf-connecting-ip" }

local function is_local(ctx)
  for _, name in ipairs(passed_on) do
    if ctx.headers[name] then return false end
  end
  local from = ngx.var.remote_addr
  return from:find "^127%." ~= nil or from == "::1" or from:find "^unix:" ~= nil
end

local function refuse(message)
  return errors.new(401, message, { code = "invalid_api_key",
    headers = { ["www-authenticate"] = "Bearer" } })
end

-- Who may not see it: a refusal.
local function check(ctx)
  local own = ctx.gateway.status_keys
  if own then
    local key, message = own:of(ctx.headers)
    return not key and refuse(message) or nil
  end
  if not is_local(ctx) then
    return errors.new(403, "the status is for this machine alone, as long as it has no token")
  end
end

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
  local refusal = check(ctx)
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
