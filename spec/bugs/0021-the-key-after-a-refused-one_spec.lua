-- A refused key is set aside for all who share a region. It was known by its place in the list: the
-- key that took its place, after a reload of nginx, was set aside too, and nobody was served.
local busyd = require "spec.support.busyd"
local client = require "unbusy.client"
local guard = require "spec.support.leak_guard"
local region = require "unbusy.region"

describe("a key that takes the place of a refused one", function()
  guard.watch(before_each, after_each)

  it("is asked with, and the refused one is not", function()
    local up = busyd.start { workers = 1 }
    local r = assert(region.new { bytes = 4 * 1024 * 1024 })
    local function ask(key)
      local c = assert(client.new { region = r, retry = false, breaker = false,
        targets = { { name = "main", url = up.url .. "/v1", key = key } } })
      local reply, _, code = c:chat { model = "m", messages = { { role = "user", content = "a" } } }
      c:close()
      return reply and "answered" or code
    end
    up:programme { script = { { status = 401 } } }
    local codes = { ask "sk-revoked-1", ask "sk-revoked-1" }
    local received = up:counts().received
    codes[3] = ask "sk-fresh-2"
    r:close()
    up:stop()
    assert.same({ "auth", "auth", "answered", 1 }, { codes[1], codes[2], codes[3], received })
  end)
end)
