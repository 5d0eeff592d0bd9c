-- In a coroutine of cqueues a call was made from within a function of C that cannot be yielded
-- through: in a comparison of `table.sort`, or where `string.gsub` asks what to put in. It raised,
-- as it must; but it was counted among those who wait for ever after, so that our own coroutine of
-- that controller watched on, and `controller:loop()` did not end any more.
local cqueues = require "cqueues"
local unbusy = require "unbusy"

describe("a controller of cqueues", function()
  it("ends after a call where nothing may yield", function()
    local client = unbusy.new { retry = false,
      targets = { { name = "a", url = "http://127.0.0.1:9/v1", key = "k" } } }
    local question = { messages = { { role = "user", content = "x" } } }
    local cq, raised, code = cqueues.new(), {}, nil
    cq:wrap(function()
      for i, f in ipairs {
        function() client:chat(question) end,
        function() client:stream(question) end,
        function() unbusy.sleep(0.01) end,
      } do
        raised[i] = not pcall(table.sort, { 1, 2 }, f)
      end
      code = select(3, client:chat(question))
    end)
    assert(cq:loop(5))
    assert.is_true(cq:empty())
    assert.same({ true, true, true }, raised)
    assert.equal("network", code)
    assert.equal(0, client:status().active)
    client:close()
  end)
end)
