--- /metrics: what was counted, for a monitoring system, in the format that it asks for.
--
-- It is for operators: see `unbusy.gateway.access`. While it is written and sent, the worker serves
-- others between its pieces.
local accept = require "unbusy.gateway.accept"
local access = require "unbusy.gateway.access"
local answers = require "unbusy.gateway.answers"
local errors = require "unbusy.gateway.errors"
local text = require "unbusy.metrics.text"

local metrics = {}

local LONG = 0.0002 -- seconds after which others have their turn

-- Lets others have their turn, when it has worked for a while. (Of `ngx.sleep(0)` an nginx that is
-- not OpenResty's complains in its log, each time.)
local function pauser(now)
  local began = now()
  return function()
    if now() - began < LONG then return end
    ngx.sleep(0.001)
    began = now()
  end
end

local OPEN = { ["application/openmetrics-text"] = true }
local PLAIN = { ["text/plain"] = true, ["text/*"] = true, ["*/*"] = true }

-- The format that an `Accept` header prefers; of OpenMetrics there is version 1.0.0 alone.
local function format_for(header)
  local wanted = {}
  for _, item in ipairs(accept.list(header)) do
    if not OPEN[item.kind or false] or (item.version or "1.0.0") == "1.0.0" then
      wanted[#wanted + 1] = item
    end
  end
  local open = accept.weight(wanted, OPEN)
  return open > 0 and open >= accept.weight(wanted, PLAIN) and "openmetrics" or "prometheus"
end

-- The page; or nil where the client has been closed while others had their turn.
local function pieces_of(client, format, pause)
  local ok, pieces = pcall(text.pieces, client, format, pause)
  if ok then return pieces end
  if not client.closed then error(pieces, 0) end
end

--- Serves it.
---@param ctx table
---@return table? refusal
function metrics.serve(ctx)
  local gateway = ctx.gateway
  if not gateway.options.metrics or not ctx.client.meter then
    return errors.new(404, "there is nothing at this path", { code = "unknown_url" })
  end
  local refusal = access.check(ctx.headers, gateway.metrics_keys, "the page of metrics")
  if refusal then return refusal end
  if ctx.client.closed then return errors.of_closed() end
  local format = format_for(ctx.headers.accept)
  local pause = pauser(ctx.client.now)
  local pieces = pieces_of(ctx.client, format, pause)
  if not pieces then return errors.of_closed() end
  ngx.header["cache-control"] = "no-store"
  ngx.header.vary = "Accept"
  answers.send_pieces(ctx, pieces, text.types[format], pause)
end

return metrics
