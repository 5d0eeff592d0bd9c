--- What the headers of an answer say of limits per minute.
--
--     x-ratelimit-limit-requests, -remaining-requests, -reset-requests     OpenAI and its kin;
--     x-ratelimit-limit-tokens, -remaining-tokens, -reset-tokens           the reset as 6m0s or 1.5
--     ratelimit: "a";r=50;t=30   with   ratelimit-policy: "a";q=100;w=60   the IETF's draft
--     ratelimit: limit=100, remaining=50, reset=30                         its drafts 03 to 07
--     ratelimit-limit, ratelimit-remaining, ratelimit-reset                the first ones
--
-- (draft-ietf-httpapi-ratelimit-headers.) Reading is strict: digits, perhaps with a point; a limit
-- of 1 to 10^12, what is left 0 or more, a reset of a day at most. All else has not been said. The
-- IETF's headers do not say what they count: tokens where the policy's name has that word.
local core = require "unbusy.core"
local rate = require "unbusy.rate"

local rate_headers = {}

local read = core.retry_after

-- {== Values ==============================================================

-- Of a header that came more than once, the first.
local function first(value)
  if type(value) == "table" then value = value[1] end
  return type(value) == "string" and value or nil
end

-- The same of one that has no commas of its own: a reply has several joined by ", ".
local function single(value)
  local text = first(value)
  local comma = text and text:find(", ", 1, true)
  return comma and text:sub(1, comma - 1) or text
end

local function number(text)
  text = text and text:match "^[ \t]*(%d+%.?%d*)[ \t]*$"
  local n = text and #text <= 32 and tonumber(text)
  return n and n <= rate.MOST and n or nil
end

local function limit_of(text)
  local n = number(text)
  return n and n >= 1 and n or nil
end

local function reset_of(text)
  local seconds = text and (read.seconds(text) or read.duration(text))
  return seconds and seconds <= rate.LONGEST and seconds or nil
end

-- }========================================================================

-- What is said of one kind; nil where nothing is.
local function word(limit, left, reset, window)
  if not (limit or left) then return nil end
  return { limit = limit, left = left, reset = reset, window = window }
end

local function of_openai(headers, kind)
  return word(limit_of(single(headers["x-ratelimit-limit-" .. kind])),
    number(single(headers["x-ratelimit-remaining-" .. kind])),
    reset_of(single(headers["x-ratelimit-reset-" .. kind])), false)
end

-- {== The IETF's ==========================================================

local MOST_TEXT, MOST_ITEMS = 1000, 20 -- of one header

-- The items of a list, "name;a=1;b=2", as { name =, a =, b = }.
local function items_of(text)
  local items = {}
  if not text or #text > MOST_TEXT then return items end
  for item in text:gmatch "[^,]+" do
    local name = item:match '^%s*"([^"]*)"' or item:match "^%s*([%w_%-*.]+)%s*;"
    if not name or #items == MOST_ITEMS then break end
    local fields = { name = name:lower() }
    for key, value in item:gmatch ";%s*(%a[%w_-]*)=([^;%s]*)" do fields[key] = value end
    items[#items + 1] = fields
  end
  return items
end

local function kind_of(name)
  return name:find("token", 1, true) and "tokens" or "requests"
end

-- The limits of the policies, by name.
local function quotas_of(headers)
  local quotas = {}
  for _, item in ipairs(items_of(first(headers["ratelimit-policy"]))) do
    quotas[item.name] = limit_of(item.q)
  end
  return quotas
end

-- Of several policies of a kind, the one of which least is left.
local function of_items(items, headers, out)
  local quotas = quotas_of(headers)
  for _, item in ipairs(items) do
    local kind, left = kind_of(item.name), number(item.r)
    local known = out[kind]
    if left and (not known or left < known.left) then
      out[kind] = word(quotas[item.name], left, reset_of(item.t), true)
    end
  end
end

local function field(text, name)
  return (", " .. text):match(",%s*" .. name .. "=([^,%s]*)")
end

-- Of "100" or "100, 100;w=60".
local function first_limit(text)
  if not text or #text > MOST_TEXT then return nil end
  return limit_of(text:match "^[^,]*$" or text:match "^([^,]*),.*;%s*w=%d")
end

local function of_ietf(headers)
  local out, text = {}, first(headers.ratelimit)
  if text and #text <= MOST_TEXT then
    of_items(items_of(text), headers, out)
    if not next(out) then
      out.requests = word(limit_of(field(text, "limit")), number(field(text, "remaining")),
        reset_of(field(text, "reset")), true)
    end
  elseif not text then
    out.requests = word(first_limit(first(headers["ratelimit-limit"])),
      number(single(headers["ratelimit-remaining"])),
      reset_of(single(headers["ratelimit-reset"])), true)
  end
  return out
end

-- }========================================================================

--- Is there anything to read?
---@param headers table<string, string|string[]> names in lower case
---@return boolean
function rate_headers.has(headers)
  return (headers["x-ratelimit-limit-requests"] or headers["x-ratelimit-limit-tokens"]
    or headers.ratelimit or headers["ratelimit-limit"]
    or headers["x-ratelimit-remaining-requests"]
    or headers["x-ratelimit-remaining-tokens"]) ~= nil
end

--- What they say: of each kind { limit =, left =, reset = seconds, window = boolean }, nil where
--- nothing usable is said of it.
---@param headers table<string, string|string[]>
---@return table? requests, table? tokens
function rate_headers.read(headers)
  local requests, tokens = of_openai(headers, "requests"), of_openai(headers, "tokens")
  if requests and tokens then return requests, tokens end
  local other = of_ietf(headers)
  return requests or other.requests, tokens or other.tokens
end

return rate_headers
