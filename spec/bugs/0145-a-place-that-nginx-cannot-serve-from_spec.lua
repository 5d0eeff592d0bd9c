-- `unbusy serve` raised where a path had a quote or a $ in it: what was wrong got lost on its way.
-- And where a process may have few open files it gave nginx a number of connections below zero.
local served = require "spec.support.served"

describe("unbusy serve", function()
  local place

  setup(function() place = served.place() end)
  teardown(function() if place then place:remove() end end)

  local function write(name)
    return place:write(name, "return { targets = { { name = 'a', url = 'http://[::1]' } } }")
  end

  it("says which paths nginx cannot use", function()
    for _, name in ipairs { "it's.lua", "a$b.lua", 'a"b.lua' } do
      for _, words in ipairs { { "--print-conf", write(name) }, { write(name) } } do
        local done = place:serve(words)
        assert.same({ 2, "" }, { done.rc, done.out })
        assert.equal("unbusy: nginx cannot use a path with quotes, backslashes or $ in it: "
          .. place.dir .. "/" .. name .. "\n", done.err)
      end
    end
  end)

  it("says how many open files it needs", function()
    local function serve(most)
      return place:serve({ "--print-conf", write "gw.lua" },
        { before = "prlimit --nofile=" .. most .. " --" })
    end
    for _, most in ipairs { "64", "159" } do
      local done = serve(most)
      assert.same({ 1, "" }, { done.rc, done.out })
      assert.equal(("unbusy: a process may have %s open files here (ulimit -n): "
        .. "at least 160 expected\n"):format(most), done.err)
    end
    assert.is_truthy(serve "160".out:find("worker_connections 16;", 1, true))
  end)
end)
