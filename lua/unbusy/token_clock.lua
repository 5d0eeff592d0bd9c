--- The clock between two bytes of answer.
--
-- It runs only while somebody waits for a piece: a reader that takes its time does not count
-- against the server. Bytes of answer re-arm it; keep-alives and empty pieces do not.
local token_clock = {}
token_clock.__index = token_clock

---@param call table
---@param try_end number? when its try's own clock runs out, if it has one
function token_clock.new(call, try_end)
  local self = setmetatable({ call = call, left = call:clock "token",
    try_end = try_end or math.huge }, token_clock)
  return self -- no tail call: see `unbusy.clock`
end

-- When the whole answer has to be there; the call's deadline may have moved since.
local function last_of(self)
  return math.min(self.try_end, self.call.deadline)
end

-- The time for the whole of it is up.
local function out_of_time(self)
  local call = self.call
  if call.deadline <= self.try_end then
    return nil, "the deadline came before the end", "timeout",
      { phase = "total", verdict = call:shortened "total" and "neutral" or nil }
  end
  return nil, ("not all of it came in %.3g s"):format(call:clock "try"), "timeout",
    { phase = "try", verdict = call:shortened "try" and "neutral" or nil }
end

--- The next piece of `pieces`; a clock that runs out is a "cut", the call's deadline a "timeout".
function token_clock:read(pieces)
  local call = self.call
  local now, last = call.loop.now(), last_of(self)
  local limit = math.min(now + self.left, last)
  local piece, message, code, detail = pieces:read(limit)
  if code == "late" then
    self.left = self.left - (limit - now)
    if last_of(self) > last then return self:read(pieces) end -- one who has more time has come
    if limit == last then return out_of_time(self) end
    return nil, ("nothing more for %.3g s"):format(call:clock "token"), "cut", { phase = "token" }
  end
  if code then return nil, message, code, detail end
  if piece and not piece.started then
    self.left = self.left - (call.loop.now() - now)
  else
    self.left = call:clock "token"
  end
  return piece
end

return token_clock
