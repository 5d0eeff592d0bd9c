--- What a file of deploy/ says.
local manifest = {}

--- A file's text without its comments.
---@param path string
---@return string
function manifest.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return (("\n" .. text):gsub("\n%s*#[^\n]*", "\n"))
end

--- How many of some lines stand in it, whole but for the blanks and the dash before them.
---@param text string
---@param lines string[]
---@return integer
function manifest.count(text, lines)
  local n = 0
  for line in (text .. "\n"):gmatch "%s*([^\n]-)%s*\n" do
    for _, wanted in ipairs(lines) do
      if line:gsub("^%- ", "") == wanted then n = n + 1 end
    end
  end
  return n
end

return manifest
