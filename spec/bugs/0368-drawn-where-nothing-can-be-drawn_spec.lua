-- On a terminal that says it is a dumb one (a shell in an editor, the log of a console)
-- `unbusy top` wrote what only others understand, again and again, and never ended: the line of
-- `unbusy chat` and the bar of `unbusy warm` know better. It is printed once there, as into a pipe.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local served = require "spec.support.served"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

describe("a dumb terminal", function()
  it("is told once what goes on, in plain words", function()
    local up, place = busyd.start { workers = 1 }, served.place()
    local path = place:write("gw.lua",
      ('return { targets = { { name = "up", url = "%s/v1" } } }'):format(up.url))
    served.start(place, { path })
    local command = ("%s bin/unbusy top --every 0.1 --config %s"):format(lua, path)
    local out = files.trimmed(("env TERM=dumb timeout 60 script -qec '%s' /dev/null </dev/null "
      .. "| head -c 2000; echo; echo the end"):format(command))
    place:remove()
    up:stop()
    assert.is_nil(out:find("\27", 1, true))
    assert.equal(1, select(2, out:gsub("no target is out", "")))
    assert.matches("the end$", out)
  end)
end)
