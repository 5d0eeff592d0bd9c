-- `unbusy simulate --config gateway.lua` without a POLICY took the retries, limits, cache and
-- fallback of the configuration, and left its policy out without a word: what it showed was not the
-- gateway that would meet the outage.
local files = require "spec.support.files"
local json = require "unbusy.json"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local TRACE = [[
#: {"target":"a","capacity":0,"when_full":{"status":503}}
time,target,arrival,status,latency
0,a,4,,
]]

describe("the policy of a configuration", function()
  local dir

  setup(function()
    dir = files.output 'mktemp -d "${TMPDIR:-/tmp}/0171.XXXXXX"':gsub("%s+$", "")
  end)
  teardown(function() os.execute("rm -rf " .. files.quote(dir)) end)

  local function write(name, text)
    local f = assert(io.open(dir .. "/" .. name, "wb"))
    f:write(text)
    f:close()
    return files.quote(dir .. "/" .. name)
  end

  -- The name and the sources of the first client.
  local function simulated(policy, words)
    local config = write("gateway.lua", ([[return { policy = %s, retry = false, fallback = "b",
      targets = { { name = "a", url = "https://a.example" } } }]]):format(policy))
    local out = files.output(("%s bin/unbusy simulate %s --json --config %s --trace %s"):format(lua,
      words or "", config, write("t.csv", TRACE)))
    local client = json.decode(out).clients[1]
    return { client.name, client.sources.fallback or 0 }
  end

  it("is simulated where the command line names none", function()
    write("own.lua", "return { fallback = function() return false end }")
    local path = ("%q"):format(dir .. "/own.lua")
    assert.same({ "own", 0 }, simulated(path))
    assert.same({ "configured", 0 }, simulated "{ fallback = function() return false end }")
    assert.same({ "none", 4 }, simulated(path, "none"))
    assert.same({ "default", 4 }, simulated(path, "default"))
    assert.same({ "none", 4 }, simulated "nil")
  end)
end)
