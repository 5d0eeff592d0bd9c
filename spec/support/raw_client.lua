--- A client that says exactly what it is told: for requests that no HTTP client makes.
--
--     raw_client.ask(port, "GET / HTTP/1.0\r\n\r\n")    what comes back until the server closes
--     local s = raw_client.connect(port)                 `write`, `read` (as of cqueues' sockets)
local socket = require "cqueues.socket"

local raw_client = {}

--- A connection to a port of loopback.
---@param port integer
---@param patience number? seconds to wait at most (30)
function raw_client.connect(port, patience)
  local s = socket.connect { host = "127.0.0.1", port = port }
  s:setmode("bn", "bn")
  s:settimeout(patience or 30)
  s:onerror(function(_, _, code) return code end)
  assert(s:connect())
  return s
end

--- Sends bytes and gives all that comes back until the server closes.
---@param port integer
---@param bytes string
---@param patience number?
---@return string
function raw_client.ask(port, bytes, patience)
  local s = raw_client.connect(port, patience)
  s:write(bytes)
  s:flush()
  local out = s:read "*a"
  s:close()
  return out or ""
end

return raw_client
