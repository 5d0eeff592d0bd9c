--- An HTTP client on nginx's cosockets, with the work that general ones of that kind do for each
--- call: options are copied, headers are kept in a table that ignores case, each of their lines
--- goes through a regular expression, and the body comes from a coroutine.
local cosocket = {}

local function copied(value)
  if type(value) ~= "table" then return value end
  local out = {}
  for k, v in pairs(value) do out[copied(k)] = copied(v) end
  return out
end

local function new_headers()
  local names = {}
  return setmetatable({}, {
    __index = function(t, name)
      local known = names[name:lower():gsub("_", "-")]
      return known and rawget(t, known)
    end,
    __newindex = function(t, name, value)
      local key = name:lower():gsub("_", "-")
      names[key] = names[key] or name
      rawset(t, names[key], value)
    end,
  })
end

local function send(socket, request)
  local headers = new_headers()
  for name, value in pairs(request.headers) do headers[name] = value end
  headers["Host"] = headers["Host"] or request.host .. ":" .. request.port
  headers["User-Agent"] = headers["User-Agent"] or "cosocket"
  headers["Content-Length"] = #request.body
  local lines = { request.method .. " " .. request.path .. " HTTP/1.1\r\n" }
  for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value .. "\r\n" end
  lines[#lines + 1] = "\r\n"
  assert(socket:send(table.concat(lines)))
  assert(socket:send(request.body))
end

local function read_headers(socket)
  local headers = new_headers()
  while true do
    local line = assert(socket:receive "*l")
    local found = ngx.re.match(line, [[([^:\s]+):\s*(.+)]], "jo")
    if not found then return headers end
    headers[found[1]] = found[2]
  end
end

-- Gives the body's parts, one each time.
local function parts(socket, headers)
  local length = tonumber(headers["Content-Length"])
  return coroutine.wrap(function()
    if length then return coroutine.yield(assert(socket:receive(length))) end
    while true do
      local size = tonumber(assert(socket:receive "*l"), 16)
      if size > 0 then coroutine.yield(assert(socket:receive(size))) end
      socket:receive(2)
      if size == 0 then return end
    end
  end)
end

--- Makes a call.
---@param request table host, port, path, method, headers, body
---@return table answer status, headers, part() -> a part of the body or nil, keep()
function cosocket.request(request)
  request = copied(request)
  local socket = ngx.socket.tcp()
  socket:settimeouts(5000, 60000, 60000)
  assert(socket:connect(request.host, request.port))
  send(socket, request)
  local status = tonumber(assert(socket:receive "*l"):sub(10, 12))
  local headers = read_headers(socket)
  return { status = status, headers = headers, part = parts(socket, headers),
    keep = function() socket:setkeepalive(60000, 1024) end }
end

local own = { ["content-length"] = true, ["transfer-encoding"] = true, connection = true }

--- Passes the request that nginx has on, and its answer back.
function cosocket.pass_on(host, port, path)
  ngx.req.read_body()
  local answer = cosocket.request { host = host, port = port, method = "POST",
    path = path .. "/v1/chat/completions", body = ngx.req.get_body_data(),
    headers = { ["Authorization"] = "Bearer key-1", ["Content-Type"] = "application/json" } }
  ngx.status = answer.status
  for name, value in pairs(answer.headers) do
    if not own[name:lower()] then ngx.header[name] = value end
  end
  local is_whole = answer.headers["Content-Length"] ~= nil
  for part in answer.part do
    ngx.print(part)
    if not is_whole then ngx.flush(true) end
  end
  answer.keep()
end

return cosocket
