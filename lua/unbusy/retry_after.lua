--- How long a server asks to be left alone.
--
--     local retry_after = require "unbusy.retry_after"
--     local seconds, from = retry_after.parse(reply.headers, { body = reply.body })
--
-- Servers say it in many places. These are asked, in this order, and the first one with a usable
-- answer wins; its name is the second result:
--
--     "retry-after-ms"              a number of milliseconds
--     "retry-after"                 a number of seconds, or a date (RFC 9110, 10.2.3 and 5.6.7)
--     "ratelimit"                   the longest t of what has r=0, or reset where remaining=0
--                                   (IETF draft-ietf-httpapi-ratelimit-headers, new and old form)
--     "ratelimit-reset"             seconds, if "ratelimit-remaining" is 0 (its first drafts)
--     "x-ratelimit-reset-requests"  Go durations such as 6m0s; each if its x-ratelimit-remaining-…
--     "x-ratelimit-reset-tokens"    is 0 or missing; the longer one (OpenAI, "Rate limits" page)
--     "body"                        "retryDelay": "20s" (Google's RetryInfo), or words such as "try
--                                   again in 1m30s", "Please retry after 20 seconds"
--
-- A date counts from the reply's own `date` header if there is a valid one, so that a wrong clock
-- on either side does no harm; else from `now`. One in the past means 0.
--
-- Reading is strict. A number is digits, perhaps with a point and more digits: no sign, exponent
-- or hex. Blanks may stand around a value; a NUL or anything else makes it unusable. So does a
-- wait over ten years. "20300101" is a number of seconds, never a date.
local core = require "unbusy.core"
local options = require "unbusy.options"

local read = core.retry_after

local retry_after = {}

--- The longest wait believed: ten years, in seconds.
retry_after.longest = 315576000

--- Every option of `parse`.
retry_after.schema = {
  now = { type = "number", min = 0, max = 1e11, unit = "s",
    doc = "Unix time of the reply; by default the wall clock's" },
  body = { type = "string", doc = "the reply's body, of which the first 64 KiB are read" },
}

local names = {
  "retry-after-ms", "retry-after", "date", "ratelimit", "ratelimit-reset", "ratelimit-remaining",
  "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests",
  "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens",
}

local MOST_PARTS = 32 -- of one text

-- A header that was sent twice, by a server and a proxy before it, is one text by now: "20, 20"
-- (RFC 9110, 5.2). Its parts follow the whole, each with the one before, too: a date has a comma.
local function add_parts(out, text)
  out[#out + 1] = text
  local before, from = nil, 1
  local comma = text:find(", ", 1, true)
  for _ = 1, comma and MOST_PARTS or 0 do
    local part = text:sub(from, comma and comma - 1)
    if before then out[#out + 1] = before .. ", " .. part end
    out[#out + 1], before = part, part
    if not comma then break end
    from = comma + 2
    comma = text:find(", ", from, true)
  end
end

-- The headers that matter, each as a list; or nil and what is wrong.
local function lists(headers)
  local out = {}
  for _, name in ipairs(names) do
    local value = headers[name]
    local list = {}
    for _, text in ipairs(type(value) == "table" and value or { value }) do
      if type(text) ~= "string" then
        return nil, ("header '%s': a string expected, got a %s"):format(name, type(text))
      end
      add_parts(list, text)
    end
    out[name] = list
  end
  return out
end

-- What `f` reads in the first value that it can read.
local function first(list, f, argument)
  for _, text in ipairs(list) do
    local found = f(text, argument)
    if found then return found end
  end
end

-- Seconds from the reply until a date.
local function until_date(given, now)
  now = first(given.date, read.date, now) or now
  local date = first(given["retry-after"], read.date, now)
  local seconds = date and math.max(0, date - now)
  if seconds and seconds <= retry_after.longest then return seconds end
end

-- When one of OpenAI's two limits is free again, if it is this one that is used up.
local function reset(given, what)
  local left = given["x-ratelimit-remaining-" .. what]
  if #left > 0 and first(left, read.seconds) ~= 0 then return nil end
  return first(given["x-ratelimit-reset-" .. what], read.duration)
end

local function longer_reset(given)
  local requests, tokens = reset(given, "requests"), reset(given, "tokens")
  if requests and requests >= (tokens or 0) then return requests, "x-ratelimit-reset-requests" end
  return tokens, tokens and "x-ratelimit-reset-tokens"
end

local function from_headers(given, limits, now)
  local seconds = first(given["retry-after-ms"], read.ms)
  if seconds then return seconds, "retry-after-ms" end
  seconds = first(given["retry-after"], read.seconds) or until_date(given, now)
  if seconds then return seconds, "retry-after" end
  seconds = limits and read.rate_limit(limits)
  if seconds then return seconds, "ratelimit" end
  if first(given["ratelimit-remaining"], read.seconds) == 0 then
    seconds = first(given["ratelimit-reset"], read.seconds)
    if seconds then return seconds, "ratelimit-reset" end
  end
  return longer_reset(given)
end

--- Reads how long to wait: the true wait, however long, and where it was said. Nil when nothing
--- usable is there. Of a header sent more than once (a list, or joined by ", " as replies have it)
--- the first usable value counts.
---@param headers table<string, string|string[]> names in lower case
---@param given table? see `retry_after.schema`
---@return number? seconds, string? where_from
function retry_after.parse(headers, given)
  if type(headers) ~= "table" then
    error("retry_after: a table of headers expected, got a " .. type(headers), 2)
  end
  local o = options.check(retry_after.schema, given, "retry_after")
  local values, message = lists(headers)
  if not values then error("retry_after: " .. message, 2) end
  local limits = headers.ratelimit
  if type(limits) == "table" then limits = table.concat(limits, ",") end
  local seconds, from = from_headers(values, limits, o.now or core.wall())
  if seconds then return seconds, from end
  seconds = o.body and read.body(o.body)
  return seconds or nil, seconds and "body" or nil
end

return retry_after
