--- Pages of docs/ whose examples are run by specs.
--
-- `<!-- run PROGRAMME -->` before a block of Lua: it is run in a process of its own, with the test
-- servers as the programme (JSON) says, and prints what stands in the block behind it.
local assert = require "luassert"
local cjson = require "cjson"
local files = require "spec.support.files"
local readme = require "spec.support.readme"

local pages = {}

--- What a Lua text prints, run in a process of its own.
---@param text string
---@return string
function pages.output_of(text)
  local path = os.tmpname()
  files.write(path, text)
  local out = files.output((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path .. " 2>&1")
  os.remove(path)
  return out
end

--- The text with our servers in place of those that it names.
---@param text string
---@param urls table<string, string> what stands in the text -> what is to
---@return string
function pages.at(text, urls)
  for from, to in pairs(urls) do
    text = text:gsub(from:gsub("%p", "%%%0"), (to:gsub("%%", "%%%%")))
  end
  return text
end

local function lines_of(text)
  local out = {}
  for line in text:gmatch "[^\n]+" do out[#out + 1] = line end
  table.sort(out)
  return out
end

--- Defines a test for each example of a page.
---@param path string
---@param it function busted's
---@param run fun(text: string, programme: table): string prepares the servers, and runs it
---@param unordered boolean? the lines come in any order
---@return integer count, table[] blocks those of the page, see `readme.blocks`
function pages.examples(path, it, run, unordered)
  local blocks, count = readme.blocks(path), 0
  for i, block in ipairs(blocks) do
    local programme = block.language == "lua" and (block.comment or ""):match "^run%s*(.*)$"
    if programme then
      count = count + 1
      it(("line %d: prints what it says"):format(block.line), function()
        local out = run(block.text, cjson.decode(programme == "" and "{}" or programme))
        assert.equal("text", blocks[i + 1].language)
        local expected = blocks[i + 1].text
        if unordered then return assert.same(lines_of(expected), lines_of(out)) end
        assert.equal(expected, out)
      end)
    end
  end
  return count, blocks
end

--- The blocks of Lua that are no examples, but options, as tables.
---@param blocks table[]
---@return table[]
function pages.options(blocks)
  local read, out = loadstring or load, {} -- luacheck: ignore
  for _, block in ipairs(blocks) do
    if block.language == "lua" and not (block.comment or ""):find "^%l+" then
      out[#out + 1] = assert(read("return {" .. block.text .. "}"))()
    end
  end
  return out
end

return pages
