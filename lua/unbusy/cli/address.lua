--- Where a server listens: HOST:PORT, [IPv6]:PORT, or a port alone, which is one of loopback.
local address = {}

local WORLD = { ["*"] = "0.0.0.0" }

local function is_ipv4(host)
  local parts = { host:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$" }
  if #parts ~= 4 then return false end
  for _, part in ipairs(parts) do
    if tonumber(part) > 255 or #part > 3 then return false end
  end
  return true
end

local function split(text)
  if text:find "^%d+$" then return "127.0.0.1", text end
  local host, port = text:match "^%[([%x:.]+)%]:(%d+)$"
  if host and host:find ":" then return "[" .. host .. "]", port end
  host, port = text:match "^([^:]+):(%d+)$"
  if host == "localhost" then host = "127.0.0.1" end
  host = WORLD[host] or host
  if host and is_ipv4(host) then return host, port end
end

--- Reads an address.
---@param text string
---@return table? address { host =, port =, text =, loopback = boolean }, string? message
function address.read(text)
  local host, port = split(text)
  port = tonumber(port)
  if not port or port < 1 or port > 65535 then
    return nil, "an IP address and a port expected, such as 127.0.0.1:8080, [::1]:8080 or *:8080"
  end
  return { host = host, port = port, text = ("%s:%d"):format(host, port),
    loopback = host:find "^127%." ~= nil or host == "[::1]" }
end

-- Addresses as /proc/net/tcp and tcp6 write them, each four bytes backwards: those of IPv6 that
-- everybody uses, and any of IPv4.
local in_hex = { ["[::]"] = ("0"):rep(32), ["[::1]"] = ("0"):rep(24) .. "01000000" }

local function hex_of(host)
  local a, b, c, d = host:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  return a and ("%02X%02X%02X%02X"):format(d, c, b, a) or in_hex[host]
end

--- Whether somebody listens there already, as far as it is easy to see: nginx tells the rest.
---@param where table of `read`
---@return boolean
function address.taken(where)
  local mine, port = hex_of(where.host), (":%04X"):format(where.port)
  local file = io.open(where.host:sub(1, 1) == "[" and "/proc/net/tcp6" or "/proc/net/tcp")
  if not file then return false end
  local found = false
  for line in file:lines() do
    local host, at, state = line:match "^%s*%d+: (%x+)(:%x+) %x+:%x+ (%x+)"
    if state == "0A" and at == port then
      found = found or host == mine or not host:find "[^0]" or mine and not mine:find "[^0]"
    end
  end
  file:close()
  return found
end

return address
