-- Pages that have few examples stay true: docs/gateway.md and docs/status.md name options and paths
-- that there are, docs/command_line.md the tool's commands, docs/tests.md what can be typed.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local pages = require "spec.support.pages"
local readme = require "spec.support.readme"
local routes = require "unbusy.gateway.routes"
local unbusy = require "unbusy"

-- The page's blocks of options, with something in every variable of the environment.
local function options_of(path)
  local getenv = os.getenv
  local function set(f) os.getenv = f end -- luacheck: ignore
  set(function(name) return name:find "TOKEN" and "made-up" or getenv(name) end)
  local fine, list = pcall(pages.options, readme.blocks(path))
  set(getenv)
  return assert(fine and list, list)
end

for path, count in pairs { ["docs/gateway.md"] = 1, ["docs/status.md"] = 1 } do
  describe(path, function()
    it("has options that can be", function()
      local list = options_of(path)
      assert.equal(count, #list)
      for _, o in ipairs(list) do
        if o.gateway.keys then o.gateway.keys[2].key = "made-up" end
        o.targets = { { name = "a", url = "http://127.0.0.1:9" } }
        assert(unbusy.new(o)):close()
      end
    end)
  end)
end

describe("docs/gateway.md", function()
  it("has endpoints that there are, with their methods", function()
    local rows, seen = readme.text "docs/gateway.md":match "\n## Endpoints\n(.-)\n## ", 0
    for paths, methods in rows:gmatch "\n| (`[^|]+) | ([%u, ]+) |" do
      for path in paths:gmatch "`(/[^`]+)`" do
        for method in methods:gmatch "%u+" do
          seen = seen + 1
          assert.is_table(routes.find(method, path, false, true), method .. " " .. path)
        end
        local _, refusal = routes.find("DELETE", path, false, true)
        assert.same({ 405, methods }, { refusal.status, refusal.headers.allow })
      end
    end
    assert.is_true(seen >= 14, seen .. " endpoints")
  end)
end)

describe("docs/command_line.md", function()
  local text = readme.text "docs/command_line.md"

  it("names every command, and no other", function()
    local said = pages.output_of('os.exit(require("unbusy.cli").main { "--help" })')
    local there, told = {}, { help = true }
    for name in said:gmatch "\n  unbusy (%l+)" do there[name] = true end
    for row in text:match "\n|%-%-%-|%-%-%-|\n(.-)\n\n":gmatch "[^\n]+" do
      for name in row:match "^|([^|]*)|":gmatch "`(.-)`" do told[name:match "%l+$"] = true end
    end
    assert.same(there, told)
  end)
end)

describe("docs/tests.md", function()
  it("says how to ask the test server", function()
    local up = busyd.start { workers = 1 }
    finally(function() up:stop() end)
    local lines = { "set -e" }
    for _, block in ipairs(readme.blocks "docs/tests.md") do
      for line in (block.language == "sh" and block.text or ""):gmatch "[^\n]+" do
        local is_start = line:find "^make " or line:find "/busyd "
        if not is_start then lines[#lines + 1] = line:gsub("http://127%.0%.0%.1:8090", up.url) end
      end
    end
    assert.equal(4, #lines)
    local path = os.tmpname()
    files.write(path, (table.concat(lines, "\n"):gsub("\nlua5%.4 ",
      "\nexec " .. (os.getenv "UNBUSY_LUA" or "lua5.4") .. " ")))
    local said = files.output("env -u DEEPSEEK_API_KEY NO_PROXY='*' sh " .. path .. " 2>/dev/null")
    os.remove(path)
    assert.equal("{}echo: 天气如何 (upstream, tries: 3)\n", said)
  end)
end)
