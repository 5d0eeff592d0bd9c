-- The list of models, in virtual time.
local json = require "unbusy.json"
local models = require "unbusy.gateway.models"
local world = require "spec.support.world"

describe("the gateway's list of models", function()
  local w, ctx, answer
  before_each(function()
    answer = { status = 200, after = 1, body = json.encode { data = { { id = "m1" } } } }
    w = world.new { script = { a = function() return answer end },
      options = { retry = false, breaker = false } }
    ctx = { client = w.client, gateway = {}, canceller = function() end }
  end)

  local function list()
    local found, refusal = models.current(ctx)
    return found and found[1].id or refusal.status
  end

  it("is kept beyond its minute while nobody says another", function()
    w.loop.run(function()
      assert.equal("m1", list())
      answer = world.status(500)
      w.loop.sleep(61)
      for _ = 1, 10 do assert.equal("m1", list()) end
      assert.equal(2, #w.log) -- not for each of them
      answer = { status = 200, body = json.encode { data = { { id = "m2" } } } }
      assert.equal("m1", list())
      w.loop.sleep(6)
      assert.equal("m2", list())
    end)
    w:assert_clean()
  end)

  it("is asked for by one, and the others have the old one meanwhile", function()
    w.loop.run(function()
      assert.equal("m1", list())
      w.loop.sleep(61)
      answer = { status = 200, after = 1, body = json.encode { data = { { id = "m2" } } } }
      local first
      w.loop.spawn(function() first = list() end)
      w.loop.sleep(0.5)
      for _ = 1, 5 do assert.equal("m1", list()) end
      w.loop.sleep(1)
      assert.same({ "m2", "m2", 2 }, { first, list(), #w.log })
    end)
    w:assert_clean()
  end)

  it("is a refusal where nobody ever said one", function()
    answer = world.status(500)
    w.loop.run(function() for i = 1, 3 do
      assert.equal(502, list())
      assert.equal(i, #w.log)
    end end)
    w:assert_clean()
  end)
end)
