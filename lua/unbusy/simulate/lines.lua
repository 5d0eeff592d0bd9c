--- The lines of a file, one by one, whatever the file is.
--
-- Read in blocks, so that a file that is one endless line is not held in memory: the line is too
-- long, and that is what is said of it.
local lines = {}
lines.__index = lines

local BLOCK, MOST = 65536, 65536 -- bytes

--- Opens a file; nil and a message when it cannot be read.
---@param path string
---@return table? reader, string? message
function lines.open(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local self = setmetatable({ path = path, file = file, rest = "", at = 1, number = 0 }, lines)
  local first, why = file:read(BLOCK)
  if not first and why then -- a folder can be opened and not read
    file:close()
    return nil, ("%s: %s"):format(path, why)
  end
  self.rest = first or ""
  return self
end

local function too_long(self)
  return self:fault(("a line of more than %d bytes"):format(MOST))
end

--- The next line without its end (LF or CR LF); nil at the end of the file, or nil and a message.
--- The second value is true where the line has no end.
---@return string? line, string|boolean|nil
function lines:next()
  while true do
    local stop = self.rest:find("\n", self.at, true)
    if stop then
      local line = self.rest:sub(self.at, stop - 1)
      self.at, self.number = stop + 1, self.number + 1
      if #line > MOST then return nil, too_long(self) end
      if line:byte(-1) == 13 then line = line:sub(1, -2) end
      return line, false
    end
    self.rest, self.at = self.rest:sub(self.at), 1
    if #self.rest > MOST then
      self.number = self.number + 1
      return nil, too_long(self)
    end
    local block = self.file:read(BLOCK)
    if not block then return self:last() end
    self.rest = self.rest .. block
  end
end

--- What stands behind the last line end.
function lines:last()
  local line = self.rest
  if line == "" then return nil end
  self.rest, self.number = "", self.number + 1
  return line, true
end

local function printable(message)
  return (message:gsub("[%z\1-\31\127]", "?"))
end

--- A message about the line that was read last; what it repeats of the file is made printable.
function lines:fault(message)
  return ("%s:%d: %s"):format(self.path, self.number, printable(message))
end

local PATIENCE = 1000 -- lines that make no sense, beyond those that do, before no more are read

--- Notes that the line that was read last makes no sense, for the reason of `message`: one of a log
--- that was torn is left out, and said to be. Gives a fault where it is not worth reading on.
---@param message string
---@param good integer lines that have made sense
---@return string?
function lines:damaged(message, good)
  self.damage = self.damage or { count = 0, first = self:fault(message), number = self.number,
    why = printable(message) }
  self.damage.count = self.damage.count + 1
  return self:mostly_damaged(good + PATIENCE)
end

--- What is to be said of the lines that make no sense; nil where there were none.
---@return string?
function lines:say_damage()
  local d = self.damage
  return d and ("%d %s left out; the first is line %d: %s"):format(d.count,
    d.count == 1 and "line makes no sense and is" or "lines make no sense and are", d.number, d.why)
end

--- The first of them as a fault of the file, where there are more than `good` ones; nil elsewhere.
---@param good integer lines that make sense
---@return string?
function lines:mostly_damaged(good)
  return self.damage and self.damage.count > good and self.damage.first or nil
end

--- Closes the file.
function lines:close()
  self.file:close()
end

return lines
