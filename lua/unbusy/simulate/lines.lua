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

--- A message about the line that was read last.
function lines:fault(message)
  return ("%s:%d: %s"):format(self.path, self.number, message)
end

--- Closes the file.
function lines:close()
  self.file:close()
end

return lines
