-- frugal: the cheapest target first, questions that were answered once are not paid twice, and a
-- busy server is given time before a dearer one is asked.
local policy = {}

local TRIES = 5
local AGAIN = 2           -- tries at the cheap ones before a dearer one is asked
local KEPT = 24 * 3600    -- seconds that an answer is kept, where the client has a cache

-- Of a million tokens of question and as many of answer. Without a price it may be anything: last.
local function price_of(target)
  local p = target.price
  return p and p.input + p.output or math.huge
end

-- Is `a` asked before `b`? Those that have failed this call go last, before them those that are
-- open.
local function is_before(a, b)
  local tired, tired_b = a.tries >= AGAIN, b.tries >= AGAIN
  if tired ~= tired_b then return tired_b end
  local open, open_b = a.state == "open", b.state == "open"
  if open ~= open_b then return open_b end
  if price_of(a) ~= price_of(b) then return price_of(a) < price_of(b) end
  return a.place < b.place
end

-- All of them, so that a dearer one is asked where the cheap ones have no place.
function policy.route(_, targets)
  for i, t in ipairs(targets) do t.place = i end
  table.sort(targets, is_before)
  for i, t in ipairs(targets) do targets[i] = t.name end
  return targets
end

-- 4, 8, 16, 32 s, and up to a quarter longer: a try that comes too soon is one for nothing.
function policy.retry(try)
  if try.number >= TRIES then return nil end
  local lasting = try.code == "quota" or try.code == "auth" or try.code == "tls"
  if lasting and try.untried then return 0 end -- no wait makes that better
  return 2 ^ (try.number + 1) * (1 + 0.25 * math.random())
end

-- A day, but for what wants another answer each time: the built-in rules know that.
function policy.cache(request)
  if (tonumber(request.temperature) or 1) > 1 or (tonumber(request.n) or 1) > 1 then return nil end
  return KEPT
end

-- Blanks before and behind a question do not make it another one.
function policy.normalise(request)
  for _, message in ipairs(type(request.messages) == "table" and request.messages or {}) do
    if type(message.content) == "string" then
      message.content = message.content:match("^.*%S", message.content:match "^%s*()") or ""
    end
  end
  return request
end

return policy
