-- Whole answers that are asked as streams: of one that broke off, the rest alone is asked for. Not
-- where a second try beside a slow first one had said it: what it had said was forgotten, all was
-- asked for and written once more, and nothing told what the first part had cost.
local json = require "unbusy.json"
local world = require "spec.support.world"

local FIRST, REST = "one two ", "three"

local function usage(tokens)
  return "data: " .. json.encode { choices = json.array {}, usage = { prompt_tokens = tokens,
    completion_tokens = 1, total_tokens = tokens + 1 } } .. "\n\n"
end

-- One that is silent, and another that breaks off, and then goes on where it is asked to.
local function new(resume)
  local function quick(request, n)
    if n == 1 then
      return world.streamed({ { 0, world.chunk { content = FIRST } } },
        { fail = "network", message = "gone" })
    end
    local rest = request.body:find('"prefix":true', 1, true) and REST or FIRST .. REST
    return world.streamed { { 0, world.chunk({ content = rest }, "stop") }, { 0, usage(10) },
      { 0, world.DONE } }
  end
  return world.new { order = { "slow", "quick" },
    script = { slow = { world.status(503, nil, nil, 100) }, quick = quick },
    targets = { slow = { prefix = "flag" }, quick = { prefix = "flag",
      price = { input = 1e6, output = 1e6 } } },
    options = { upstream_stream = true, resume = resume, retry = { base = 0.1, jitter = 0 },
      hedge = { after = 1, most = 1, price = "any" } } }
end

describe("what a second try has said of a whole answer", function()
  it("is gone on with where it broke off", function()
    local w = new "prefix"
    local reply = assert(w:chat { deadline = 60 })
    assert.same({ FIRST .. REST, "quick", 1 }, { reply.text, reply.target, reply.resumed })
    assert.is_truthy(w.log[#w.log].request.body:find('"one two"', 1, true))
    assert.is_true(reply.cost > 11, reply.cost)
    w:assert_clean()
  end)

  it("is asked for anew where that is not wanted", function()
    local w = new(nil)
    local reply = assert(w:chat { deadline = 60 })
    assert.same({ FIRST .. REST, 0 }, { reply.text, reply.resumed })
    w:assert_clean()
  end)
end)
