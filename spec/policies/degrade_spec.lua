-- degrade: the model that was asked, a smaller one, the last good answer, a text: each rung answers
-- when those above it cannot.
local json = require "unbusy.json"
local world = require "spec.support.world"

local status, good = world.status, world.good

-- A server where the models in `works` (a name or "") answer; a text for all others.
local function server(works, refusal)
  return function(request)
    local model = json.decode(request.body).model
    if works[model] then return good(("%s speaks"):format(model)) end
    return refusal or status(503)
  end
end

local function new(works, given)
  given = given or {}
  return world.new { script = { a = server(works, given.refusal) },
    random = function() return 0 end, targets = { a = { models = given.models } },
    options = { policy = "degrade", cache = { ttl = 10 }, breaker = false, budget = false,
      limiter = false, retry = { attempts = 2 } } }
end

local function ask(w, model, text, options)
  return w.client:chat({ model = model, messages = { { role = "user", content = text } } }, options)
end

local PRO, FLASH = "deepseek-v4-pro", "deepseek-flash"

describe("the policy degrade", function()
  it("leaves a model alone that answers", function()
    local w = new { [PRO] = true, [FLASH] = true }
    local reply = ask(w, PRO, "hi")
    assert.equal("upstream", reply.source)
    assert.equal(PRO .. " speaks", reply.text)
    assert.is_nil(reply.fallback)
  end)

  it("asks the smaller model", function()
    local w = new { [FLASH] = true }
    local reply = ask(w, PRO, "hi")
    assert.equal(FLASH .. " speaks", reply.text)
    assert.same({ kind = "model", model = FLASH }, reply.fallback)
    assert.equal("busy", reply.failure.code)
    assert.equal(3, reply.tries)
  end)

  it("asks it by the names that the targets give", function()
    local w = new({ ["their-2b"] = true },
      { models = { pro = "their-70b", flash = "their-2b", default = "their-70b" } })
    local reply = ask(w, "pro", "hi")
    assert.equal("their-2b speaks", reply.text)
  end)

  it("gives the last good answer of the model that was asked, however old", function()
    local works = { [PRO] = true }
    local w, reply = new(works), nil
    w.loop.run(function()
      ask(w, PRO, "hi")
      works[PRO] = nil
      w.loop.sleep(3600)
      reply = ask(w, PRO, "hi")
    end)
    assert.equal("stale", reply.source)
    assert.equal(PRO .. " speaks", reply.text)
    assert.equal("stale", reply.fallback.kind)
  end)

  it("says so in the caller's language, where nothing else is left", function()
    local refusal = status(429, { ["retry-after"] = "130" }) -- more than is waited for
    local w = new({}, { refusal = refusal })
    local reply = ask(w, PRO, "天气如何")
    assert.equal("fallback", reply.source)
    assert.equal("系统繁忙,请 130 秒后再试", reply.text)
    assert.equal("系统繁忙,请 几 秒后再试", ask(new {}, PRO, "天气如何").text)
    assert.equal("The service is busy, please try again in a few seconds",
      ask(new {}, PRO, "how is the weather", { language = "de" }).text)
  end)

  it("asks no smaller model where the account is the trouble, or there is none", function()
    local w = new({ [FLASH] = true }, { refusal = status(402) })
    assert.equal("fallback", ask(w, PRO, "hi").source)
    assert.equal(1, #w.log)
    w = new { [PRO] = true }
    assert.equal("fallback", ask(w, FLASH, "hi").source)
    assert.equal(2, #w.log)
  end)

  it("leaves half of the time to the smaller model", function()
    local w = world.new { script = { a = function(request)
      local model = json.decode(request.body).model
      return model == FLASH and good("flash", 3) or status(503, nil, "", 6)
    end }, options = { policy = "degrade", breaker = false, budget = false, limiter = false } }
    local reply = ask(w, PRO, "hi", { deadline = 20 })
    assert.equal("flash", reply.text)
    assert.equal(3, reply.tries) -- 6 and 6 of 20 s for the first model: no third
  end)

  it("climbs the same way for streams", function()
    local w = world.new { script = { a = function(request)
      return json.decode(request.body).model == FLASH and world.words { "fl", "ash" } or status(503)
    end }, options = { policy = "degrade", breaker = false, budget = false, limiter = false,
      retry = false } }
    local stream = w.client:stream { model = PRO, messages = { { role = "user", content = "hi" } } }
    local reply = stream:reply()
    assert.equal("flash", reply.text)
    assert.equal("model", reply.fallback.kind)
  end)
end)
