--- Waiting for the next piece of news of an exchange.
local news = {}

--- The next news (see `e:take` of the core), or "late" when it has not come by `deadline`.
---@param loop table
---@param x table exchange
---@param deadline number
function news.await(loop, x, deadline)
  while true do
    local kind, a, b, c = x:take()
    if kind then return kind, a, b, c end
    x.event:clear()
    if not loop.wait({ x.event }, deadline) then return "late" end
  end
end

return news
