-- A call that asks again, since the stream whose answer it was to have broke off, may come into a
-- batch on its way. Where that batch was never sent (its rule could not merge the requests), the
-- call's own tries were forgotten, though its failure was not: it was asked again at once, and not
-- after the pause of a second try; `reply.tries` was too small; and a policy's `retry`, which is
-- told of the last try, was told of none: the fault was raised at whoever had called.
local coalesced = require "spec.support.coalesced"
local world = require "spec.support.world"

-- A rule by which all go together, and which cannot merge them.
local function useless()
  return { batch = function(request) return { key = request.model, window = 0.01 } end,
    merge = function() error "no" end, split = function() end }
end

-- A server that breaks off in its first answer.
local function script(request, n)
  if n > 1 then return world.good("whole " .. request.body:match '"content":"(%w+)"') end
  return world.streamed({ { 0, world.chunk { content = "one" } },
    { 0.5, world.chunk { content = "two" } } }, { fail = "network", message = "gone" })
end

local function ask(policy)
  local w = world.new { script = { a = script }, options = { cache = true, policy = policy,
    retry = { base = 1, jitter = 0 }, batch = { rule = useless() } } }
  local out = coalesced.ask(w,
    { { kind = "stream" }, { after = 0.2 }, { after = 0.6, text = "y" } })
  w:assert_clean()
  assert.equal("cut", out[1].code)
  assert.same({ "whole y", 1 }, { out[3].reply.text, out[3].reply.tries })
  return out[2], w:seen "retry"[1]
end

describe("a call that asks again, in a batch that is not sent", function()
  it("still has its tries, and waits as after any", function()
    local second, retry = ask()
    assert.same({ "whole x", 2 }, { second.reply.text, second.reply.tries })
    assert.same({ 1, 2, "cut" }, { retry.seconds, retry.number, retry.code })
  end)

  it("has a try of which a policy can be told", function()
    local second, retry = ask { retry = function(try)
      return try.number == 1 and try.code == "cut" and try.target == "a" and 3 or nil
    end }
    assert.same({ "whole x", 2, 3 }, { second.reply.text, second.reply.tries, retry.seconds })
  end)
end)
