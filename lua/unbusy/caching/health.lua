--- Whether to ask a server that may be in trouble: at once, or after a pause that grows.
--
--       good                     bad, or late three times in a row
--     ┌──────┐  ───────────────────────────────────────────────►  ┌──────┐
--     │ well │                                                    │ ill  │ ◄─┐ the time is up:
--     └──────┘  ◄───────────────────────────────────────────────  └──────┘ ──┘ one may ask; the
--                              one that asked was good                         next pause is longer
--
-- It reads no clock: each of them is told the time.
local health = {}
health.__index = health

local FIRST, MOST = 0.5, 30 -- seconds of the first pause and of the longest
local LATE = 3              -- answers too late, one after the other, are trouble

--- A server of which nothing bad is known.
---@param chance? function gives numbers of 0 to 1
function health.new(chance)
  return setmetatable({ chance = chance or math.random, pause = 0, rests_until = 0, late_ones = 0,
    probing = false }, health)
end

--- May it be asked now? Of a server that is ill one at a time: whoever may ask is expected to say
--- how it went; where nobody does, the next one may after a pause.
function health:may_ask(now)
  if self.pause == 0 then return true end
  if now < self.rests_until then return false end
  self.rests_until, self.probing = now + self.pause, true
  return true
end

--- Is it well, as far as we know?
function health:is_well()
  return self.pause == 0
end

--- Seconds until it may be asked.
function health:rest(now)
  return self.pause > 0 and math.max(self.rests_until - now, 0) or 0
end

--- It has answered in time. True when that is news.
function health:good()
  self.late_ones = 0
  if self.pause == 0 then return false end
  self.pause, self.probing = 0, false
  return true
end

--- It is in trouble. True when that is news: it was well before.
function health:bad(now)
  local news = self.pause == 0
  if not news and not self.probing then return false end -- more of the same trouble
  self.late_ones, self.probing = 0, false
  self.pause = math.min(news and FIRST or self.pause * 2, MOST)
  self.rests_until = now + self.pause * (0.75 + 0.5 * self.chance())
  return news
end

--- It has not answered in time. True when that makes it ill: then say `bad`.
function health:late()
  self.late_ones = self.late_ones + 1
  return self.pause > 0 or self.late_ones >= LATE
end

return health
