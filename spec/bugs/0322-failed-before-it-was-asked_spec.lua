-- Two calls were to have the whole answer of a stream that broke off. They ask again as after any
-- try that has failed, together: the second one joins the first one's call, and need not go on from
-- that failure itself. It kept it all the same. Where that call failed, too, and another model was
-- asked in its place, the old failure came before the first try of that: it was taken for a second
-- one, which costs a permit; and a policy's `retry`, to be told of the try that had failed, found
-- none, which raised at whoever had called.
local coalesced = require "spec.support.coalesced"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local function script(request, n)
  if n == 1 then
    return world.streamed({ { 0, world.chunk { content = "one" } },
      { 0.5, world.chunk { content = "two" } } }, { fail = "network", message = "gone" })
  elseif n == 2 then
    return world.status(500, nil, "", 2)
  end
  return world.good(request.body:match '"model":"(%w+)"')
end

-- The second of two calls, whose first one leaves in the midst of what is asked for both.
local function ask(options)
  options.cache, options.fallback = true, { { model = "other" } }
  local w = world.new { script = { a = script }, options = options }
  local first = unbusy.canceller()
  w.loop.spawn(function()
    w.loop.sleep(2.5)
    first:cancel()
  end)
  local out = coalesced.ask(w,
    { { kind = "stream" }, { after = 0.2, given = { cancel = first } }, { after = 0.3 } })
  w:assert_clean()
  assert.same({ "cut", "cancelled" }, { out[1].code, out[2].code })
  return out[3], w
end

describe("another model that is asked for a call that was asked for again", function()
  it("is asked at once, and that is no second try", function()
    local third, w = ask { retry = { attempts = 2, base = 1, jitter = 0 } }
    assert.same({ "other", "model", 3 },
      { third.reply.text, third.reply.fallback.kind, third.reply.tries })
    assert.equal(1, #w:seen "retry")
  end)

  it("is asked whatever the policy says of second tries", function()
    local third = ask { policy = { retry = function(try)
      return try.number == 1 and try.model == "m" and 1 or nil
    end } }
    assert.equal("other", third.reply and third.reply.text, third.message)
  end)
end)
