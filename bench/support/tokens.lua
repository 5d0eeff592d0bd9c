--- When a stream's first token comes: by a client that looks at nothing but the bytes.
local clock = require "bench.support.clock"
local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local tokens = {}

local function connect(site)
  local s = socket.connect { host = "127.0.0.1", port = tonumber(site.url:match ":(%d+)/") }
  s:setmode("bn", "bn")
  s:settimeout(30)
  s:onerror(function(_, _, code) return code end)
  assert(s:connect())
  return s
end

local function request_of(site, body)
  local lines = { "POST " .. site.url:match "//[^/]+(/.*)" .. " HTTP/1.1", "host: x",
    "content-type: application/json", ("content-length: %d"):format(#body) }
  for _, line in ipairs(site.headers) do lines[#lines + 1] = line end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
end

-- One stream: seconds until its first event began to come.
local function stream(s, request)
  local began = clock()
  s:write(request)
  s:flush()
  local first, line
  repeat
    line = s:read "*l"
    if not line then error "a stream broke off" end
    if not first and line:find "^data: " then first = clock() - began end
  until line:find "^data: %[DONE%]"
  repeat line = s:read "*l" until line == "0\r" or line == "0" -- the last chunk
  s:read "*l"
  return first or error "a stream without events"
end

local function quantile(sorted, share)
  return sorted[math.max(1, math.ceil(#sorted * share))]
end

--- Streams one after the other on so many connections.
---@param site table
---@param body string
---@param at_once integer
---@param seconds number
---@return table told p50, p99 in microseconds
function tokens.run(site, body, at_once, seconds)
  local loop, took, request = cqueues.new(), {}, request_of(site, body)
  local limit = clock() + seconds
  for _ = 1, at_once do
    loop:wrap(function()
      local s = connect(site)
      while clock() < limit do took[#took + 1] = stream(s, request) * 1e6 end
      s:close()
    end)
  end
  assert(loop:loop())
  table.sort(took)
  return { p50 = quantile(took, 0.5), p99 = quantile(took, 0.99) }
end

return tokens
