--- Deadlines in order: a binary heap of { at, order, task } entries.
--
-- An entry that is no longer wanted is marked `dead` and passed over when it comes to the top; the
-- heap is rebuilt when more than half of it is dead, so that a task that waits a million times
-- under one far deadline does not leave a million entries behind.
local timers = {}
timers.__index = timers

--- No deadlines yet.
function timers.new()
  return setmetatable({ count = 0, dead = 0, order = 0 }, timers)
end

local function before(a, b)
  if a.at ~= b.at then return a.at < b.at end
  return a.order < b.order -- equal deadlines in the order they were set
end

local function sift_up(heap, i)
  local entry = heap[i]
  while i > 1 do
    local parent = math.floor(i / 2)
    if not before(entry, heap[parent]) then break end
    heap[i], i = heap[parent], parent
  end
  heap[i] = entry
end

local function sift_down(heap, i, count)
  local entry = heap[i]
  while 2 * i <= count do
    local child = 2 * i
    if child < count and before(heap[child + 1], heap[child]) then child = child + 1 end
    if not before(heap[child], entry) then break end
    heap[i], i = heap[child], child
  end
  heap[i] = entry
end

local function remove_top(heap)
  local top, count = heap[1], heap.count
  heap[1] = heap[count]
  heap[count] = nil
  heap.count = count - 1
  if count > 1 then sift_down(heap, 1, count - 1) end
  return top
end

local function rebuild(heap)
  local kept = 0
  for i = 1, heap.count do
    local entry = heap[i]
    heap[i] = nil
    if not entry.dead then
      kept = kept + 1
      heap[kept] = entry
    end
  end
  heap.count, heap.dead = kept, 0
  for i = math.floor(kept / 2), 1, -1 do sift_down(heap, i, kept) end
end

--- Adds a deadline for `task`; the entry is the handle for `cancel`.
function timers:add(at, task)
  local order, count = self.order + 1, self.count + 1
  local entry = { at = at, order = order, task = task }
  self[count] = entry
  sift_up(self, count)
  self.order, self.count = order, count -- last: what comes before may raise for want of memory
  return entry
end

--- The deadline of `entry` is no longer wanted.
function timers:cancel(entry)
  entry.dead, entry.task = true, nil
  self.dead = self.dead + 1
  if self.dead > 64 and self.dead > self.count / 2 then rebuild(self) end
end

local function top(self)
  while self.count > 0 and self[1].dead do
    remove_top(self)
    self.dead = self.dead - 1
  end
  return self[1]
end

--- The earliest deadline, or nil.
function timers:next()
  local entry = top(self)
  return entry and entry.at
end

--- Takes out one task whose deadline is not after `now`, or nil.
function timers:due(now)
  local entry = top(self)
  if entry and entry.at <= now then return remove_top(self).task end
end

return timers
