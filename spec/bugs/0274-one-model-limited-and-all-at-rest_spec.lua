-- A 429 is of the account's limit for one model; but its Retry-After sent the whole target to rest,
-- for every model that it has: who asked for another one waited for a limit that was not theirs, or
-- was refused where that took too long.
local world = require "spec.support.world"

local function ask(w, model, options)
  return w.client:chat({ model = model, messages = world.question.messages }, options)
end

local function limited_for(seconds, status)
  return function(request)
    if not request.body:find '"large"' then return world.good "yes" end
    return world.status(status or 429, { ["retry-after"] = tostring(seconds) })
  end
end

describe("a Retry-After of one model's limit", function()
  it("is heeded by those who want that model, and by nobody else", function()
    local w = world.new { script = { a = limited_for(100) }, options = { retry = false } }
    assert.equal("limited", select(3, ask(w, "large")))
    local now = w:now()
    assert.equal("yes", assert(ask(w, "small")).text)
    assert.equal("yes", assert(w:chat()).text)
    assert.near(0.2, w:now() - now, 1e-6)
    local _, message, code, detail = ask(w, "large")
    assert.same({ "a: resting as the server asked", "open" }, { message, code })
    assert.near(99.8, detail.retry_after, 1e-6)
    assert.equal(3, #w.log)
    assert.near(99.8, w.client:status().targets[1].rests, 1e-6)
    w:assert_clean()
  end)

  it("sends those elsewhere, and only those", function()
    local w = world.new { script = { a = limited_for(100), b = { world.good "b" } },
      order = { "a", "b" } }
    assert.equal("b", assert(ask(w, "large")).text)
    assert.equal("yes", assert(ask(w, "small")).text)
    assert.equal("b", assert(ask(w, "large")).text)
    local hosts = {}
    for i, entry in ipairs(w.log) do hosts[i] = entry.host end
    assert.equal("a b a b", table.concat(hosts, " "))
  end)

  it("is heeded by all where the server itself is busy", function()
    local w = world.new { script = { a = limited_for(100, 503) }, options = { retry = false } }
    assert.equal("busy", select(3, ask(w, "large")))
    assert.equal("open", select(3, ask(w, "small")))
  end)
end)
