-- What wrk sends, and what it tells. Its words after "--": the body (or ""), then lines of the
-- header.
local body, count

function init(words)
  body, count = words[1], #words
  local path = body:match "^@(.*)"
  if path then
    local file = assert(io.open(path, "rb"))
    body = file:read "*a"
    file:close()
  end
  wrk.method, wrk.body = "POST", body
  wrk.headers["content-type"] = "application/json"
  for i = 2, count do
    local name, value = words[i]:match "^([^:]+): (.*)$"
    wrk.headers[name] = value
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(("told %d %d %d %d %d %d\n"):format(summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end
