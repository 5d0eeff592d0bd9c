local random = require "spec.support.random"
local retry_after = require "unbusy.retry_after"

-- {== The model: every source read once more, by patterns and tables ========

local LONGEST = 315576000

local function trim(text) return (text:gsub("^[ \t]+", ""):gsub("[ \t]+$", "")) end

local function usable(n) return n and n <= LONGEST and n or nil end

-- The number at the start and what follows it. Of a fraction six digits count.
local function number_at(text)
  local whole, part, rest = text:match "^(%d+)%.(%d+)(.*)$"
  if whole then return tonumber(whole .. "." .. part:sub(1, 6)), rest end
  whole, rest = text:match "^(%d+)(.*)$"
  if whole then return tonumber(whole) + 0.0, rest end
end

local function bare(text)
  local n, rest = number_at(text)
  return rest == "" and n or nil
end

local function number(text) return bare(trim(text)) end

local function seconds(text) return usable(number(text)) end

local function ms(text)
  local n = number(text)
  return usable(n and n / 1000)
end

local go_units = { h = 3600, m = 60, s = 1, ms = 1e-3, us = 1e-6, ["\194\181s"] = 1e-6,
  ["\206\188s"] = 1e-6, ns = 1e-9 }

local function go(text)
  if text == "" then return nil end
  local sum = 0
  while text ~= "" do
    local n, rest = number_at(text)
    local unit = n and rest:match "^[^%d]*"
    if not n or not go_units[unit] then return nil end
    sum, text = sum + n * go_units[unit], rest:sub(#unit + 1)
  end
  return usable(sum)
end

local function duration(text)
  text = trim(text)
  return text == "0" and 0 or go(text)
end

local months, weekdays = {}, {}
for month in ("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"):gmatch "%a+" do
  months[#months + 1] = month
  months[month] = #months
end
for day in ("Sunday Monday Tuesday Wednesday Thursday Friday Saturday"):gmatch "%a+" do
  weekdays[day], weekdays[day:sub(1, 3)] = "long", "short"
end

local function month_length(year, month)
  local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
  return month == 2 and leap and 29 or ({ 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 })[month]
end

local days_before = { [0] = 0 } -- day 0: 1 January of year 0
for year = 0, 10100 do
  days_before[year + 1] = days_before[year] + 337 + month_length(year, 2)
end

local function unix(year, month, day, hour, minute, second)
  local days = days_before[year] - days_before[1970] + day - 1
  for m = 1, month - 1 do days = days + month_length(year, m) end
  return ((days * 24 + hour) * 60 + minute) * 60 + second
end

-- By mean years: at New Year it may be a day early or late.
local function year_of(now)
  return math.min(9999, 1970 + math.floor(math.max(0, now) / 31556952))
end

local TIME = "(%d%d):(%d%d):(%d%d)"

local function date(text, now)
  text = trim(text)
  local long = false
  local weekday, day, month, year, h, m, s = text:match("^(%a+), (%d%d) (%a+) (%d%d%d%d) " .. TIME
    .. " GMT$")
  if not weekday then
    weekday, day, month, year, h, m, s = text:match("^(%a+), (%d%d)%-(%a+)%-(%d%d) " .. TIME
      .. " GMT$")
    long = weekday ~= nil
  end
  if not weekday then
    weekday, month, day, h, m, s, year = text:match("^(%a+) (%a+) ([ %d]%d) " .. TIME
      .. " (%d%d%d%d)$")
  end
  month = months[month or ""]
  if type(month) ~= "number" or weekdays[weekday] ~= (long and "long" or "short") then return end
  year, day, h, m, s = tonumber(year), tonumber(day), tonumber(h), tonumber(m), tonumber(s)
  if long then
    local two = year
    year = year_of(now) + 50
    while year % 100 ~= two do year = year - 1 end
  end
  if year < 1 or day < 1 or day > month_length(year, month) or h > 23 or m > 59 or s > 60 then
    return
  end
  return unix(year, month, day, h, m, s)
end

-- The pieces between ',' and ';' that stand outside quotes, each with what ends it.
local function pieces(text)
  local out, piece, quoted, at = {}, "", false, 1
  while at <= #text do
    local c = text:sub(at, at)
    if quoted and c == "\\" and at < #text then
      piece, at = piece .. text:sub(at, at + 1), at + 1
    elseif not quoted and (c == "," or c == ";") then
      out[#out + 1] = { text = trim(piece), ends = c }
      piece = ""
    else
      if c == '"' then quoted = not quoted end
      piece = piece .. c
    end
    at = at + 1
  end
  out[#out + 1] = { text = trim(piece), ends = "," }
  return not quoted and out or {}
end

local function rate_limit(text)
  local longest, item, all = nil, {}, {}
  local function consider(left, wait)
    if left == 0 and usable(wait) and wait > (longest or -1) then longest = wait end
  end
  for _, piece in ipairs(pieces(text)) do
    local key, value = piece.text:match "^([^=]*)=(.*)$"
    if key then item[key], all[key] = bare(value) or false, bare(value) or false end
    if piece.ends == "," then
      consider(item.r, item.t)
      item = {}
    end
  end
  consider(all.remaining, all.reset)
  return longest
end

local spoken_units = {}
for names, size in pairs { ["s sec secs second seconds"] = 1, ["m min mins minute minutes"] = 60,
  ["h hr hrs hour hours"] = 3600, ["d day days"] = 86400, ["ms millisecond milliseconds"] = 1e-3,
  us = 1e-6, ns = 1e-9 } do
  for name in names:gmatch "%a+" do spoken_units[name] = size end
end

local function spoken(text)
  local sum
  text = text:gsub("^[ \t]*:?", "")
  while true do
    local n, rest = number_at((text:gsub("^[ \t]+", "")))
    local unit = n and rest:match "^[ \t]*(%a*)"
    local size = spoken_units[(unit or ""):lower()]
    if not size then return usable(sum) end
    sum = (sum or 0) + n * size
    text = rest:gsub("^[ \t]*%a*", "", 1)
    if (text:match "^[ \t]*(%a*)"):lower() == "and" then text = text:gsub("^[ \t]*%a*", "", 1) end
  end
end

local function body_words(text)
  local promises = { again = true, retry = true, retrying = true, reset = true, resets = true }
  local promised, at = false, 1
  while at <= #text do
    local word = text:match("^%a+", at)
    if not word then
      promised = promised and text:find("^[%d \t,%-:'()]", at) ~= nil
      at = at + 1
    else
      at, word = at + #word, word:lower()
      if promises[word] then promised = true end
      local found = promised and (word == "in" or word == "after") and spoken(text:sub(at))
      if found then return found end
    end
  end
end

local function body(text)
  for at in text:gmatch '"retryDelay()' do
    local value = text:match('^\\*"[ \t\r\n]*:[ \t\r\n]*\\*"([^"\\]*)["\\]', at)
    local found = value and go(value)
    if found then return found end
  end
  return body_words(text)
end

-- What may have been several values by itself: a text, and each part of it between ", ", alone and
-- with the part before it.
local function members(text)
  local out, before = { text }, nil
  for part in (text .. ", "):gmatch "(.-), " do
    out[#out + 1] = before and before .. ", " .. part
    out[#out + 1], before = part, part
  end
  return out
end

local function first(list, f, ...)
  for _, text in ipairs(type(list) == "table" and list or { list }) do
    for _, member in ipairs(members(text)) do
      local found = f(member, ...)
      if found then return found end
    end
  end
end

local function left_until(h, now)
  now = first(h.date, date, now) or now
  local when = first(h["retry-after"], date, now)
  return when and usable(math.max(0, when - now))
end

local function reset(h, what)
  local left = h["x-ratelimit-remaining-" .. what]
  if left and first(left, seconds) ~= 0 then return nil end
  return first(h["x-ratelimit-reset-" .. what], duration)
end

local function parse(h, now, text)
  local requests, tokens = reset(h, "requests"), reset(h, "tokens")
  local limits = type(h.ratelimit) == "table" and table.concat(h.ratelimit, ",") or h.ratelimit
  local spent = first(h["ratelimit-remaining"], seconds) == 0
  for _, source in ipairs {
    { "retry-after-ms", first(h["retry-after-ms"], ms) },
    { "retry-after", first(h["retry-after"], seconds) or left_until(h, now) },
    { "ratelimit", limits and rate_limit(limits) },
    { "ratelimit-reset", spent and first(h["ratelimit-reset"], seconds) },
    { "x-ratelimit-reset-requests", requests and requests >= (tokens or 0) and requests },
    { "x-ratelimit-reset-tokens", tokens },
    { "body", text and body(text) },
  } do
    if source[2] then return source[2], source[1] end
  end
end

-- }=========================================================================

describe("retry_after and a plain reading of everything", function()
  local function digits(r) return tostring(r:int(10 ^ r:int(11)) - 1):gsub("%..*", "") end

  local function amount(r)
    local kind = r:int(12)
    if kind <= 6 then return (digits(r)) end
    if kind <= 9 then return digits(r) .. "." .. digits(r) end
    return r:pick { "", "-1", "+5", "1e3", "0x10", ".5", "5.", "1,5", "inf", "nan", "315576000",
      "315576001", "315576000.0000009", ("9"):rep(400), "007", "1 2", "５" }
  end

  local function two(r, n) return ("%02d"):format(r:int(n) - 1) end

  local names = { "Mon", "Tue", "Sun", "Sunday", "Wednesday", "Sund", "mon", "Xyz" }

  local function http_date(r, now)
    local clock = two(r, 25) .. ":" .. two(r, 61) .. ":" .. two(r, 62)
    local year = r:chance(0.8) and year_of(now) + r:int(4) - 2 or r:int(10000) - 1
    local day, month = two(r, 33), r:chance(0.95) and months[r:int(12)] or r:pick { "may", "Foo" }
    local short, long = names[r:int(3)], names[3 + r:int(2)]
    if r:chance(0.1) then short, long = r:pick(names), r:pick(names) end
    return r:pick {
      ("%s, %s %s %04d %s GMT"):format(short, day, month, year, clock),
      ("%s, %s-%s-%02d %s GMT"):format(long, day, month, year % 100, clock),
      ("%s %s %2d %s %04d"):format(short, month, tonumber(day), clock, year),
    }
  end

  local function go_duration(r)
    local out = {}
    for i = 1, r:int(3) do
      out[i] = amount(r) .. r:pick { "h", "m", "s", "ms", "us", "\194\181s", "\206\188s", "ns", "s",
        "m", "S", "", "d", "sec", " s" }
    end
    return table.concat(out)
  end

  local function limits(r)
    local out = {}
    for i = 1, r:int(3) do
      local pairs_of = { r:pick { '"default"', '"a;b,r=0"', '"q\\"x"', "d", '"open', "" } }
      for _ = 1, r:int(4) do
        pairs_of[#pairs_of + 1] = r:pick { "r", "t", "r", "t", "remaining", "reset", "limit", "R" }
          .. r:pick { "=", "=", "=", " = ", "" } .. r:pick { "0", "0", amount(r) }
      end
      out[i] = table.concat(pairs_of, r:pick { ";", ";", "; ", "," })
    end
    return table.concat(out, r:pick { ",", ", " })
  end

  local scraps = { "try", "again", "retry", "Retrying", "RESET", "resets", "in", "in", "after",
    "After", "please", "and", "AND", ".", ",", ":", "(", "-", "\n", "\0", "é", "{\"error\":", "}",
    "seconds", "Minutes", "s", "ms", "hour", "d", "fortnights" }

  local function words(r)
    local out = {}
    for i = 1, r:int(9) do
      local kind = r:int(10)
      out[i] = kind <= 5 and r:pick(scraps) or kind <= 7 and amount(r) or kind == 8
        and "try again in " .. amount(r) .. r:pick { "s", " seconds", "m", " Min and 3 s" }
        or kind == 9 and go_duration(r)
        or r:pick { '"retryDelay": "', '\\"retryDelay\\":\\"', '"retryDelay" :\n"', '"retryDelay"' }
          .. go_duration(r) .. r:pick { '"', '\\"', "" }
    end
    return table.concat(out, r:pick { " ", " ", "", "  " })
  end

  -- Blanks around it, or a byte of it changed, at times.
  local function worn(r, text)
    local kind = r:int(20)
    if kind == 1 then return r:pick { " ", "\t  " } .. text .. r:pick { "", " \t" } end
    if kind > 3 or text == "" then return text end
    local at = r:int(#text)
    return text:sub(1, at - 1) .. r:pick { "", " ", "0", ".", string.char(r:int(256) - 1) }
      .. text:sub(at + 1)
  end

  local makers = {
    ["retry-after-ms"] = amount, ["ratelimit-reset"] = amount, ratelimit = limits,
    ["ratelimit-remaining"] = function(r) return r:chance(0.7) and "0" or amount(r) end,
    ["x-ratelimit-reset-requests"] = go_duration, ["x-ratelimit-reset-tokens"] = go_duration,
    ["x-ratelimit-remaining-requests"] = function(r) return r:chance(0.7) and "0" or amount(r) end,
    ["x-ratelimit-remaining-tokens"] = function(r) return r:chance(0.7) and "0" or amount(r) end,
    ["retry-after"] = function(r, now) return r:chance(0.4) and amount(r) or http_date(r, now) end,
    date = http_date,
  }
  local order = {}
  for name in pairs(makers) do order[#order + 1] = name end
  table.sort(order)

  -- A few headers; each as a text, or as a list of what came more than once.
  local function headers(r, now)
    local h = {}
    for _ = 1, r:int(3) - 1 + (r:chance(0.5) and 1 or 0) do
      local name = r:pick(order)
      h[name] = worn(r, makers[name](r, now))
      if name == "ratelimit-reset" then h["ratelimit-remaining"] = "0" end
      if r:chance(0.3) then
        local both = { h[name], worn(r, makers[name](r, now)) }
        h[name] = r:chance(0.5) and both or table.concat(both, ", ")
      end
    end
    return h
  end

  local function told(h, now, text)
    local out = { ("now %.0f"):format(now) }
    for name, value in pairs(h) do
      if type(value) == "table" then value = table.concat(value, " | ") end
      out[#out + 1] = ("%s: %q"):format(name, value)
    end
    out[#out + 1] = text and ("body: %q"):format(text)
    return table.concat(out, ", ")
  end

  local function near(a, b) return a == b or math.abs(a - b) <= 1e-9 * math.max(1, b) end

  it("agree on 100,000 random replies, most of them broken somewhere", function()
    local r = random.new(random.seed(1))
    local seen = {}
    random.walk(r, 100000, function()
      local now = r:int(r:pick { 4e9, 4e9, 1e11 })
      local h, text = headers(r, now), r:chance(0.4) and words(r) or nil
      local got, from = retry_after.parse(h, { now = now, body = text })
      local expected, source = parse(h, now, text)
      if from ~= source or not near(got, expected) then
        error(("%s from %s, expected %s from %s: %s"):format(tostring(got), tostring(from),
          tostring(expected), tostring(source), told(h, now, text)), 0)
      end
      seen[from or "nowhere"] = (seen[from or "nowhere"] or 0) + 1
    end)
    for _, name in ipairs { "retry-after-ms", "retry-after", "ratelimit", "ratelimit-reset",
      "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "body", "nowhere" } do
      assert.is_true((seen[name] or 0) > 500, name .. ": " .. (seen[name] or 0))
    end
  end)
end)
