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

-- An IPv4 address as /proc/net/tcp writes it, its bytes backwards on a little-endian machine.
local function in_hex(host)
  local a, b, c, d = host:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  return a and ("%02X%02X%02X%02X"):format(d, c, b, a)
end

--- Whether somebody listens there already, as far as Linux shows it.
---@param where table of `read`
---@return boolean
function address.taken(where)
  local mine, port = in_hex(where.host), (":%04X"):format(where.port)
  local file = io.open(mine and "/proc/net/tcp" or "/proc/net/tcp6")
  if not file then return false end
  local found = false
  for line in file:lines() do
    local host, at, state = line:match "^%s*%d+: (%x+)(:%x+) %x+:%x+ (%x+)"
    found = found or state == "0A" and at == port
      and (not mine or host == mine or host == "00000000" or mine == "00000000")
  end
  file:close()
  return found
end

return address
