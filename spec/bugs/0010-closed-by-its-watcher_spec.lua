-- A client that was closed inside of on_event went on: a request that had just been announced was
-- sent, and a pause or a wait for a place that had just been announced lasted its full time.
local world = require "spec.support.world"

describe("a client closed by who watches it", function()
  local function closed_at(kind, script, options)
    local w
    options = options or {}
    w = world.new { script = { a = script }, options = options }
    w.client.on_event = function(event)
      if event.type == kind then w.client:close() end
    end
    return w, select(3, w:chat())
  end

  it("sends nothing any more", function()
    local w, code = closed_at("try", { world.good "hello" })
    assert.equal("closed", code)
    assert.equal(0, #w.log)
    w:assert_clean()
  end)

  it("does not wait for another try", function()
    local w, code = closed_at("retry", { world.status(503, { ["retry-after"] = "20" }) })
    assert.equal("closed", code)
    assert.is_true(w:now() < 1, w:now())
    w:assert_clean()
  end)

  it("does not wait for a place", function()
    local w = world.new { script = { a = { world.status(429, { ["retry-after"] = "25" }) } },
      options = { retry = false } }
    w:chat()
    w.client.on_event = function(event)
      if event.type == "queued" then w.client:close() end
    end
    assert.equal("closed", select(3, w:chat()))
    assert.is_true(w:now() < 1, w:now())
    w:assert_clean()
  end)
end)
