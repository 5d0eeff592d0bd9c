-- A folder can be opened, and not read. Where one was the input of `unbusy cache import`, or
-- standard input of that or of `unbusy warm`, the error was "a fault of unbusy itself" with a
-- traceback: `file:lines` raises it.
local served = require "spec.support.served"

describe("an input that cannot be read", function()
  local place
  setup(function() place = served.place() end)
  teardown(function() place:remove() end)

  it("is told by its name", function()
    local path = place:write("gw.lua", ([[return {
      targets = { { name = "up", url = "http://127.0.0.1:1", key = "k" } },
      cache = { path = %q } }]]):format(place.dir .. "/answers"))
    for _, case in ipairs { { "/", "cache", "import", "/" },
      { "standard input", "cache", "import", "-" }, { "standard input", "cache", "import" },
      { "/", "warm", "/" }, { "standard input", "warm", "-" } } do
      local name = table.remove(case, 1)
      case[#case + 1] = "--config"
      case[#case + 1] = path
      local r = place:run(case, { input = "/" })
      assert.same({ "", "unbusy: " .. name .. ": Is a directory\n", 2 }, { r.out, r.err, r.rc })
    end
  end)
end)
