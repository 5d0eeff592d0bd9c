--- /status and /status.json: what goes on.
--
--     GET /status       ──► a page for people, where a browser asks; else JSON
--     GET /status.json  ──► JSON: `unbusy.gateway.facts`
--
-- It is for operators: see `unbusy.gateway.access`. Questions are in it only where `cache.top.show`
-- allows them and `?show=1` asks for them.
local accept = require "unbusy.gateway.accept"
local access = require "unbusy.gateway.access"
local answers = require "unbusy.gateway.answers"
local errors = require "unbusy.gateway.errors"
local facts = require "unbusy.gateway.facts"
local json = require "unbusy.json"
local page = require "unbusy.gateway.page"

local status = {}

local TOP, MOST_TOP = 20, 1000 -- questions that are shown

-- {== What is asked for ===================================================

local HTML, JSON = { ["text/html"] = true }, { ["application/json"] = true }

-- Is it a browser that asks, for a person? Whoever takes anything is given JSON.
local function wants_page(ctx, route)
  if route.kind == "json" then return false end
  local wanted = accept.list(ctx.headers.accept)
  local html = accept.weight(wanted, HTML)
  return html > 0 and html >= accept.weight(wanted, JSON)
end

-- How many questions the request wants, and whether in words; or nil and a refusal.
local function asked(ctx)
  local client, args = ctx.client, ngx.req.get_uri_args(20)
  local n, show = tonumber(args.top or TOP), args.show == "1"
  if not n or n < 1 or n > MOST_TOP or n ~= math.floor(n) then
    return nil, errors.invalid(("top: a whole number from 1 to %d expected"):format(MOST_TOP))
  end
  if show and client.hot and not client.hot.shows then
    return nil, errors.new(403, "the questions may not be shown: cache.top.show is off")
  end
  return n, show
end

-- }========================================================================

-- Nobody else's page embeds it, and nothing is kept of it.
local function set_header()
  local header = ngx.header
  header["cache-control"] = "no-store"
  header["vary"] = "accept"
  header["x-content-type-options"] = "nosniff"
  header["cross-origin-resource-policy"] = "same-origin"
end

local function send_page(ctx)
  local text, policy = page.make()
  ngx.header["content-security-policy"] = policy
  ngx.header["referrer-policy"] = "no-referrer"
  answers.send(ctx, 200, text, "text/html; charset=utf-8")
end

local function send_json(ctx)
  local n, show = asked(ctx)
  if not n then return show end
  local told = facts.of(ctx.client, n, show)
  told.worker = ngx.worker.pid()
  answers.send(ctx, 200, assert(json.encode(told)) .. "\n")
end

--- Serves it.
---@param ctx table
---@param route table
---@return table? refusal
function status.serve(ctx, route)
  local as_page = wants_page(ctx, route)
  local refusal = access.check(ctx.headers, ctx.gateway.status_keys, "the status", as_page)
  if refusal then return refusal end
  set_header()
  if as_page then return send_page(ctx) end
  return send_json(ctx)
end

return status
