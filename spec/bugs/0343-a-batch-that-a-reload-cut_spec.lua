-- A reload lets what is under way end, as long as that may take. A batch, whose requests take turns
-- and each have all of `clocks.total`, may take longer than a call: old workers were given no more
-- time than one call's, and cut it. And docs/openresty.md gave them less than half of that.
local files = require "spec.support.files"
local served = require "spec.support.served"

describe("an old worker has time", function()
  local place

  setup(function() place = served.place() end)
  teardown(function() if place then place:remove() end end)

  local function seconds(more)
    local file = place:write("gw.lua", ("return { targets = { { name = 'up', url = "
      .. "'http://127.0.0.1:1' } }, %s }"):format(more))
    local r = place:serve { "--print-conf", file }
    assert.same({ err = "", rc = 0 }, { err = r.err, rc = r.rc })
    return tonumber(r.out:match "worker_shutdown_timeout (%d+)s;")
  end

  it("for the largest batch", function()
    assert.equal(20 * 4 + 10, seconds
      "clocks = { total = 20 }, gateway = { batch = { requests = 31, at_once = 10 } }")
    assert.equal(20 + 10, seconds
      "clocks = { total = 20 }, gateway = { batch = { requests = 10, at_once = 10 } }")
    assert.equal(20 + 10, seconds "clocks = { total = 20 }, gateway = { batch = false }")
  end)

  it("for as much as is usual, where it is set by hand", function()
    local text = files.text "docs/openresty.md"
    assert.equal(seconds "", tonumber(text:match "worker_shutdown_timeout (%d+)s;"))
  end)
end)
