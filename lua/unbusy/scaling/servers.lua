--- Prometheus and Alertmanager over HTTP, by clients of our own: one try, ten seconds.
local servers = {}

local PATIENCE, MOST = 10, 4 * 1024 * 1024 -- seconds; bytes of an answer

--- A client of a server. Raises what `unbusy.new` has against the URL.
---@param name string
---@param url string
---@param token string? sent as a bearer key
---@return table client
function servers.new(name, url, token)
  return require("unbusy").new { retry = false, breaker = false, limiter = false, budget = false,
    targets = { { name = name, url = (url:gsub("/+$", "")), limits = { body = MOST },
      keys = { token ~= "" and token or nil } } } }
end

--- Asks it. What is no 2xx is a failure.
---@param client table
---@param request table { method =, path =, body =, headers = }
---@return string? body, string? message
function servers.ask(client, request)
  local answer, message = client:pass(request, { deadline = PATIENCE })
  if not answer then return nil, message end
  local body
  body, message = answer:body()
  if not body then return nil, message end
  if answer.status < 200 or answer.status > 299 then
    return nil, ("status %d from %s"):format(answer.status, answer.target)
  end
  return body
end

return servers
