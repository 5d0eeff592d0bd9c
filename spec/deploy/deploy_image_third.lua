-- The image: its Dockerfile passes two linters, has what the build and the gateway need, and takes
-- nothing else along. Run by `tools/test.sh third`. (That it builds is told in docs/kubernetes.md.)
local files = require "spec.support.files"
local kubernetes = require "spec.support.kubernetes"
local served = require "spec.support.served"

local text = files.text "Dockerfile":gsub("\\\n%s*", " ")

-- The packages that the nth RUN installs, as a set.
local function packages(n)
  local i = 0
  for line in text:gmatch "install %-y %-%-no%-install%-recommends ([^&\n]+)" do
    i = i + 1
    if i == n then
      local out = {}
      for word in line:gmatch "%S+" do out[word] = true end
      return out
    end
  end
end

-- A list of tools/deps.sh, as a set.
local function needed(name)
  local out = {}
  local list = files.text "tools/deps.sh":match("\n" .. name .. '="([^"]+)"')
  for word in list:gmatch "%S+" do out[word] = true end
  return out
end

describe("the Dockerfile", function()
  it("passes the linters", function()
    assert.same({}, kubernetes.lint "Dockerfile")
  end)

  it("is read by linters that find something", function()
    local place = served.place()
    local path = place:write("Dockerfile", "FROM debian:latest\nRUN apt-get install gcc\nFOO x\n")
    local found = table.concat(kubernetes.lint(path), "\n")
    place:remove()
    for _, wanted in ipairs { "Unknown instruction: FOO", "Latest Tag", "install%-recommends" } do
      assert.truthy(found:find(wanted))
    end
  end)

  it("builds with what a build needs", function()
    local there, wanted = packages(1), needed "build"
    wanted["lua-cjson"], wanted["libhiredis-dev"] = nil, true -- one not before it runs; Redis
    assert.same(wanted, there)
  end)

  it("runs with what the gateway needs", function()
    local there = packages(2)
    for _, name in ipairs { "nginx-light", "libnginx-mod-http-lua", "lua-resty-core" } do
      assert.is_true(needed("demo")[name])
      assert.is_true(there[name])
    end
    for _, name in ipairs { "lua5.4", "lua-cjson", "libcurl4", "libhiredis0.14",
      "ca-certificates" } do
      assert.is_true(there[name])
    end
    for name in pairs(there) do assert.is_nil(name:find "%-dev$" or name:find "^gcc") end
  end)

  it("is not run by root, and both stages begin from one release", function()
    assert.equal("10001:10001", text:match "\nUSER (%S+)")
    local first, second = text:match "FROM (%S+) AS build.*\nFROM (%S+)\n"
    assert.equal(first, second)
  end)

  it("copies what is there, and what .dockerignore lets through", function()
    local let = {}
    for name in files.text ".dockerignore":gmatch "\n!(%S+)" do let[name] = true end
    assert.truthy(files.text ".dockerignore":find "\n%*\n")
    for line in text:gmatch "\nCOPY (%w[^\n]*)" do
      for name in line:gmatch "(%S+)%s" do -- all but the last word, which is where to
        assert.is_true(let[name], name)
        assert.equal("0", (files.trimmed(("test -e %s; echo $?"):format(name))))
        let[name] = nil
      end
    end
    assert.same({}, let)
  end)
end)
