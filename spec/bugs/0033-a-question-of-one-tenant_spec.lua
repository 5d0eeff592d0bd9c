-- A question that is asked often is kept, so that it can be asked ahead of time and shown where
-- that is allowed. That one came from a tenant who keeps apart was forgotten there, unless `per`
-- was set: it was shown, and asked again for everybody, which was no use to the tenant either.
local world = require "spec.support.world"

describe("hot questions of a call with a tenant", function()
  it("are counted, but neither kept nor shown nor asked", function()
    local w = world.new { script = { a = { world.good "hello" } },
      options = { cache = { top = { show = true } } } }
    local function ask(text, tenant)
      local request = { messages = { { role = "user", content = text } } }
      return w.client:chat(request, { tenant = tenant })
    end
    for _ = 1, 4 do ask("our secret", "acme") end
    for _ = 1, 2 do ask("opening hours?") end
    local top = w.client:top(20, { show = true })
    assert.same({ 4, 2 }, { top[1].count, top[2].count })
    assert.same({}, { top[1].question, top[1].request, top[1].kind })
    assert.equal("opening hours?", top[2].question)
    w.client.cache:clear()
    assert.equal(1, w.client:warm(20).asked)
    assert.equal("upstream", ask("our secret", "acme").source)
  end)
end)
