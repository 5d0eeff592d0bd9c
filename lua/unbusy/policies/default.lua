-- default: what unbusy does without a policy, written down. Copy it, and change what you like.
local policy = {}

local TRIES = 5    -- in all, the first included
local BASE = 1     -- seconds before the second try
local FACTOR = 2   -- each wait is so many times the one before it
local CAP = 30     -- seconds; no wait is longer
local JITTER = 0.1 -- so much is added by chance, or all who failed together would come together

-- Asked where another try may help: the server was busy, slow or broken, or another target or key
-- is left. Not where the request itself is wrong, nor where no time is left.
function policy.retry(try)
  if try.number >= TRIES then return nil end -- enough
  if try.untried then return 0 end -- somebody who was not asked yet is free: go there at once
  if try.targets == 1 and (try.retry_after or 0) >= 0.1 then
    return 0 -- the server has said how long: that is waited for in any case
  end
  local wait = math.min(BASE * FACTOR ^ (try.number - 1), CAP)
  return wait * (1 + JITTER * math.random())
end

return policy
