-- docs/simulator.md stays true: its commands and its programme run and print what it says, its
-- traces are traces, and its tables are those of the schemas.
--
-- Figures move when unbusy does: of what is printed, numbers and bars are not compared.
local files = require "spec.support.files"
local readme = require "spec.support.readme"
local schema = require "unbusy.simulate.schema"
local trace = require "unbusy.simulate.trace"

local PATH = "docs/simulator.md"
local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local function output_of(command) return files.output(command .. " 2>&1") end

local top = output_of("pwd"):gsub("%s+$", "")

local function absolute(path)
  return (path or ""):gsub("[^;]+", function(part)
    return part:sub(1, 1) == "/" and part or top .. "/" .. part
  end)
end

local bars = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█", "·" }

-- A text without its numbers, bars and columns.
local function shape(text)
  text = text:gsub("%d+%.?%d*", "#"):gsub("[ \t]+", " "):gsub("%f[%w]no\n", "# s\n")
  for _, bar in ipairs(bars) do text = text:gsub(bar, "") end
  return text
end

-- Whether `out` is what was told, where a last line "[…]" stands for anything.
local function assert_told(told, out)
  local before = told:match "^(.*)%[…%]\n$"
  if before then
    before = shape(before)
    assert.equal(before, shape(out):sub(1, #before))
  else
    assert.equal(shape(told), shape(out))
  end
end

-- A line of a gateway's log.
local function line(second, rest)
  return ('{"time":"2026-01-31T12:00:0%d+00:00","kind":"chat","target":"deepseek",%s}\n'):format(
    second, rest)
end

local LOG = line(0, '"source":"upstream","tries":1,"queued":0,"start":0.61,"seconds":1.42')
  .. line(4, '"source":"upstream","tries":2,"queued":0.5,"start":2.91,"seconds":5')
  .. line(2, '"tries":1,"code":"busy","seconds":0.5')

describe("docs/simulator.md", function()
  local dir
  setup(function()
    dir = output_of('mktemp -d "${TMPDIR:-/tmp}/simulator.XXXXXX"'):gsub("%s+$", "")
    files.write(dir .. "/gateway.log", LOG)
  end)
  teardown(function() os.execute("rm -rf '" .. dir .. "'") end)

  local blocks, ran = readme.blocks(PATH), 0
  for i, block in ipairs(blocks) do
    local told = blocks[i + 1]
    if block.comment == "shell" then
      ran = ran + 1
      it(("line %d: the commands print what it says"):format(block.line), function()
        local script = block.text:gsub("unbusy ([^\n]+)", lua .. " " .. top .. "/bin/unbusy %1")
        files.write(dir .. "/run.sh", script)
        assert_told(told.text, output_of(("cd %s && env LC_ALL=C.UTF-8 LUA_PATH='%s' "
          .. "LUA_CPATH='%s' sh run.sh"):format(dir, absolute(os.getenv "LUA_PATH"),
          absolute(os.getenv "LUA_CPATH"))))
      end)
    elseif block.comment == "run" then
      ran = ran + 1
      it(("line %d: the programme prints what it says"):format(block.line), function()
        files.write(dir .. "/run.lua", block.text)
        assert_told(told.text, output_of(lua .. " " .. dir .. "/run.lua"))
      end)
    end
  end

  it("has three examples that run", function() assert.equal(3, ran) end)

  it("shows a trace and a header that can be read", function()
    local rows, header
    for _, block in ipairs(blocks) do
      if block.text:find "^# anything" then rows = block.text end
      if block.text:find "^#: {\"trace\"" then header = block.text end
    end
    local path = dir .. "/t.csv"
    files.write(path, rows)
    local t = assert(trace.read(path))
    assert.same({ 4, 42 }, { t.rows, t.asked })
    files.write(path, header .. rows)
    t = assert(trace.read(path))
    assert.same({ 4, 7, 30 }, { #t.targets[1].phases, t.seed, t.calls.deadline })
    assert.same({ 0, 503 }, { t.targets[1].phases[4].queue,
      t.targets[1].phases[4].when_full.status })
  end)

  -- Name -> default, as the table before which `<!-- table: NAME -->` stands tells them.
  local function told_fields(name)
    local text, fields = readme.text(PATH), {}
    local _, start = text:find(("<!-- table: %s -->\n"):format(name), 1, true)
    for row in text:sub(start + 1):gmatch "([^\n]*)\n" do
      if not row:find "^|" then break end
      local names, default = row:match "^| (`.-`) | (.-) |"
      local defaults = {}
      for one in (default or ""):gmatch "%*%*`?([^*`]+)`?%*%*" do defaults[#defaults + 1] = one end
      local i = 0
      for word in (names or ""):gmatch "`([^`]+)`" do
        i = i + 1
        fields[word] = defaults[i]
      end
    end
    return fields
  end

  for _, name in ipairs { "target", "calls", "trace" } do
    it("has every field of " .. name .. " with its default", function()
      local told = told_fields(name)
      for field, spec in pairs(schema[name]) do
        assert.is_string(told[field], field)
        local default = spec.default
        if type(default) == "number" then default = ("%.0f"):format(default) end
        if spec.required then default = "required" end
        if type(default) == "string" then assert.equal(default, told[field], field) end
        told[field] = nil
      end
      assert.same({}, told)
    end)
  end

  it("names every option and every kind", function()
    local text = readme.text(PATH)
    for _, option in ipairs(require("unbusy.cli.simulate").options) do
      local is_told = text:find("--" .. option.name, 1, true)
      assert.is_truthy(is_told or option.name == "compare", option.name)
    end
    for _, kind in ipairs(require("unbusy.simulate.generate_options")[1].one_of) do
      assert.is_truthy(text:find("| `" .. kind .. "` |", 1, true), kind)
    end
  end)
end)
