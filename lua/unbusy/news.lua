--- Waiting for the next piece of news of an exchange.
local news = {}

--- Waits for the next news, where none is there now: the same as `await`.
---@param loop table
---@param x table exchange
---@param deadline number
function news.wait(loop, x, deadline)
  local kind, a, b, c, d
  repeat
    x.event:clear()
    if not loop.wait({ x.event }, deadline) then return "late" end
    kind, a, b, c, d = x:take()
  until kind
  return kind, a, b, c, d
end

--- The next news (see `e:take` of the core), or "late" when it has not come by `deadline`.
---@param loop table
---@param x table exchange
---@param deadline number
function news.await(loop, x, deadline)
  local kind, a, b, c, d = x:take()
  if kind then return kind, a, b, c, d end
  return news.wait(loop, x, deadline)
end

return news
