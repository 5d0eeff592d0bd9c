-- A client that was dropped without `close` was collected, but what it shared in its region was
-- not: the loops listened to it for ever. Each such client of a region of its own left a descriptor
-- open and its memory mapped.
local core = require "unbusy.core"
local files = require "spec.support.files"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"
local unbusy = require "unbusy"

-- A client that the loop listens for.
local function client_in(r)
  local client = assert(unbusy.new { region = r,
    targets = { { name = "a", url = "http://127.0.0.1:1", key = "k" } } })
  unbusy.sleep(0.001)
  return client
end

local function collect()
  for _ = 1, 6 do collectgarbage() end
end

local function open_descriptors()
  collect()
  return tonumber(files.trimmed(("ls /proc/%d/fd | wc -l"):format(process.pid())))
end

describe("clients that are dropped without being closed", function()
  it("leave nothing open of their regions", function()
    client_in {}:status()
    local before = open_descriptors()
    for _ = 1, 20 do client_in {}:status() end
    assert.is_true(open_descriptors() <= before + 1)
  end)

  -- Another process wakes this one: is the client told?
  local function is_told(client, r)
    local told = 0
    client.look_again = function() told = told + 1 end
    r:waiting(1, core.now() - 60)
    local child = regions.fork(function(say) say(tostring(r:wake())) end)
    child:said "true"
    for _ = 1, 100 do
      if told == 0 then unbusy.sleep(0.01) end
    end
    r:waiting(0)
    child:kill()
    return told > 0
  end

  it("do not make others deaf that have the same region", function()
    local r = assert(region.new { bytes = 2 ^ 22 })
    client_in(r):status()
    local kept = client_in(r)
    collect()
    assert.is_true(is_told(kept, r))
    kept:close()
    kept = nil -- luacheck: ignore 311
    collect()
    client_in(r):status()
    local later = client_in(r)
    collect()
    assert.is_true(is_told(later, r))
    later:close()
    r:close()
  end)
end)
