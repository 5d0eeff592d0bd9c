-- docs/warm_up.md stays true: its examples run, each in a process of its own, and print what it
-- says; its tables are what the code has.
local busyd = require "spec.support.busyd"
local caching_options = require "unbusy.caching.options"
local cjson = require "cjson"
local readme = require "spec.support.readme"
local unbusy = require "unbusy"
local warm = require "unbusy.caching.warm"

local PATH = "docs/warm_up.md"

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function output_of(path)
  local pipe = assert(io.popen((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path .. " 2>&1"))
  local out = pipe:read "*a"
  pipe:close()
  return out
end

describe("the examples of docs/warm_up.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local blocks, ran = readme.blocks(PATH), 0
  for i, block in ipairs(blocks) do
    local programme = block.language == "lua" and (block.comment or ""):match "^run (.*)$"
    if programme then
      ran = ran + 1
      it(("line %d: prints what it says"):format(block.line), function()
        local script = cjson.decode(programme)
        script.reset = true
        up:programme(script)
        local path = os.tmpname()
        write(path, (block.text:gsub("https://api%.deepseek%.com", (up.url:gsub("%%", "%%%%")))))
        local out = output_of(path)
        os.remove(path)
        assert.equal("text", blocks[i + 1].language)
        assert.equal(blocks[i + 1].text, out)
      end)
    end
  end

  it("are two", function() assert.equal(2, ran) end)

  it("are options that can be, where they are no more than that", function()
    local others = 0
    for _, block in ipairs(blocks) do
      if block.language == "lua" and not (block.comment or ""):find "^run " then
        others = others + 1
        local text = "return {" .. block.text .. "}"
        local o = assert((loadstring or load)(text))() -- luacheck: ignore
        o.targets = { { name = "a", url = "http://a.test" } }
        assert(unbusy.new(o)):close()
      end
    end
    assert.equal(1, others)
  end)
end)

describe("the tables of docs/warm_up.md", function()
  local text = readme.text(PATH)

  -- The rows behind a comment: name -> default.
  local function rows(name)
    local out = {}
    local table_ = text:match("<!%-%- options: " .. name .. " %-%->\n(.-)\n\n")
    for option, default in table_:gmatch "\n| `([%w_]+)` | ([^|]-) |" do out[option] = default end
    return out
  end

  local function said(field)
    local default = field.default
    if default == nil then return nil end
    return type(default) == "number" and ("%.0f"):format(default) or tostring(default)
  end

  for name, schema in pairs { warm = warm.schema, top = caching_options.schema.top.fields,
    keep = caching_options.schema.warm.fields } do
    it("have every option of " .. name .. ", with its default", function()
      local found = rows(name)
      for option, field in pairs(schema) do
        assert.is_string(found[option], option)
        local default = said(field)
        if default then assert.equal(default, (found[option]:gsub(" s$", "")), option) end
      end
      for option in pairs(found) do assert.is_table(schema[option], option) end
    end)
  end
end)
