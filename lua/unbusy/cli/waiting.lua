--- What a call waits for, as one line of the terminal that is written over again and again.
--
--     deepseek: waiting for the first word 3 s (keep-alives: it has queued us)
--     deepseek: try 2 of 5: busy, next in 4 s
--     queued 12 s: deepseek rests for 4 s more
--
-- The client's events move it (`event`), a clock draws it (`draw`). It can be erased at any moment.
local waiting = {}
waiting.__index = waiting

local ERASE = "\r\27[K"

--- A line for one call.
---@param given table `what` is waited for, `now()` in seconds, `write(text)`, `columns` there are
function waiting.new(given)
  return setmetatable({ what = given.what, now = given.now, write = given.write,
    columns = given.columns }, waiting)
end

-- {== What happens ========================================================

local on = {}

function on.try(self, e)
  self.state = { kind = "try", target = e.target, number = e.number, since = e.at }
end

function on.keep_alive(self)
  if self.state and self.state.kind == "try" then self.state.queued_there = true end
end

function on.retry(self, e)
  self.attempts = e.attempts
  self.state = { kind = "retry", target = e.target, number = e.number - 1, code = e.code,
    till = e.at + e.seconds }
end

function on.queued(self, e)
  self.state = { kind = "queued", target = e.target, code = e.code, since = e.at,
    till = e.retry_after and e.at + e.retry_after }
end

--- Takes an event of the client's `on_event`.
function waiting:event(e)
  local move = on[e.type]
  if move then move(self, e) end
end

--- The server has begun: `word` says what it does ("thinking", "answering").
function waiting:busy_with(target, word)
  if self.state and self.state.word == word then return end
  self.state = { kind = "begun", target = target, word = word, since = self.now() }
end

-- }========================================================================

-- {== The words ===========================================================

local function past(now, since) return math.max(0, math.floor(now - since)) end
local function ahead(now, till) return math.max(0, math.ceil(till - now)) end

local say = {}

function say.try(self, s, now)
  local nth = s.number > 1 and ("try %d of %d, "):format(s.number, self.attempts or s.number) or ""
  local why = s.queued_there and " (keep-alives: it has queued us)" or ""
  return ("%s: %swaiting for %s %d s%s"):format(s.target, nth, self.what, past(now, s.since), why)
end

function say.retry(self, s, now)
  local seconds = ahead(now, s.till)
  local next = seconds > 0 and ("in %d s"):format(seconds) or "now"
  return ("%s: try %d of %d: %s, next %s"):format(s.target, s.number, self.attempts, s.code, next)
end

function say.queued(_, s, now)
  local why = ("the limit of %s is reached"):format(s.target)
  if s.code == "open" then
    local rest = s.till and ahead(now, s.till) or 0
    why = s.target .. " rests" .. (rest > 0 and (" for %d s more"):format(rest) or "")
  end
  return ("queued %d s: %s"):format(past(now, s.since), why)
end

function say.begun(_, s, now)
  return ("%s: %s %d s"):format(s.target, s.word, past(now, s.since))
end

--- The line as it reads now; nil before the first event.
---@return string?
function waiting:line()
  local s = self.state
  return s and say[s.kind](self, s, self.now())
end

-- }========================================================================

-- {== The terminal ========================================================

-- At most so many bytes, which are never fewer than columns; no character is torn.
local function fit(line, most)
  if #line <= most then return line end
  return (line:sub(1, most):gsub("[\194-\244][\128-\191]*$", ""))
end

--- Writes the line over the one before, if it has changed.
function waiting:draw()
  local line = not self.stopped and self:line()
  if not line then return end
  line = fit(line, self.columns - 1)
  if line == self.shown then return end
  self.write(ERASE .. line)
  self.shown = line
end

--- Erases the line.
function waiting:clear()
  if not self.shown then return end
  self.write(ERASE)
  self.shown = nil
end

--- Erases it for good.
function waiting:stop()
  self:clear()
  self.stopped = true
end

-- }========================================================================

return waiting
