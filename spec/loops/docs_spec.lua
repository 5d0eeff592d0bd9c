-- docs/loops.md stays true: its examples run, each in a process of its own, and print what it says.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local files = require "spec.support.files"
local readme = require "spec.support.readme"

local function output_of(command) return files.output(command .. " 2>&1") end

local runners = {}

function runners.run(path)
  return output_of((os.getenv "UNBUSY_LUA" or "lua5.4") .. " " .. path)
end

-- Until the buffer has a line; that is what is said.
function runners.nvim(path)
  files.write(path, files.read(path) .. [[
    vim.wait(60000, function() return vim.fn.getline(1) ~= "" end, 10)
    io.stdout:write(vim.fn.getline(1), "\n")
    vim.cmd "qall!"
  ]])
  return output_of('env LUA_PATH="./lua/?.lua;./lua/?/init.lua;;" LUA_CPATH="build/luajit/?.so;;" '
    .. "nvim -u NONE -i NONE -n --headless -c 'luafile " .. path .. "' -c cquit")
end

describe("the examples of docs/loops.md", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  local blocks, ran = readme.blocks "docs/loops.md", 0
  for i, block in ipairs(blocks) do
    if block.language == "lua" then
      ran = ran + 1
      it(("line %d: prints what it says"):format(block.line), function()
        local how, programme = block.comment:match "^(%a+) (.*)$"
        local script = cjson.decode(programme)
        script.reset = true
        up:programme(script)
        local path = os.tmpname()
        local url = up.url:gsub("%%", "%%%%")
        files.write(path, (block.text:gsub("https://api%.deepseek%.com", url)))
        local out = runners[how](path)
        os.remove(path)
        assert.equal("text", blocks[i + 1].language)
        assert.equal(blocks[i + 1].text, out)
      end)
    end
  end

  it("are three", function() assert.equal(3, ran) end)
end)
