--- What the command line tool asks of the shell.
local shell = {}

--- A word as the shell reads it back.
---@param word string
---@return string
function shell.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- What a shell line prints, without the blanks at its end; "" where it cannot be run.
---@param line string
---@return string
function shell.output(line)
  local pipe = io.popen(line)
  local text = pipe and pipe:read "*a" or ""
  if pipe then pipe:close() end
  return (text:gsub("%s+$", ""))
end

--- Whether a shell line ends well.
---@param line string
---@return boolean
function shell.succeeds(line)
  local ok = os.execute(line)
  return ok == true or ok == 0
end

--- Whether a file can be opened.
---@param path string
---@return boolean
function shell.exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

--- A path from the root on, without "." and "..". A ".." leads where the system takes it: behind a
--- symbolic link that is not the folder before it. Links that no ".." follows stay as they are.
---@param path string
---@return string
function shell.absolute(path)
  if path:sub(1, 1) ~= "/" then path = shell.output "pwd" .. "/" .. path end
  local before, behind = (path .. "/"):match "^(.*/%.%.)/(.*)$"
  if before then path = shell.output("readlink -m " .. shell.quote(before)) .. "/" .. behind end
  local names = {}
  for name in path:gmatch "[^/]+" do
    if name ~= "." then names[#names + 1] = name end
  end
  return "/" .. table.concat(names, "/")
end

return shell
