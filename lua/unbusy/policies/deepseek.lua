-- deepseek: for DeepSeek's own API and for relays that pass its answers on.
local policy = {}

local HOUR, DAY = 3600, 86400

-- The busy hours: 09 to 12 and 14 to 18 o'clock in Beijing, on working days. It knows no holidays.
local function is_peak()
  local beijing = now() + 8 * HOUR
  local weekday = math.floor(beijing / DAY) % 7 -- 0 is a Thursday, as the first day of 1970 was
  if weekday == 2 or weekday == 3 then return false end
  local hour = beijing % DAY / HOUR
  return hour >= 9 and hour < 12 or hour >= 14 and hour < 18
end

-- What some relays send as if the model had said it: the sentence alone, and no token was made.
local function is_stock_answer(try)
  local words = (try.text or ""):gsub("%s", "")
  if words ~= "服务器繁忙，请稍后再试。" and words ~= "服务器繁忙，请稍后再试" then return false end
  local usage = type(try.body) == "table" and try.body.usage
  return type(usage) ~= "table" or (usage.completion_tokens or 0) == 0
end

-- What the built-in rules already know (503, 429, 402, keep-alives and nothing else, an answer that
-- ends with insufficient_system_resource) is left to them: nil.
function policy.classify(try)
  if not try.code then return is_stock_answer(try) and "busy" or nil end
  local text = try.text or ""
  if text:find("服务器繁忙", 1, true) then return "busy" end -- wherever it stands, with any status
  if text:find("Insufficient Balance", 1, true) then return "quota" end -- a relay's 400 or 500
  return nil
end

local TRIES, CAP = 6, 60
local FIRST = { busy = 2, limited = 5 } -- seconds; for anything else, 1

-- A 429 means that all places of the account are taken, each until the last word of an answer: that
-- takes longer to pass than a 503. In the busy hours, what nobody waits for steps back.
function policy.retry(try)
  if try.number >= TRIES then return nil end
  if try.untried then return 0 end
  local wait = (FIRST[try.code] or 1) * 2 ^ (try.number - 1)
  if try.priority == "batch" and is_peak() then wait = wait * 4 end
  return math.min(wait, CAP) * (1 + 0.25 * math.random())
end

local PATIENCE = { interactive = 12, normal = 20 } -- seconds of keep-alives; a batch call waits
local BESIDE = 8 -- seconds after which somebody waits for somebody else, too

-- A place in DeepSeek's queue is lost by leaving it, so go only where somebody else is free. Where
-- somebody waits, ask beside it first: it may not be had, since second tries are few.
function policy.queued(try)
  local most = PATIENCE[try.priority]
  if not most or not try.untried then return "wait" end
  if try.seconds >= most then return "switch" end
  return try.priority == "interactive" and try.seconds >= BESIDE and "hedge" or "wait"
end

-- A second try elsewhere, beside the first: sooner in quiet hours, where silence is no queue; and
-- not before most answers of its kind have begun. A whole answer takes as long as it is long: how
-- long they take here must have been seen.
function policy.hedge(try)
  if try.priority == "batch" or not (try.p95 or try.stream) then return nil end
  return math.max(is_peak() and 15 or 5, try.p95 or 0)
end

-- What is asked ahead of time, and may wait for it, is half the price in the quiet hours.
function policy.peak()
  return is_peak()
end

return policy
