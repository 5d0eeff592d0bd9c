--- Who may see what is for operators: whoever knows its token, or without one this machine alone;
--- and, where clients have no keys, which pages in a browser may ask.
--
-- A token is sent as a bearer key or, as browsers ask people for it, as the password of HTTP's
-- basic scheme, with any name.
--
-- Without a token a request must come from this machine. One that another proxy has passed on comes
-- from wherever that says, in a header or by the PROXY protocol. And the address must name this
-- machine: a page of somebody else's could have its own name lead here (DNS rebinding), and the
-- browser would let it read the answer.
--
-- A gateway without client keys, on a developer's machine, can be reached by any page that is
-- opened there: the browser sends it what the page says, and it is paid for. Browsers name the
-- page's origin with everything but a GET.
local errors = require "unbusy.gateway.errors"

local access = {}

-- What a proxy says of whom it speaks for.
local passed_on = { "x-forwarded-for", "forwarded", "via", "x-real-ip", "cf-connecting-ip" }

-- {== This machine ========================================================

-- (A socket for both families shows an address of IPv4 mapped: RFC 4291 2.5.5.2.)
local function is_here(address)
  return address:gsub("^::ffff:", ""):find "^127%." ~= nil or address == "::1"
end

local function is_unix(address)
  return address:find "^unix:" ~= nil
end

-- Does the connection come from this machine, and from no other one by way of a proxy here? (One
-- of a proxy's own has no address: `PROXY UNKNOWN`.)
local function is_connected_here()
  local from, before = ngx.var.remote_addr, ngx.var.proxy_protocol_addr
  return (is_here(from) or is_unix(from)) and (not before or before == "" or is_here(before))
end

local function is_direct(headers)
  for _, name in ipairs(passed_on) do
    if headers[name] then return false end
  end
  return true
end

local function is_own_name(host)
  if type(host) ~= "string" then return host == nil end -- HTTP 1.0 has none
  host = host:gsub(":%d*$", ""):lower()
  return host == "" or host == "localhost" or host:find "%.localhost$" ~= nil
    or host:find "^[%d.]+$" ~= nil or host:find "^%[[%x:.]+%]$" ~= nil
    or host == ngx.var.hostname:lower()
end

-- A refusal for who is not here.
local function check_place(headers, what)
  if not is_direct(headers) or not is_connected_here() then
    return errors.new(403, what .. " is for this machine alone, as long as it has no token")
  end
  if not is_unix(ngx.var.remote_addr) and not is_own_name(headers.host) then
    return errors.new(403, what .. " is for this machine alone, by its address or as localhost, "
      .. "as long as it has no token")
  end
end

-- }========================================================================

-- {== Pages ===============================================================

-- Does the page come from this machine too? ("null": from nowhere that a browser would name.)
local function is_own_page(origin)
  local host = type(origin) == "string" and origin:match "^%a[%w+.-]*://([^/]+)$"
  if not host then return false end
  host = host:gsub(":%d*$", ""):lower()
  return is_own_name(host) and (host == "[::1]" or not host:find "^[%d.%[]" or is_here(host))
end

--- May the request be made without a client key? It may not where a page of another site has made
--- it, on this machine: a refusal, else nil.
---@param headers table of the request, as `ctx.headers`
---@param reads boolean may it read what is the account's? A page whose own name leads here could
---@return table? refusal
function access.check_page(headers, reads)
  local origin = headers.origin
  if origin == nil and not reads then return nil end
  if is_unix(ngx.var.remote_addr) or not is_connected_here() then return nil end
  if origin ~= nil and not is_own_page(origin) or reads and not is_own_name(headers.host) then
    return errors.new(403, "a page of another site has no access as long as there are no client "
      .. "keys (gateway.keys)", { code = "cross_origin" })
  end
end

-- }========================================================================

-- {== Tokens ==============================================================

-- The headers with a password as the key that it is.
local function with_password(headers)
  local text = headers.authorization
  local scheme, sent = (type(text) == "string" and text or ""):match "^(%a+)%s+(%S+)%s*$"
  if not scheme or scheme:lower() ~= "basic" then return headers end
  local password = (ngx.decode_base64(sent) or ""):match "^[^:]*:(.*)$"
  return { authorization = password and "Bearer " .. password }
end

local function check_token(headers, keys, browser)
  local key, message = keys:of(with_password(headers))
  if key then return nil end
  local ways = browser and 'Basic realm="unbusy", charset="UTF-8"' or "Bearer"
  return errors.new(401, message, { code = "invalid_api_key",
    headers = { ["www-authenticate"] = ways } })
end

-- }========================================================================

--- Who may not see it: a refusal, else nil.
---@param headers table of the request, as `ctx.headers`
---@param keys table? of `unbusy.gateway.keys`, with the token as its key; nil: this machine alone
---@param what string for the message: "the status"
---@param browser boolean? is it for a person, whose browser is to ask for the token?
---@return table? refusal
function access.check(headers, keys, what, browser)
  if keys then return check_token(headers, keys, browser) end
  return check_place(headers, what)
end

return access
