--- Several tasks that do one job beside each other.
local crew = {}

-- Begins a task for each worker. Some hosts run one at once, perhaps to its end; where one has no
-- room for another, those that are there do the job, and without any there is nobody.
local function begin(loop, self)
  for i = 1, self.open do
    local ok, task = pcall(loop.spawn, self.worker)
    if not ok then
      self.open = self.open - (self.count - i + 1)
      if i == 1 then error(task, 0) end
      return
    end
    self.tasks[i] = task
  end
end

--- Runs `work()` in so many tasks at once. All have ended when this returns; when it raises (it was
--- cancelled, or a worker has raised something) they end at their next turn.
---@param loop table
---@param count integer
---@param work function
---@param stop function called when it raises, so that workers find no more to do
function crew.run(loop, count, work, stop)
  if count == 0 then return end
  local self = { tasks = {}, open = count, count = count, ended = loop.event(), fault = nil }
  function self.worker()
    local ok, raised = pcall(work)
    if not ok then
      self.fault = self.fault or { raised }
      stop()
    end
    self.open = self.open - 1
    if self.open == 0 then self.ended:set() end
  end
  begin(loop, self)
  local ok, raised = true, nil
  if self.open > 0 then ok, raised = pcall(loop.wait, { self.ended }) end
  for _, task in ipairs(self.tasks) do loop.cancel(task) end -- those that have ended are left alone
  if not ok then
    stop()
    error(raised, 0)
  end
  if self.fault then error(self.fault[1], 0) end
end

return crew
