--- Pools in their order: what each has answered, what that cost, and whether its calls go on to the
-- next one.
--
--     home pool ──► place there
--         │ full, late, or out: a call is sent on
--         └──► next pool          spilling, until none has been sent on for `hold` seconds
--
-- A pool does not shut when it spills: whatever it has room for, it still takes. Spilling is what
-- is told of it (an event, `client:status()`), and while it does, nobody waits for a place there
-- (`spill.queue`). With a region all processes see it, and count together.
local spill = {}
spill.__index = spill

local function new_pool(name, given)
  local o = given.spill or {}
  return { name = name, priority = given.priority, start = o.start, patience = o.queue or 0,
    hold = o.hold or 5, answers = 0, cost = 0, sent_on = 0, until_ = 0, told = false }
end

--- The pools of a client.
---@param given table<string, table>? see `routing.options`; nil: all are alike
---@param names string[] of all pools
---@param tell function(event) hears of each that begins or ends to spill
---@param common table? see `unbusy.shared`
---@param tag string? what tells these pools from others of the same names there
---@return table
function spill.new(given, names, tell, common, tag)
  local self = setmetatable({ by_name = {}, names = names, common = given and common or false,
    tell = tell, tag = tag, ordered = given ~= nil }, spill)
  for _, name in ipairs(names) do
    self.by_name[name] = new_pool(name, given and given[name] or { priority = 1 })
  end
  return self
end

-- What is known of a pool among processes, by its name.
local function mark_of(self, what, pool) return self.tag .. what .. pool.name end

local function count(self, what, pool, n)
  if self.common then self.common.marks:add(mark_of(self, what, pool), n) end
end

-- Is it still spilling? What other processes have seen counts.
local function spills(self, pool, now)
  if pool.until_ <= now and self.common and now >= (pool.heeded_until or 0) then
    pool.heeded_until = now + self.common.REFRESH
    pool.until_ = math.max(pool.until_, self.common:marked(mark_of(self, " until ", pool)))
  end
  return pool.until_ > now
end

-- Tells of a change, once for each.
local function note_change(self, pool, now, to, reason)
  local on = pool.until_ > now
  if on == pool.told then return end
  pool.told = on
  self.tell { pool = pool.name, spills = on, to = to, reason = reason }
end

--- Does the pool send calls on, just now or until a moment ago?
---@param name string
---@param now number
---@return boolean
function spill:is_on(name, now)
  local pool = self.by_name[name]
  local on = spills(self, pool, now)
  note_change(self, pool, now)
  return on
end

--- A call whose home is one pool was let in at another.
---@param home string
---@param to string
---@param reason "full"|"start"|"open"
---@param now number
function spill:send_on(home, to, reason, now)
  local pool = self.by_name[home]
  pool.sent_on = pool.sent_on + 1
  count(self, " sent on ", pool, 1)
  local before = pool.until_
  pool.until_ = now + pool.hold
  if self.common and pool.until_ - before > self.common.REFRESH then
    self.common:mark(mark_of(self, " until ", pool), pool.until_, now)
  end
  note_change(self, pool, now, to, reason)
end

--- A target has answered, and that cost so much (nil: nobody knows).
function spill:answered(name, cost)
  local pool = self.by_name[name]
  pool.answers = pool.answers + 1
  if cost then pool.cost = pool.cost + cost end
  if not self.common then return end
  count(self, " answers ", pool, 1)
  if cost and cost > 0 then count(self, " cost ", pool, cost) end
end

-- Of all processes, where they share that.
local function counted(self, what, pool, own)
  return self.common and self.common.marks:get(mark_of(self, what, pool)) or own
end

--- Of each pool: `answers`, `share` of all answers, `cost` and `cost_each`, calls `sent_on` to
--- another one, and whether it `spills`.
---@param now number
---@return table<string, table>
function spill:status(now)
  local out, sum = {}, 0
  for name, pool in pairs(self.by_name) do
    out[name] = { priority = self.ordered and pool.priority or nil,
      answers = counted(self, " answers ", pool, pool.answers),
      cost = counted(self, " cost ", pool, pool.cost),
      sent_on = counted(self, " sent on ", pool, pool.sent_on), spills = self:is_on(name, now) }
    sum = sum + out[name].answers
  end
  for _, s in pairs(out) do
    s.share = sum > 0 and s.answers / sum or 0
    s.cost_each = s.answers > 0 and s.cost / s.answers or 0
  end
  return out
end

return spill
