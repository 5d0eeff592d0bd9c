-- The README and the pages that are nobody else's stay true: their examples run and print what they
-- say, the reference's tables are what the schemas and codes make of themselves, names exist.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local core = require "unbusy.core"
local drawing = require "tools.drawing"
local files = require "spec.support.files"
local inspect = require "unbusy.policy.inspect"
local readme = require "spec.support.readme"
local reference = require "tools.options"
local wire = require "unbusy.loops.wire"

local DOCUMENTS = { "README.md", "docs/calls.md", "docs/command_line.md", "docs/parts.md",
  "docs/processes.md" }

local function lines_of(command)
  local out, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do out[#out + 1] = line end
  pipe:close()
  return out
end

-- {== Running an example ==================================================

local function printed(value)
  if type(value) == "number" and value ~= math.floor(value) then return ("%.14g"):format(value) end
  return tostring(value)
end

-- What an example sees: everything, but `print` and `io.write` are kept, there is no key in the
-- environment, and every target is the upstream.
local function new_environment(up, out)
  local function write(...)
    for i = 1, select("#", ...) do out[#out + 1] = printed((select(i, ...))) end
  end
  local function print(...)
    local words = { n = select("#", ...), ... }
    for i = 1, words.n do words[i] = printed(words[i]) end
    write(table.concat(words, "\t", 1, words.n), "\n")
  end
  local unbusy = setmetatable({}, { __index = require "unbusy" })
  function unbusy.new(o)
    for _, t in ipairs(o.targets or {}) do t.url, t.proxy = up.url, false end
    return require("unbusy").new(o)
  end
  local function required(name)
    if name == "unbusy" then return unbusy end
    return require(name)
  end
  return setmetatable({ print = print, require = required, arg = {},
    io = setmetatable({ write = write }, { __index = io }),
    os = setmetatable({ getenv = function() end }, { __index = os }) }, { __index = _G })
end

local function load_in(text, name, environment)
  if not setfenv then return assert(load(text, name, "t", environment)) end -- luacheck: ignore
  local chunk = assert(loadstring(text, name)) -- luacheck: ignore
  return setfenv(chunk, environment) -- luacheck: ignore
end

-- LuaJIT has one kind of number, and prints whole ones without a point.
local function without_points(text)
  return (text:gsub("%f[%d](%d+)%.0%f[^%w.]", "%1"))
end

local function run(block, path, up)
  local out = {}
  load_in(block.text, ("=%s:%d"):format(path, block.line), new_environment(up, out))()
  return table.concat(out)
end

-- The commands of a console block, each with what it printed.
local function run_console(block, up)
  local out = {}
  for line in block.text:gmatch "[^\n]+" do
    local command = line:match "^%$ (.*)$"
    if command then
      out[#out + 1] = line
      command = command:gsub("%f[%w]unbusy chat", "bin/unbusy chat")
        :gsub("http://127%.0%.0%.1:8080", (up.url:gsub("%%", "%%%%")))
      local env = "env -u LUA_PATH_5_4 -u LUA_PATH -u LUA_CPATH NO_PROXY='*' "
      for _, said in ipairs(lines_of(env .. "sh -c '" .. command:gsub("'", "'\\''") .. "' 2>&1")) do
        out[#out + 1] = said
      end
    end
  end
  return table.concat(out, "\n") .. "\n"
end

-- }========================================================================

-- A test for each example of a document; gives how many there are.
local function test_examples(path, upstream)
  local blocks, ran = readme.blocks(path), 0
  for i, block in ipairs(blocks) do
    local programme = block.comment and block.comment:match "^run (.*)$"
    if programme then
      ran = ran + 1
      it(("%s:%d: prints what it says"):format(path, block.line), function()
        local up = upstream()
        local script = cjson.decode(programme)
        script.reset = true
        up:programme(script)
        if block.language == "console" then
          return assert.equal(block.text, run_console(block, up))
        end
        local said = blocks[i + 1]
        assert.equal("text", said.language)
        assert.equal(without_points(said.text), without_points(run(block, path, up)))
      end)
    elseif block.comment == "policy" then
      it(("%s:%d: is a policy without faults"):format(path, block.line), function()
        local report = inspect.text(block.text, "mine.lua")
        assert.same({ true, {}, {} }, { report.ok, report.problems, report.notes })
      end)
    else
      it(("%s:%d: is no Lua that nobody runs"):format(path, block.line), function()
        assert.is_not.equal("lua", block.language)
      end)
    end
  end
  return ran
end

describe("the examples of", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function()
    collectgarbage()
    wire.close_idle()
    up:stop()
  end)

  local ran = 0
  for _, path in ipairs(DOCUMENTS) do
    local count = test_examples(path, function() return up end)
    ran = ran + count
    it(path .. ": there are some", function() assert.is_true(count > 0) end)
  end

  it("all of them: are many", function() assert.is_true(ran >= 20, ran .. " examples") end)

  it("README.md begin with examples/chat.lua", function()
    for _, block in ipairs(readme.blocks()) do
      if block.language == "lua" then
        return assert.equal(files.read "examples/chat.lua", block.text)
      end
    end
    assert.is_true(false, "there is no example")
  end)
end)

describe("README.zh.md", function()
  local english, chinese = readme.outline "README.md", readme.outline "README.zh.md"

  -- Each names the other, and has a drawing in its own words.
  local function common(line)
    if type(line) == "string" then return line end
    for i, link in ipairs(line.links) do
      line.links[i] = link:gsub("^README%.zh%.md$", "README.md"):gsub("%.zh%.svg$", ".svg")
    end
    return line
  end

  it("says all that README.md says, in the same order, with the same code", function()
    for i, line in ipairs(english) do
      assert.same(common(line), chinese[i] and common(chinese[i]), "line " .. i)
    end
    assert.equal(#english, #chinese)
  end)

  it("is Chinese", function()
    local plain = readme.text("README.zh.md"):gsub("```.-```", ""):gsub("`[^`]*`", "")
    local _, wide = plain:gsub("[\228-\233][\128-\191][\128-\191]", "")
    assert.is_true(wide > 2500, wide .. " characters")
  end)

  for language, path in pairs(drawing.files) do
    it(path .. " is as it is drawn (lua5.4 tools/drawing.lua)", function()
      assert.equal(drawing.of(language), readme.text(path))
    end)
  end
end)

describe("the reference's tables", function()
  for _, name in ipairs(reference.names) do
    it(name .. ": are the schemas' (lua5.4 tools/options.lua docs/reference.md)", function()
      local place = ("<!-- tables: %s -->\n%s\n<!-- end -->"):format(name, reference[name]())
      assert.is_truthy(readme.text(readme.reference):find(place, 1, true))
    end)
  end

  it("name every event", function()
    local emitted, told = { state = true, kept = true, spill = true, warm = true }, {}
    for _, path in ipairs(lines_of "find lua/unbusy -name '*.lua'") do
      for kind in files.read(path):gmatch 'emit%(%s*"([%w_]+)"' do emitted[kind] = true end
    end
    local events = readme.text(readme.reference):match "\n## Events\n(.*)$"
    for kind in events:gmatch "\n| `([%w_]+)` |" do
      told[kind] = true
    end
    assert.same(emitted, told)
  end)

  it("name every clock", function()
    local told, known = {}, {}
    for name in readme.text("docs/calls.md"):match("\n## Clocks\n(.-)\n## ")
        :gmatch "\n| `([%w_]+)` |" do
      told[name] = true
    end
    for name in pairs(require("unbusy.config").clocks) do known[name] = true end
    assert.same(known, told)
  end)

end)

-- {== The C side ==========================================================

local metas = { "lua/unbusy/core.meta.lua", "lua/unbusy/core_parts.meta.lua",
  "lua/unbusy/core_cache.meta.lua", "lua/unbusy/core_metrics.meta.lua" }

-- What they describe: owner -> name -> number of parameters.
local function described()
  local out = {}
  for _, meta in ipairs(metas) do
    for line in io.lines(meta) do
      local owner, name, parameters = line:match "^function ([%w_.]+)[.:]([%w_]+)%((.-)%) end$"
      if owner then
        out[owner] = out[owner] or {}
        out[owner][name] = select(2, parameters:gsub("[%w_]+", ""))
      end
    end
  end
  return out
end

-- The methods of the core's types, by the type's name.
local function registered()
  local out = {}
  for name, metatable in pairs(debug.getregistry()) do
    local kind = type(name) == "string" and name:match "^unbusy%.([%w_]+)$"
    if kind then
      local methods = {}
      for method in pairs(metatable.__index) do methods[method] = true end
      out[kind] = methods
    end
  end
  return out
end

local function names(map)
  local out = {}
  for name in pairs(map or {}) do out[name] = true end
  return out
end

describe("the core's meta files", function()
  local meta = described()

  it("describe every function of the core, and no other", function()
    local there, readers = {}, {}
    for name, value in pairs(core) do if type(value) == "function" then there[name] = true end end
    for name in pairs(core.retry_after) do readers[name] = true end
    assert.same(there, names(meta.core))
    assert.same(readers, names(meta["core.retry_after"]))
  end)

  it("describe every method of its types, and no other", function()
    local kinds = registered()
    assert.is_table(kinds.breaker)
    for kind, methods in pairs(kinds) do -- a shared part has the methods of a private one
      assert.same(methods, names(meta[(kind:gsub("^shared_", ""))]), kind)
    end
  end)

  it("are Lua", function()
    for _, path in ipairs(metas) do assert.is_function(assert(loadfile(path))) end
  end)
end)

-- }========================================================================
