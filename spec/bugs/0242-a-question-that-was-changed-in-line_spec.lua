-- A flight asked with the table of whoever came first. Where its owner changed that before it was
-- sent (while it stood in line), all who had joined were given the answer to another question than
-- their own.
local coalesced = require "spec.support.coalesced"
local json = require "unbusy.json"
local world = require "spec.support.world"

local good, status = world.good, world.status

describe("a request that its owner changes while its call is under way", function()
  local w, mine, others

  after_each(function() coalesced.assert_idle(w) end)

  local function text_in(request)
    return json.decode(request.body).messages[1].content
  end

  local function echo(request)
    return good("answer to " .. text_in(request), 1)
  end

  -- Two ask the same, and the first one's request is changed at `at`.
  local function ask(at, joins_at, before, kind)
    local request = coalesced.request "one"
    w.loop.run(function()
      if before then w.loop.spawn(function() w.client:chat(coalesced.request "before") end) end
      w.loop.spawn(function()
        w.loop.sleep(0.1)
        mine = w.client[kind or "chat"](w.client, request)
        if kind then mine = mine:reply() end
      end)
      w.loop.spawn(function()
        w.loop.sleep(at)
        request.messages[1].content, request.model = "two", "other"
      end)
      w.loop.spawn(function()
        w.loop.sleep(joins_at)
        others = w.client:chat(coalesced.request "one")
      end)
    end)
  end

  it("changes nobody else's answer: in line", function()
    for _, times in ipairs { { 0.2, 0.3 }, { 0.3, 0.2 } } do
      w = coalesced.world(echo, { limiter = { kind = "fixed", initial = 1 } })
      ask(times[1], times[2], true)
      assert.equal("answer to one", others.text)
      assert.equal("answer to one", mine.text) -- it is asked about as it was when it came
      assert.equal(2, #w.log)
    end
  end)

  it("changes nobody else's answer: between two tries", function()
    w = coalesced.world(function(request, n) return n == 1 and status(503) or echo(request) end,
      { retry = { attempts = 2, base = 1, jitter = 0 }, breaker = false })
    ask(0.5, 0.4)
    assert.equal("answer to one", others.text)
    assert.equal("coalesced", others.source)
  end)

  it("changes nobody else's answer: of a stream", function()
    local script = function(request) return world.words { "answer to ", text_in(request) } end
    w = coalesced.world(function(r, n) return n == 1 and good("x", 1) or script(r) end,
      { limiter = { kind = "fixed", initial = 1 } })
    ask(0.2, 0.3, true, "stream")
    assert.equal("answer to one", others.text)
  end)

  it("is kept as what it was, for who asks that", function()
    w = coalesced.world(echo, { limiter = { kind = "fixed", initial = 1 } })
    ask(0.2, 0.3, true)
    local again = w.client:chat(coalesced.request "one")
    assert.same({ "cache", "answer to one" }, { again.source, again.text })
    again = w.client:chat(coalesced.request("two", { model = "other" }))
    assert.same({ "upstream", "answer to two" }, { again.source, again.text })
  end)
end)
