-- A key that may not use one model (OpenAI's and Groq's 403 says so by its code) was set aside for
-- all models: whoever named such a model, any caller of a gateway, took the target out for
-- everybody, for five minutes. And where a second key may use it, that one was not asked, or the
-- first one not any more for what it may use.
local world = require "spec.support.world"

local NO_ACCESS = [[{"error":{"message":"Project `p` does not have access to model `large`",
  "type":"invalid_request_error","param":null,"code":"model_not_found"}}]]

local function ask(w, model, options)
  return w.client:chat({ model = model, messages = world.question.messages }, options)
end

-- Which key was sent, of each request.
local function keys_of(w)
  local out = {}
  for i, entry in ipairs(w.log) do
    for _, line in ipairs(entry.request.headers) do
      out[i] = line:match "^Authorization: Bearer (.*)" or out[i]
    end
  end
  return out
end

local function new(keys, able)
  return world.new { targets = { a = { keys = keys } }, script = { a = function(request)
    local key
    for _, line in ipairs(request.headers) do key = line:match "Bearer (.*)" or key end
    if request.body:find '"large"' and not able[key] then
      return world.status(403, nil, NO_ACCESS)
    end
    return world.good "yes"
  end } }
end

describe("a key that is refused for one model", function()
  it("serves the others", function()
    local w = new({ "k1" }, {})
    local _, message, code = ask(w, "large")
    assert.equal("auth", code)
    assert.matches("403 model_not_found", message)
    for _ = 1, 3 do assert.equal("yes", assert(ask(w, "small")).text) end
    assert.equal("yes", assert(w:chat()).text)
    assert.is_nil(w.client:status().targets[1].refused)
    _, message, code = ask(w, "large")
    assert.same({ "a: every key was refused for this model", "auth" }, { message, code })
    assert.equal(5, #w.log)
    w:assert_clean()
  end)

  it("gives way to another one for that model, and is asked again later", function()
    local w = new({ "k1", "k2" }, { k2 = true })
    assert.equal("yes", assert(ask(w, "large")).text)
    assert.equal("yes", assert(ask(w, "large")).text)
    assert.equal("yes", assert(ask(w, "small")).text)
    w.loop.run(function() w.loop.sleep(301) end)
    assert.equal("yes", assert(ask(w, "large")).text)
    assert.same({ "k1", "k2", "k2", "k1", "k1", "k2" }, keys_of(w))
    w:assert_clean()
  end)

  it("is of no use for it where no other one is", function()
    local w = new({ "k1", "k2" }, {})
    assert.equal("auth", select(3, ask(w, "large")))
    assert.equal("auth", select(3, ask(w, "large")))
    assert.same({ "k1", "k2" }, keys_of(w))
  end)
end)
