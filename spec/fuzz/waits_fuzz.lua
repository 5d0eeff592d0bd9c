--- Any headers and body: the wait they ask for is a finite number of seconds from 0 to ten years,
--- and where it was said; or there is none.
local contract = require "spec.fuzz.contract"
local retry_after = require "unbusy.retry_after"

local target = {}

target.words = { "retry-after: ", "retry-after-ms: ", "date: ", "ratelimit: ",
  "ratelimit-reset: ", "ratelimit-remaining: 0\n", "x-ratelimit-reset-requests: ",
  "x-ratelimit-remaining-requests: 0\n", "x-ratelimit-reset-tokens: ", "\n", "\n\n", "0", "1",
  "20", "1.5", "1e3", "-1", "315576000", "999999999999", "6m0s", "12ms",
  "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
  "Fri, 31 Dec 9999 23:59:60 GMT", '"a";r=0;t=30', "limit=1, remaining=0, reset=5",
  "try again in ", "retry after ", " seconds", "1h2m3s", '"retryDelay":"20s"', "\0", "\255",
  "µs", ";", ",", "=", '"' }

local function split(input)
  local headers, at = {}, 1
  while true do
    local name, value, behind = input:match("^([%w-]+): ?([^\n]*)\n()", at)
    if not name then break end
    name = name:lower()
    headers[name] = headers[name] or {}
    table.insert(headers[name], value)
    at = behind
  end
  return headers, input:sub(at)
end

function target.check(input)
  local headers, body = split(input)
  local kinds = {}
  for _, now in ipairs { 0, 784111777, 1e11 } do
    local seconds, from = retry_after.parse(headers, { now = now, body = body })
    if seconds == nil then
      assert(from == nil)
    else
      assert(seconds >= 0 and seconds <= retry_after.longest, "a wait of " .. tostring(seconds))
      assert(from == "body" or headers[from], "said nowhere: " .. tostring(from))
    end
    kinds[#kinds + 1] = tostring(from) .. (seconds and seconds > 0 and "+" or "")
  end
  return table.concat(kinds, " ") .. contract.kind(headers, 1)
end

return target
