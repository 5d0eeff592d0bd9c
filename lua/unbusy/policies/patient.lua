-- patient: for jobs at night. It waits as long as the call's deadline allows, and would rather fail
-- than put a text in place of an answer.
local policy = {}

local CAP = 60  -- seconds of the longest wait
local LAST = 5  -- seconds that must be left for one more try

-- 2, 4, 8 … 60 s, and up to a quarter longer; never more than half of what is left, so that there
-- is always one more try before the end.
function policy.retry(try)
  if try.remaining < LAST then return nil end
  if try.untried then return 0 end
  local wait = math.min(2 ^ try.number, CAP) * (1 + 0.25 * math.random())
  return math.min(wait, try.remaining / 2)
end

-- A text would end up among the results: the job is to see that there is none.
function policy.fallback()
  return false
end

-- A place in the server's queue is kept.
function policy.queued()
  return "wait"
end

return policy
