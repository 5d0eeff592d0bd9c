--- How far a job is, as one line of the terminal that is written over again and again.
--
--     [###########·········] 12 of 30  asked 8, fresh 3, failed 1; waiting: no room to spare
local bar = {}
bar.__index = bar

local ERASE = "\r\27[K"
local WIDTH = 20 -- columns of the bar itself

--- A share of 0 to 1 as a bar.
---@param share number
---@param width integer? columns between the brackets, 20 by default
---@return string
function bar.gauge(share, width)
  width = width or WIDTH
  local full = math.floor(width * math.min(math.max(share, 0), 1))
  return ("[%s%s]"):format(("#"):rep(full), ("-"):rep(width - full))
end

local reasons = { busy = "no target has room to spare", line = "other calls wait in line",
  rest = "a target was busy", peak = "these are busy hours" }

--- A line; it draws nothing without `columns`.
---@param given table write(text), columns
function bar.new(given)
  return setmetatable({ write = given.write, columns = given.columns }, bar)
end

--- The line for what is known.
---@param p table all, done, asked, fresh, failed, waiting
---@return string
function bar.line(p)
  local out = ("%s %d of %d  asked %d, fresh %d"):format(
    bar.gauge(p.all > 0 and p.done / p.all or 1), p.done, p.all, p.asked, p.fresh)
  if p.failed > 0 then out = ("%s, failed %d"):format(out, p.failed) end
  return p.waiting and ("%s; waiting: %s"):format(out, reasons[p.waiting]) or out
end

--- Writes it over the one before, if it has changed.
function bar:draw(p)
  if not self.columns then return end
  local line = bar.line(p):sub(1, self.columns - 1)
  if line == self.shown then return end
  self.write(ERASE .. line)
  self.shown = line
end

--- Erases it.
function bar:stop()
  if self.shown then self.write(ERASE) end
  self.shown = nil
end

return bar
