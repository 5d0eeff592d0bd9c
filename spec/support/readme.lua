--- Reads the README and the pages of docs/, whose examples and tables are checked by specs.
--
-- What stands in HTML comments is not shown to its readers: `<!-- table: NAME -->` before a table,
-- `<!-- run PROGRAMME -->` before an example.
local readme = { path = "README.md", reference = "docs/reference.md" }

--- The whole text.
---@param path string? of another document
function readme.text(path)
  local file = assert(io.open(path or readme.path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function cells(line)
  local out = {}
  for cell in line:gsub("\\|", "\1"):gmatch "|([^|]*)" do
    cell = cell:gsub("\1", "|"):match "^%s*(.-)%s*$"
    out[#out + 1] = cell
  end
  if out[#out] == "" then out[#out] = nil end -- behind the last bar
  return out
end

--- The rows of a table of the reference, without its head, as lists of texts.
---@param name string as in `<!-- table: NAME -->`
function readme.rows(name)
  local text = readme.text(readme.reference)
  local _, start = text:find(("<!-- table: %s -->\n"):format(name), 1, true)
  assert(start, "the reference has no table " .. name)
  local rows, n = {}, 0
  for line in text:sub(start + 1):gmatch "([^\n]*)\n" do
    if not line:find "^|" then break end
    n = n + 1
    if n > 2 then rows[#rows + 1] = cells(line) end
  end
  return rows
end

--- The fenced blocks in order: { language =, text =, line =, comment = of the line before it }.
---@param path string? of another document
function readme.blocks(path)
  local blocks, block, before, n = {}, nil, "", 0
  for line in (readme.text(path) .. "\n"):gmatch "([^\n]*)\n" do
    n = n + 1
    local language = line:match "^```(%w*)"
    if block and language then
      block.text = table.concat(block, "\n") .. "\n"
      blocks[#blocks + 1] = block
      block = nil
    elseif block then
      block[#block + 1] = line
    elseif language then
      block = { language = language, line = n, comment = before:match "^<!%-%- (.*) %-%->$" }
    end
    if line ~= "" then before = line end
  end
  return blocks
end

-- What a line of prose is, whatever language it is in: its kind, its code spans and its links.
local function shape_of(line)
  local kind = line:match "^#+ " or line:match "^%- " or line:match "^|" or line:match "^!%["
    or "text"
  local spans, links = {}, {}
  for span in line:gmatch "`([^`]+)`" do spans[#spans + 1] = span end
  for link in line:gmatch "%]%(([^)]+)%)" do links[#links + 1] = link end
  table.sort(spans) -- a sentence of another language has another order
  table.sort(links)
  return { kind = kind, spans = spans, links = links, cells = kind == "|" and #cells(line) or nil }
end

--- What two documents of different languages have in common: for each line that is not empty its
--- kind (heading, item, row, text), its code spans and links; of code the line itself.
---@param path string
---@return table[] lines
function readme.outline(path)
  local out, fenced = {}, false
  for line in readme.text(path):gmatch "[^\n]+" do
    local fence = line:find "^```" ~= nil
    out[#out + 1] = (fenced or fence or line:find "^<!%-%-") and line or shape_of(line)
    if fence then fenced = not fenced end
  end
  return out
end

return readme
