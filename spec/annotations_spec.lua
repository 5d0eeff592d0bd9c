-- What editors and `make docs` are told is true: the types of options are the schemas', what is
-- annotated is there, what is there is annotated, and a wrong annotation is found.
local annotations = require "tools.annotations"
local api = require "tools.api"
local codes = require "unbusy.codes"
local decisions = require "unbusy.policy.decisions"
local files = require "spec.support.files"
local option_types = require "tools.option_types"
local readme = require "spec.support.readme"
local types = require "tools.types"

local TYPES = "lua/unbusy/types.meta.lua"

local function path_of(module)
  local path = "lua/" .. module:gsub("%.", "/")
  local file = io.open(path .. ".lua")
  if file then file:close() end
  return file and path .. ".lua" or path .. "/init.lua"
end

-- {== The notation ========================================================

describe("the notation of types", function()
  for text, names in pairs {
    ["string?"] = {}, ['"a"|"b"'] = {}, ["integer[]"] = {}, ["(string|x.y)[]?"] = { "x.y" },
    ["table<string, a.b>"] = { "a.b" }, ["{ at: number, [1]: c, d? : e }"] = { "c", "e" },
    ["fun(a: f, b?: g, ...: any): h, string?"] = { "f", "g", "h" },
    ["(fun(): number)|i"] = { "i" }, ["ffi.cdata*"] = {},
  } do
    it("reads " .. text, function()
      local tree, last = types.parse(text)
      assert.is_table(tree, last)
      assert.equal(#text + 1, last)
      assert.same(names, types.names(tree))
    end)
  end

  for _, text in ipairs { "", "|", "table<string", "{ at number", "fun(1)", "(a", "[1]" } do
    it("has no word for '" .. text .. "'", function()
      local tree, message = types.parse(text)
      assert.is_nil(tree)
      assert.is_truthy(message:find "expected")
    end)
  end
end)

-- }========================================================================

-- {== What is found =======================================================

-- The faults of a module's text, as "line: message".
local function faults_of(text)
  local path, out = os.tmpname(), {}
  files.write(path, text)
  local file = annotations.read(path)
  os.remove(path)
  annotations.check({ file }, { [path] = true }, function(_, line, message)
    out[#out + 1] = ("%d: %s"):format(line, message)
  end)
  return out
end

local function module_of(lines)
  return "local m = {}\n" .. lines .. "\nreturn m\n"
end

describe("the check of annotations", function()
  for what, case in pairs {
    ["nothing, where all is told"] = { [[
--- Adds.
---@param a integer
---@param b integer? one more
---@return integer? sum, string? message of what is wrong
function m.add(a, b)
  return a + (b or 0)
end]] },
    ["a function that is not described"] = { [[
---@return integer
function m.one()
  return 1
end]], "3: m.one is not described" },
    ["a parameter of which nothing is told"] = { [[
--- Shows.
function m.show(text) print(text) end]], "3: m.show: parameter 'text' has no @param" },
    ["a parameter of another name"] = { [[
--- Shows.
---@param word string
function m.show(word, text) print(word, text) end
--- Hides.
---@param words string
function m.hide(...) print(...) end]], "4: m.show: parameter 'text' has no @param",
      "6: m.hide has no parameter 'words' there", "7: m.hide: parameter '...' has no @param" },
    ["parameters in another order"] = { [[
--- Shows.
---@param b string
---@param a string
function m.show(a, b) print(a, b) end]], "4: m.show has no parameter 'a' there" },
    ["what is given and not told"] = { [[
--- Gives one.
function m.one()
  return 1
end]], "3: m.one has no @return" },
    ["a type that nobody knows"] = { [[
--- Takes it.
---@param it unbusy.nothing
function m.take(it) print(it) end]], "3: nobody knows the type 'unbusy.nothing'" },
    ["what is no type"] = { [[
--- Takes it.
---@param it table<string
function m.take(it) print(it) end]], "3: @param it: ',' or '>' expected at ''",
      "4: m.take: parameter 'it' has no @param" },
    ["a tag that there is not"] = { [[
--- Takes it.
---@parma it table
function m.take() end]], "3: there is no @parma" },
    ["nothing in what is not for users"] = { [[
---@package
function m.inner(a, b) return a + b end
local function own(a) return a end
m.own = own]] },
  } do
    it("finds " .. what, function()
      local wanted = {}
      for i = 2, #case do wanted[i - 1] = case[i] end
      assert.same(wanted, faults_of(module_of(case[1])))
    end)
  end
end)

-- }========================================================================

-- {== Pages ===============================================================

describe("the pages of `make docs`", function()
  local sources = api.files()

  it("are made of what LDoc can read, without a warning", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute(("mkdir -p '%s/src'"):format(folder)))
    for path, text in pairs(sources) do files.write(folder .. "/" .. path, text) end
    local said = files.output(("cd '%s' && ldoc --quiet --fatalwarnings . 2>&1; echo $?")
      :format(folder))
    local page = io.open(folder .. "/modules/unbusy.client.html")
    local text = page and page:read "*a" or ""
    if page then page:close() end
    os.execute(("rm -r '%s'"):format(folder))
    assert.equal("0", said:match "(%d+)\n$", said)
    assert.is_truthy(text:find("client:chat(request[, given])", 1, true))
    assert.is_truthy(text:find('<a href="types.html#unbusy.reply">unbusy.reply</a>?', 1, true))
  end)

  it("have every function that users call", function()
    for _, name in ipairs(require "tools.public") do
      local text, file = sources["src/" .. name .. ".lua"], annotations.read(path_of(name))
      for _, doc in ipairs(file.functions) do
        if annotations.is_public(file, doc) then
          local wanted = "\n-- @function " .. doc.name:match "[%w_]+$" .. "\n"
          assert.is_truthy(text:find(wanted, 1, true), doc.name)
        end
      end
    end
  end)
end)

-- }========================================================================

-- {== What is told is there ===============================================

local function class_of(name)
  for _, class in ipairs(annotations.read(TYPES).classes) do
    if class.name == name then return class end
  end
end

local function field_names(class)
  local out = {}
  for _, field in ipairs(class.fields) do out[(field.name:gsub("%?$", ""))] = true end
  return out
end

describe("what editors are told", function()
  for path, text in pairs(option_types.files()) do
    it(path .. " is the schemas' (lua5.4 tools/option_types.lua)", function()
      assert.equal(text, readme.text(path))
    end)
  end

  for _, name in ipairs(require "tools.public") do
    it(name .. ": each function is there, and told", function()
      local file, module, told = annotations.read(path_of(name)), require(name), {}
      for _, doc in ipairs(file.functions) do
        local owner, own = doc.name:match "^([%w_]+)[.:]([%w_]+)$"
        if owner == file.returns then
          told[own] = true
          assert.is_function(module[own], doc.name)
        end
      end
      for _, doc in ipairs(file.values) do told[doc.value:match "[%w_]+$"] = true end
      for own, value in pairs(module) do
        if type(value) == "function" then
          assert.is_true(told[own] or own:find "^__" ~= nil, own)
        end
      end
    end)
  end

  it("names every field of a reply that docs/calls.md names", function()
    local fields = field_names(class_of "unbusy.reply")
    local text = readme.text "docs/calls.md":match "\nA reply has (.-)\n\n"
    for name in pairs(fields) do
      assert.is_truthy(text:find("`" .. name .. "`", 1, true), name)
    end
  end)

  it("names every decision of a policy", function()
    local wanted = {}
    for _, name in ipairs(decisions.names) do wanted[name] = true end
    assert.same(wanted, field_names(class_of "unbusy.policy"))
  end)

  it("names every code", function()
    local told, wanted = {}, {}
    for _, alias in ipairs(annotations.read(TYPES).aliases) do
      if alias.name == "unbusy.code" then
        for word in alias.written:gmatch '"(%w+)"' do told[word] = true end
      end
    end
    for word in pairs(codes) do wanted[word] = true end
    assert.same(wanted, told)
  end)
end)

-- }========================================================================
