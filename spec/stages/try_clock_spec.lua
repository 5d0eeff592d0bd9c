-- `clocks.try`: how long one try may take.
local world = require "spec.support.world"

local good, status = world.good, world.status

describe("the clock of a try", function()
  local function two(answer, options)
    options = options or {}
    options.clocks = options.clocks or { try = 0.5 }
    options.retry = options.retry or { attempts = 3, base = 0.025 }
    return world.new { script = { a = { answer }, b = { good("", 0.1) } }, options = options }
  end

  it("ends a try that takes longer, and the next one goes elsewhere", function()
    local w = two(good("", 5))
    local reply = assert(w:chat())
    assert.equal("b", reply.target)
    assert.near(0.6, w:now(), 0.01)
    local failed = w:seen("failed")[1]
    assert.equal("timeout", failed.code)
    assert.equal("try", failed.phase)
    assert.equal("a: try: nothing for 0.5 s", failed.message)
    w:assert_clean()
  end)

  it("is over when the whole answer has come, not its first byte", function()
    local slow = { status = 200, after = 0.1, steps = { { 0, '{"choices":' }, { 1, "[]}" } } }
    local w = two(slow)
    assert.equal("b", w:chat().target)
    assert.near(0.6, w:now(), 0.01)
    slow = { status = 200, after = 0.1, steps = { { 0, '{"ch' }, { 0.1, "oices" }, { 1, "[]}" } } }
    w = two(slow)
    assert.equal("b", w:chat().target)
    assert.near(0.6, w:now(), 0.01)
  end)

  it("and of a refusal that does not end", function()
    local w = two { status = 503, after = 0.1, steps = { { 0, "busy" } }, hang = 60 }
    assert.equal("b", w:chat().target)
    assert.near(0.6, w:now(), 0.01)
    assert.equal("busy", w:seen("failed")[1].code)
  end)

  it("of a stream it ends with the first byte of answer", function()
    local w = two(world.words({ "a", "b", "c" }, 0.2))
    w.loop.run(function()
      local stream = assert(w:stream())
      assert.equal("a", stream.target)
      assert.equal("abc", assert(stream:reply()).text)
    end)
    w = two(world.streamed({ { 0, world.chunk { role = "assistant", content = "" } },
      { 5, world.chunk { content = "x" } } }))
    w.loop.run(function()
      w.script.b = { world.words { "y" } }
      assert.equal("b", assert(w:stream()).target)
      assert.near(0.7, w:now(), 0.11)
    end)
  end)

  it("of an answer that is put together from a stream it is the whole", function()
    local w = two(world.words({ "a", "b", "c", "d", "e" }, 0.2), { upstream_stream = true,
      clocks = { try = 0.5 }, retry = { attempts = 1 } })
    local _, message, code, detail = w:chat()
    assert.equal("timeout", code)
    assert.equal("try", detail.phase)
    assert.equal("a: try: not all of it came in 0.5 s", message)
    assert.near(0.5, w:now(), 0.01)
    w = two(world.words({ "a", "b" }, 0.1), { upstream_stream = true, clocks = { try = 0.5 } })
    assert.equal("ab", assert(w:chat()).text)
  end)

  it("counts against the target, and a shorter one of the caller's does not", function()
    local w = two(good("", 5), { breaker = { consecutive = 3 }, retry = { attempts = 2 } })
    for _ = 1, 3 do w:chat() end
    assert.equal("open", w.client.targets[1].breaker:state())
    w = two(good("", 5), { breaker = { consecutive = 3 }, clocks = {}, retry = { attempts = 2 } })
    for _ = 1, 5 do assert.equal("b", w:chat({ clocks = { try = 0.3 } }).target) end
    assert.equal("closed", w.client.targets[1].breaker:state())
  end)

  it("is none by default, and never longer than the call", function()
    local w = two(good("", 5), { clocks = {} })
    assert.equal("a", w:chat().target)
    w = two(good("", 5), { clocks = { try = 3 } })
    local _, _, code, detail = w:chat { deadline = 1 }
    assert.equal("timeout", code)
    assert.equal("total", detail.phase)
  end)

  it("bounds every try, as a mesh does: two retries, 500 ms each", function()
    local w = world.new { script = { a = { good("", 5) }, b = { good("", 5) } },
      targets = { a = { weight = 90 }, b = { weight = 10 } },
      options = { clocks = { try = 0.5 }, budget = false, retry = { attempts = 3, kind = "full",
        base = 0.025, cap = 0.25 }, seed = 1 } }
    local _, _, code, detail = w:chat()
    assert.equal("timeout", code)
    assert.equal(3, detail.tries)
    assert.is_true(w:now() >= 1.5 and w:now() < 1.8)
  end)

  it("is refused where it is no time", function()
    for _, wrong in ipairs { 0, -1, "1", 0 / 0 } do
      assert.has_error(function() two(status(500), { clocks = { try = wrong } }) end)
    end
  end)
end)
