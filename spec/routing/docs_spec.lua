-- docs/routing.md stays true: its examples run, each in a process of its own, and print what it
-- says; what it links to is there.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local readme = require "spec.support.readme"
local unbusy = require "unbusy"

local PATH = "docs/routing.md"

-- Pages that others of the same version have.
local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local function output_of(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  local pipe = assert(io.popen((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path .. " 2>&1"))
  local out = pipe:read "*a"
  pipe:close()
  os.remove(path)
  return out
end

describe("the examples of docs/routing.md", function()
  local near, far
  setup(function() near, far = busyd.start { workers = 1 }, busyd.start { workers = 1 } end)
  teardown(function()
    near:stop()
    far:stop()
  end)

  local function to_servers(text)
    for host, up in pairs { ["https://near%.example"] = near, ["https://far%.example"] = far } do
      text = text:gsub(host, (up.url:gsub("%%", "%%%%")))
    end
    return text
  end

  local blocks, ran = readme.blocks(PATH), 0
  for i, block in ipairs(blocks) do
    local programme = block.language == "lua" and (block.comment or ""):match "^run (.*)$"
    if programme then
      ran = ran + 1
      it(("line %d: prints what it says"):format(block.line), function()
        local both = cjson.decode(programme)
        both.near.reset, both.far.reset = true, true
        near:programme(both.near)
        far:programme(both.far)
        assert.equal("text", blocks[i + 1].language)
        assert.equal(blocks[i + 1].text, output_of(to_servers(block.text)))
      end)
    end
  end

  it("are four", function() assert.equal(4, ran) end)

  it("are options that can be, where they are no more than that", function()
    local others = 0
    for _, block in ipairs(blocks) do
      if block.language == "lua" and not (block.comment or ""):find "^run " then
        others = others + 1
        local text = "return {" .. block.text .. "}"
        local o = assert((loadstring or load)(text))() -- luacheck: ignore
        o.targets = { { name = "a", url = "http://a.test" } }
        assert.is_table(unbusy.new(o))
      end
    end
    assert.equal(1, others)
  end)

  it("and what is said here of places in it is there", function()
    local text = readme.text(PATH)
    for place in text:gmatch "%]%(#([%w-]+)%)" do
      local title = place:gsub("%-", " ")
      local plain = text:lower():gsub("\n## ([^\n]*)", function(t)
        return "\n## " .. t:gsub("%-", " "):gsub("[^%w ]", "")
      end)
      assert.is_truthy(plain:find("\n##+ " .. title .. "\n"), place)
    end
    for page in text:gmatch "%]%(([%w_/.]+%.md)" do
      local others = { ["edge.md"] = true, ["admission.md"] = true, ["hedging.md"] = true,
        ["resume.md"] = true }
      assert.is_true(others[page] or exists("docs/" .. page), page)
    end
  end)
end)
