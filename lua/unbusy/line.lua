--- Those who wait, in the order in which they are asked for.
--
-- Three lists, one of each priority; within one, the order of the calls' arrival, so that a call
-- that has to try again does not lose its turn. Whose list is next, say the turns (`unbusy.turns`).
--
-- A walk asks one after the other: `begin`, then `next` and, where nothing came of it, `skip`, or
-- `serve`, which takes the waiter out and counts the turn.
local turns = require "unbusy.turns"

local line = {}
line.__index = line

---@param account table see `unbusy.turns`; or what stands for one among processes
function line.new(account)
  return setmetatable({ {}, {}, {}, count = 0, turns = account, counts = { 0, 0, 0 },
    at = { 1, 1, 1 } }, line)
end

--- Lines up a waiter: { priority = 1 to 3, order = … }.
function line:insert(waiter)
  local p = waiter.priority
  local list, i = self[p], self.counts[p]
  if i == 0 and self.turns.join then self.turns:join(p) end
  while i >= 1 and waiter.order < list[i].order do
    list[i + 1], i = list[i], i - 1
  end
  list[i + 1] = waiter
  self.counts[p] = self.counts[p] + 1
  self.count = self.count + 1
end

--- Takes a waiter out: was it there?
---@return boolean
function line:remove(waiter)
  local p = waiter.priority
  local list = self[p]
  for i = 1, self.counts[p] do
    if list[i] == waiter then
      table.remove(list, i)
      self.counts[p] = self.counts[p] - 1
      self.count = self.count - 1
      if i < self.at[p] then self.at[p] = self.at[p] - 1 end -- in the middle of a walk
      return true
    end
  end
  return false
end

--- The first of all, of those in `loop` where it is given; nil for none.
---@param loop table?
function line:first(loop)
  for p = 1, #turns.names do
    local list = self[p]
    for i = 1, self.counts[p] do
      if not loop or list[i].loop == loop then return list[i] end
    end
  end
end

--- The last of the least urgent, if it is less urgent than `priority`.
function line:last_below(priority)
  for p = #turns.names, priority + 1, -1 do
    if self.counts[p] > 0 then return self[p][self.counts[p]] end
  end
end

--- Does nobody of its priority stand behind this one?
function line:is_last(waiter)
  return self[waiter.priority][self.counts[waiter.priority]] == waiter
end

-- {== Walks ===============================================================

--- A walk begins at the front.
function line:begin()
  local at = self.at
  at[1], at[2], at[3] = 1, 1, 1
end

--- Who is to be asked for now; nil at the end of the walk.
function line:next()
  local at, counts, mask = self.at, self.counts, 0
  if at[1] <= counts[1] then mask = 1 end
  if at[2] <= counts[2] then mask = mask + 2 end
  if at[3] <= counts[3] then mask = mask + 4 end
  if mask == 0 then return nil end
  local p = self.turns:next(mask)
  return self[p][at[p]]
end

--- Nothing came of it: the walk goes on behind this one.
function line:skip(waiter)
  self.at[waiter.priority] = self.at[waiter.priority] + 1
end

--- It is served: it leaves, and had a turn. Was it there?
---@return boolean
function line:serve(waiter)
  if not self:remove(waiter) then return false end
  self.turns:take(waiter.priority)
  return true
end

-- }========================================================================

return line
