-- A 403 is not always the key's. A firewall before the API refuses what looks like an attack with a
-- page of its own, and OpenRouter a question that its moderation has flagged: one such question
-- took the key, and with it the target, out for everybody for five minutes.
local world = require "spec.support.world"

local FLAGGED = [[{"error":{"code":403,"message":"Your chosen model requires moderation",
  "metadata":{"reasons":["violence"],"flagged_input":"…","model_slug":"m"}}}]]
local PAGE = "<!DOCTYPE html><title>Attention Required!</title>"

local function new(refusal, more)
  local script = { a = { refusal, world.good "yes" } }
  for name, answers in pairs(more or {}) do script[name] = answers end
  return world.new { script = script, targets = { a = { keys = { "k1", "k2" } } } }
end

local function page()
  return world.status(403, { ["content-type"] = "text/html; charset=UTF-8" }, PAGE)
end

describe("a 403 that is not the key's", function()
  it("by a page leaves the key to other requests", function()
    local w = new(page())
    local _, message, code = w:chat()
    assert.same({ "a: 403 forbidden", "auth" }, { message, code })
    assert.equal(1, #w.log) -- the other key would be refused as well
    assert.equal("yes", assert(w:chat()).text)
    w:assert_clean()
  end)

  it("by a page lets the request go elsewhere", function()
    local w = new(page(), { b = { world.good "b" } })
    assert.equal("b", assert(w:chat()).text)
    assert.equal("yes", assert(w:chat()).text)
  end)

  it("for what was asked is the request's", function()
    local w = new(world.status(403, nil, FLAGGED))
    local _, message, code = w:chat()
    assert.equal("invalid", code)
    assert.matches("Your chosen model requires moderation", message, 1, true)
    assert.equal(1, #w.log)
    assert.equal("yes", assert(w:chat()).text)
  end)

  it("but for any other the key is set aside", function()
    for _, refusal in ipairs { world.status(403), world.status(403, nil, '{"error":{}}'),
      world.status(401, { ["content-type"] = "text/html" }, PAGE) } do
      local w = new(refusal)
      assert.equal("yes", assert(w:chat()).text)
      local first = w.client.targets[1].keys[1]
      assert.is_true(first.aside_until > 0)
    end
  end)
end)
