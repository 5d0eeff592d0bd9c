--- Files, and what programs print, for whoever tests with them.
--
--     files.write(path, text)
--     files.read(path)            raises where there is no such file
--     files.find(path)            nil there; files.text(path): "" there
--     files.output(command)       all that it prints; files.trimmed: without the blanks at its end
--     files.quote(text)           one word for the shell
local files = {}

local function content_of(file)
  local text = file:read "*a"
  file:close()
  return text
end

--- What is in a file.
---@param path string
---@return string
function files.read(path)
  return content_of(assert(io.open(path, "rb")))
end

--- What is in a file; nil where it cannot be opened.
---@param path string
---@return string?
function files.find(path)
  local file = io.open(path, "rb")
  return file and content_of(file)
end

--- What is in a file; "" where it cannot be opened.
---@param path string
---@return string
function files.text(path)
  return files.find(path) or ""
end

--- Makes a file, or puts a text in place of what is in it.
---@param path string
---@param text string
function files.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

--- What a shell command prints on its standard output.
---@param command string
---@return string
function files.output(command)
  return content_of(assert(io.popen(command)))
end

--- The same without the blanks and lines at its end.
---@param command string
---@return string
function files.trimmed(command)
  return (files.output(command):gsub("%s+$", ""))
end

--- A word that the shell leaves as it is.
---@param text any its tostring
---@return string
function files.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

return files
