-- What is wrong in a configuration was "a fault of unbusy itself", with a traceback, where a
-- command looked into it before `unbusy.new` did: a `cache` that is no table (`unbusy cache`,
-- `warm` and `top`), a `provider` that there is not (`unbusy simulate`).
local files = require "spec.support.files"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local TRACE = [[
#: {"target":"a"}
time,target,arrival,status,latency
0,a,1,,
]]

describe("a configuration with a wrong word in it", function()
  local dir

  setup(function() dir = files.trimmed 'mktemp -d "${TMPDIR:-/tmp}/0252.XXXXXX"' end)
  teardown(function() os.execute("rm -rf " .. files.quote(dir)) end)

  local function write(name, text)
    local f = assert(io.open(dir .. "/" .. name, "wb"))
    f:write(text)
    f:close()
    return files.quote(dir .. "/" .. name)
  end

  -- What the command says, and its exit status.
  local function said(command, config)
    local out = files.output(("%s bin/unbusy %s --config %s 2>&1 </dev/null; echo $?"):format(lua,
      command, config))
    return out:match "^(.-)\n?(%d+)\n$"
  end

  it("is told which one", function()
    local target = 'targets = { { name = "a", url = "http://127.0.0.1:1/v1"%s } }'
    local cache = write("cache.lua", ("return { cache = 7, %s }"):format(target:format ""))
    for _, command in ipairs { "cache stats", "warm --question hi", "top --once" } do
      local words, status = said(command, cache)
      assert.matches("^unbusy: .-/cache%.lua: cache: table or boolean expected$", words)
      assert.equal("2", status)
    end
    local provider = write("provider.lua",
      ("return { %s }"):format(target:format ', provider = "deepsek"'))
    local words, status = said("simulate none --trace " .. write("t.csv", TRACE), provider)
    assert.matches("^unbusy: none: targets%[1%]%.provider: one of deepseek, openai expected, did "
      .. "you mean 'deepseek'%?$", words)
    assert.equal("2", status)
  end)

  it("may say that there is a cache, and no more", function()
    local words, status = said("cache stats", write("true.lua",
      'return { cache = true, targets = { { name = "a", url = "http://127.0.0.1:1/v1" } } }'))
    assert.matches("no process has the cache of", words)
    assert.equal("1", status)
  end)
end)
