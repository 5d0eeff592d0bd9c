-- interactive: somebody sits and waits. Elsewhere at once, short waits, and soon the fallback.
local policy = {}

local TRIES = 3
local SLOW = 2     -- times what the quickest target takes: then it is asked behind the others
local LOOK = 0.05  -- share of the calls that go the usual way, to see whether it is quick again
local LEAST = 1    -- seconds; with less left, no answer comes in time

-- Targets that are free and quick come first, in the order of the configuration; then the others.
function policy.route(_, targets)
  local least = math.huge
  for _, t in ipairs(targets) do
    if t.free then least = math.min(least, t.round_trip or math.huge) end
  end
  local first, behind = {}, {}
  for _, t in ipairs(targets) do
    local good = t.free and t.tries == 0 and (t.round_trip or 0) <= SLOW * least
    table.insert(good and first or behind, t.name)
  end
  if #first == 0 or #behind == 0 or math.random() < LOOK then return nil end -- as usual
  for _, name in ipairs(behind) do first[#first + 1] = name end
  return first
end

-- 0.25 and 0.5 s, and up to as much again. A server that wants a longer wait gets none.
function policy.retry(try)
  if try.number >= TRIES or try.remaining < LEAST then return nil end
  if try.untried then return 0 end
  local wait = 0.25 * 2 ^ (try.number - 1) * (1 + math.random())
  if try.targets == 1 and (try.retry_after or 0) > 2 then return nil end
  return wait
end

local PATIENCE = 3 -- seconds in a server's queue, or for a first word
local SOON = 1.5   -- seconds without an answer; nobody else is asked before

-- Its place in a server's queue is given up where somebody else is free, and answers at once.
function policy.queued(try)
  if try.seconds < PATIENCE or not try.untried then return "wait" end
  return "switch"
end

-- Somebody else is asked beside it when an answer is later than most are. A stream must begin by
-- then; a whole answer takes as long as it is long, so how long they take here must have been seen.
function policy.hedge(try)
  if not try.untried then return nil end
  if try.stream then return math.min(math.max(try.p95 or SOON, SOON), PATIENCE) end
  return try.p95 and math.max(try.p95, SOON)
end

return policy
