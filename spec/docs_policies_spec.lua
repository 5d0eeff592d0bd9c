-- docs/policies.md and the pages of the shipped policies stay true: their examples run and print
-- what they say, in a directory with the files that they tell to write; their tables name what
-- scripts are told, and no more.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local decisions = require "unbusy.policy.decisions"
local files = require "spec.support.files"
local inspect = require "unbusy.policy.inspect"
local policy = require "unbusy.policy"
local readme = require "spec.support.readme"
local samples = require "unbusy.policy.samples"
local unbusy = require "unbusy"

local PATH = "docs/policies.md"

local function output_of(command) return files.output(command .. " 2>&1") end

local top = output_of "pwd":match "%S+"

local function absolute(name)
  return ((os.getenv(name) or ""):gsub("[^;]+", function(part)
    return part:sub(1, 1) == "/" and part or top .. "/" .. part
  end))
end

-- Lua, in any directory.
local lua = ("env LUA_PATH='%s' LUA_CPATH='%s' %s "):format(absolute "LUA_PATH",
  absolute "LUA_CPATH", os.getenv "UNBUSY_LUA" or "lua5.4")

describe(PATH, function()
  local up, dir

  setup(function()
    up = busyd.start { workers = 1 }
    dir = output_of 'mktemp -d "${TMPDIR:-/tmp}/policies.XXXXXX"':match "%S+"
    os.execute("mkdir " .. dir .. "/policies")
  end)

  teardown(function()
    up:stop()
    os.execute("rm -rf " .. dir)
  end)

  local function here(command)
    return output_of(("cd %s && %s"):format(dir, command))
  end

  local takes = {}

  function takes.file(block, name)
    files.write(dir .. "/" .. name, block.text)
    if name ~= "policies/wrong.lua" then
      local report = inspect.file(dir .. "/" .. name)
      assert.same({}, report.problems)
      assert.same({}, report.notes)
    end
  end

  function takes.run(block, programme, expected)
    local script = cjson.decode(programme)
    script.reset = true
    up:programme(script)
    files.write(dir .. "/example.lua", (block.text:gsub("https://api%.deepseek%.com",
      (up.url:gsub("%%", "%%%%")))))
    assert.equal(expected, here(lua .. "example.lua"))
  end

  -- Messages of Lua's own differ between the Luas.
  local function as_54(text)
    return (text:gsub("field '(%w+)' %(a nil value%)", "a nil value (field '%1')")
      :gsub("method '(%w+)' %(a nil value%)", "a nil value (method '%1')"))
  end

  function takes.shell(block, status, expected)
    local program = lua .. top .. "/bin/unbusy "
    local script = block.text:gsub("%f[%w]unbusy ", (program:gsub("%%", "%%%%")))
    files.write(dir .. "/run.sh", "set -e\n" .. script)
    local out = here "sh run.sh; echo $?"
    assert.equal((expected or "") .. status .. "\n", as_54(out))
  end

  -- One after the other, as a reader would do it.
  local blocks, did = readme.blocks(PATH), {}
  for i, block in ipairs(blocks) do
    local how, what = (block.comment or ""):match "^(%l+) (.*)$"
    if takes[how] then
      did[how] = (did[how] or 0) + 1
      it(("line %d: %s"):format(block.line, how), function()
        local behind = blocks[i + 1]
        takes[how](block, what, behind and behind.language == "text" and behind.text or nil)
      end)
    end
  end

  it("has all its examples run", function()
    assert.same({ file = 7, run = 8, shell = 2 }, did)
    local others = 0
    for _, block in ipairs(blocks) do
      if block.language ~= "text" and not block.comment then others = others + 1 end
    end
    assert.equal(0, others)
  end)

  it("begins with the policy that is shipped", function()
    for _, block in ipairs(blocks) do
      if block.comment == "file policies/mine.lua" then
        local file = assert(io.open(policy.path "default", "rb"))
        local text = file:read "*a"
        file:close()
        return assert.equal(text, block.text)
      end
    end
  end)

  -- The names in the first column of a table behind a comment.
  local function first_column(comment)
    local text, names = readme.text(PATH), {}
    local _, start = text:find(("<!-- %s -->\n"):format(comment), 1, true)
    local head, rows = text:sub(start + 1):match "^(|[^\n]*\n|[^\n]*\n)(.-)\n\n"
    assert(head)
    for row in (rows .. "\n"):gmatch "|([^|]*)|[^\n]*\n" do
      for name in row:gmatch "`([%a_][%w_]*)`" do names[name] = true end
    end
    return names
  end

  it("has a row for every function", function()
    local names = {}
    for _, name in ipairs(decisions.names) do names[name] = true end
    assert.same(names, first_column "functions")
  end)

  it("has a row for every fact", function()
    local tries, targets, failures, replies = {}, {}, {}, {}
    local function add(names, t)
      for name in pairs(t) do names[name] = true end
    end
    for _, name in ipairs { "retry", "queued", "hedge" } do
      for _, one in ipairs(samples.of[name]) do add(tries, one[1]) end
    end
    for _, one in ipairs(samples.of.route) do
      for _, target in ipairs(one[2]) do add(targets, target) end
    end
    for _, one in ipairs(samples.of.fallback) do add(failures, one[2]) end
    assert.same(tries, first_column "facts try")
    assert.same(targets, first_column "facts target")
    for _, one in ipairs(samples.of.accept) do add(replies, one[2]) end
    assert.same(failures, first_column "facts failure")
    assert.same(replies, first_column "facts reply")
  end)

  it("names the codes, and everything that a script can reach", function()
    local text = readme.text(PATH)
    for _, code in ipairs(decisions.codes) do
      assert.is_truthy(text:find(('`"%s"`'):format(code), 1, true), code)
    end
    local reach = text:match "\n## What a script can reach\n(.-)\n## "
    for name, value in pairs(require("unbusy.policy.sandbox").environment {}) do
      assert.is_truthy(reach:find("`" .. name, 1, true), name)
      local row = reach:match(("| `%s` | ([^\n]*)"):format(name)) or ""
      for field in pairs(type(value) == "table" and name ~= "null" and value or {}) do
        assert.is_truthy(row:find(("`%s`"):format(field), 1, true), field)
      end
    end
  end)
end)

describe("the pages of the shipped policies", function()
  it("are there, one for each, and their options can be", function()
    local options = 0
    for _, name in ipairs(policy.names) do
      local path = ("docs/policies/%s.md"):format(name)
      assert.is_truthy(readme.text(path):find("\n## When not to use it\n", 1, true), name)
      assert.is_truthy(readme.text(PATH):find(("](policies/%s.md)"):format(name), 1, true), name)
      for _, block in ipairs(readme.blocks(path)) do
        assert.equal("lua", block.language)
        options = options + 1
        local text = "return {" .. block.text .. "}"
        local o = assert((loadstring or load)(text))() -- luacheck: ignore
        o.targets = o.targets or { { name = "a", url = "http://a.test" } }
        assert.equal(name, unbusy.new(o):status().policy[1].name)
      end
    end
    assert.equal(3, options)
  end)
end)
