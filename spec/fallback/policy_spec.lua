-- What a policy wants to stand in.
local json = require "unbusy.json"
local world = require "spec.support.world"

local status, good = world.status, world.good

local question = { model = "pro", messages = { { role = "user", content = "天气如何" } } }

-- A world that fails, but for the models of `answers`; the policy says `f(request, failure)`.
local function with(f, options, answers)
  local o = { retry = false, policy = { fallback = f } }
  for name, value in pairs(options or {}) do o[name] = value end
  return world.new { script = { a = function(request, n)
    local answer = (answers or {})[json.decode(request.body).model]
    if type(answer) == "function" then answer = answer(n) end
    return answer or status(503, { ["retry-after"] = "7" })
  end }, options = o }
end

local function faults(w) return w.client:status().policy[1].faults.fallback or 0 end

describe("a policy's fallback", function()
  it("is asked with the request and the failure", function()
    local seen
    local w = with(function(request, failure)
      seen = { request = request, failure = failure }
      request.model, failure.code = "changed", "changed"
      return "from the policy: {code} of {model}"
    end, { fallback = "from the client" })
    local reply = w.client:chat(question)
    assert.same({ "from the policy: busy of pro", "fallback", "text" },
      { reply.text, reply.source, reply.fallback.kind })
    assert.same({ "pro", "busy" }, { question.model, reply.failure.code })
    local f = seen.failure
    assert.matches("^a: 503", f.message)
    f.message, f.code = nil, nil
    assert.same({ status = 503, target = "a", retry_after = 7, tries = 1, language = "zh",
      model = "pro", kind = "chat", stream = false }, f)
    w.client:stream(question, { language = { "de-CH", "en" } }):reply()
    assert.same({ "de-CH", true }, { seen.failure.language, seen.failure.stream })
  end)

  it("leaves it to the client where it says nothing", function()
    local w = with(function() end, { fallback = "from the client" })
    assert.equal("from the client", w.client:chat(question).text)
    w = with(nil, { fallback = "from the client" })
    assert.equal("from the client", w.client:chat(question).text)
    w = with(function() end)
    assert.equal("busy", select(3, w.client:chat(question)))
    assert.equal(0, faults(w))
  end)

  it("may say that there is none", function()
    local w = with(function() return false end, { fallback = "from the client" })
    assert.equal("busy", select(3, w.client:chat(question)))
    assert.equal(0, faults(w))
  end)

  it("may be any that the option may be", function()
    local function said(value, method)
      local w = with(function() return value end, nil, { flash = good "from flash" })
      return w.client[method or "chat"](w.client, question)
    end
    assert.same({ 503, "x" }, { said({ text = "x", status = 503 }).status,
      said({ text = "x", status = 503 }).text })
    local whole = { choices = { { message = { content = "whole" } } } }
    assert.equal("whole", said({ reply = whole }).text)
    local reply = said({ model = "flash" })
    assert.same({ "from flash", "upstream", "model", "busy" }, { reply.text, reply.source,
      reply.fallback.kind, reply.failure.code })
    assert.equal("忙", said({ by_language = { zh = "忙", en = "busy" } }).text)
    assert.equal("busy!", said({ by_code = { busy = { "busy!" }, default = "x" } }).text)
    assert.equal("x", said({ "x" }, "stream"):reply().text)
  end)

  it("falls on to the client's, unless it ends there", function()
    local w = with(function() return { { model = "flash" }, "stale" } end,
      { fallback = "from the client" })
    assert.equal("from the client", w.client:chat(question).text)
    assert.equal(2, #w.log)
    w = with(function() return { { model = "flash" }, false } end, { fallback = "from the client" })
    assert.equal("busy", select(3, w.client:chat(question)))
    assert.equal(0, faults(w))
  end)

  it("is asked once, however often the call then asks", function()
    local asked = 0
    local w = with(function()
      asked = asked + 1
      return { model = "flash" }
    end, { fallback = { { model = "flash" }, { model = "mini" }, "sorry" } })
    assert.equal("sorry", w.client:chat(question).text)
    assert.same({ 1, 3 }, { asked, #w.log })
  end)

  it("is a fault where it cannot be, and then the client's stands in", function()
    local cycle = { "x" }
    cycle[2] = cycle
    local ladder = {}
    for i = 1, 1000 do ladder[i] = "m" .. i end
    for message, value in pairs {
      ["a text in UTF%-8 expected"] = "a\255b",
      ["fallback%.text: string expected, got 7"] = { text = 7 },
      ["a text or a table expected, got a number"] = 7,
      ["got a boolean"] = true,
      ["got a function"] = print,
      ["fallback%[1%]: a text or a table expected, got a function"] = { print },
      ["unknown placeholder, did you mean '{code}'%?"] = "{codee}",
      ["unknown option, did you mean 'text'%?"] = { txt = "x" },
      ["fallback%.pool: no pool has that name"] = { pool = "reserve" },
      ["plain characters expected"] = { model = "a\nb" },
      ["fallback%.status: a number at most 599 expected"] = { text = "x", status = 600 },
      ["a table that contains itself"] = cycle,
      ["a list of length at most 32 expected"] = ladder,
      ["at most 1048576 bytes expected"] = ("x"):rep(2 ^ 20 + 1),
      ["a whole answer with choices or an output expected"] = { reply = { x = 1 } },
      ["fallback%.reply: "] = { reply = { x = 0 / 0 } },
    } do
      local w = with(function() return value end, { fallback = "from the client" })
      local reply = w.client:chat(question)
      assert.same({ message, "from the client" }, { message, reply.text })
      assert.equal(1, faults(w))
      assert.matches(message, w.client:status().policy[1].last_fault)
      assert.equal("fallback", w:seen("policy")[1].decision)
    end
  end)

  it("that names a model which no target has is a fault", function()
    local w = world.new { script = { a = { status(503) } },
      targets = { a = { models = { pro = "p", flash = "f" } } },
      options = { retry = false,
        policy = { fallback = function() return { model = "flesh" } end } } }
    assert.equal("busy", select(3, w.client:chat(question)))
    assert.matches("no target has it, did you mean 'flash'%?",
      w.client:status().policy[1].last_fault)
  end)

  it("that is a fault tells none of its words, which may be a prompt's", function()
    local word = "confidential"
    for i, value in ipairs { "{" .. word .. "}", "{" .. word .. ":", "{code|" .. word,
      { [word] = 1 }, { "x", [word] = 1 }, { text = "x", [word] = 1 }, { model = word .. "\n" },
      { pool = word }, { by_code = { [word] = "x" } }, { by_language = { [word .. "_"] = "x" } },
      { by_language = { [word:sub(1, 8)] = "{x}" } }, { text = "x", finish_reason = word },
      { by_language = { [word:sub(1, 8)] = "x", [word:sub(1, 8):upper()] = "y" } },
      { reply = { [word] = print } }, { reply = { choices = { { [word] = 1 } } } } } do
      local w = with(function() return value end, { fallback = "from the client" })
      assert.equal("from the client", w.client:chat(question).text)
      assert.same({ i, 1 }, { i, faults(w) })
      assert.is_nil(w.client:status().policy[1].last_fault:lower():find("confiden", 1, true), i)
    end
  end)

  it("that raises or never ends is a fault", function()
    for _, f in ipairs { function() error "no" end, function() while true do end end,
      function() local t = {} while #t >= 0 do t[#t + 1] = {} end end } do
      if jit then jit.off(f) end -- luacheck: ignore
      local w = with(f, { fallback = "from the client" })
      assert.equal("from the client", w.client:chat(question).text)
      assert.equal(1, faults(w))
    end
  end)

  it("is not asked for other kinds, nor for what the caller did", function()
    local asked = 0
    local w = with(function()
      asked = asked + 1
      return "x"
    end)
    assert.equal("busy", select(3, w.client:embed { model = "pro", input = "x" }))
    assert.equal("busy", select(3, w.client:post("/x", { model = "pro" })))
    w.client:close()
    assert.equal("closed", select(3, w.client:chat(question)))
    assert.equal(0, asked)
  end)

  it("may be a call's own", function()
    local w = world.new { script = { a = { status(503) } },
      options = { retry = false, fallback = "from the client" } }
    local own = { fallback = function() return "of this call" end }
    assert.equal("of this call", w:chat({ policy = own }).text)
    assert.equal("from the client", w:chat().text)
  end)
end)

describe("a policy and the last good answer", function()
  -- The last good answer is an hour old; then the server fails.
  local function after_an_hour(f, fallback, more)
    local policy = { fallback = f }
    for name, value in pairs(more or {}) do policy[name] = value end
    local w = with(nil, { policy = policy, fallback = fallback,
      cache = { ttl = 60, stale = 7200 } }, { pro = function(n)
        return n == 1 and good "from pro" or nil
      end, flash = good "from flash" })
    w.loop.run(function()
      w.client:chat(question)
      w.loop.sleep(3600)
    end)
    return w
  end

  it("comes when it says so", function()
    local w = after_an_hour(function() return { { model = "flash" }, "stale" } end)
    assert.equal("from flash", w.client:chat(question).text)
    w = after_an_hour(function() return { { model = "mini" }, "stale", "x" } end)
    local reply = w.client:chat(question)
    assert.same({ "from pro", "stale", "stale" }, { reply.text, reply.source, reply.fallback.kind })
  end)

  it("comes first where it does not say when, nor the client", function()
    for _, said in ipairs { "x", { model = "flash" } } do
      local w = after_an_hour(function() return said end)
      assert.equal("stale", w.client:chat(question).source)
    end
    local w = after_an_hour(function() end, "from the client")
    assert.equal("stale", w.client:chat(question).source)
    w = after_an_hour(function() end, { { model = "flash" }, "stale" })
    assert.equal("from flash", w.client:chat(question).text)
    w = after_an_hour(function() error "no" end)
    assert.equal("stale", w.client:chat(question).source)
  end)

  it("does not come where it says that nothing does", function()
    local w = after_an_hour(function() return false end, "from the client")
    assert.equal("busy", select(3, w.client:chat(question)))
  end)

  it("is of the question as the policy sees it", function()
    local function lower(request)
      request.messages[1].content = "the same"
      return request
    end
    local w = after_an_hour(function() return { { model = "mini" }, "stale", "x" } end, nil,
      { normalise = lower })
    local other = { model = "pro", messages = { { role = "user", content = "other words" } } }
    assert.equal("from pro", w.client:chat(other).text)
  end)

  it("and so are other decisions, which see what is asked now", function()
    local seen = {}
    local w = with(nil, { cache = {}, policy = { cache = function(request)
      seen[#seen + 1] = request.model
    end, fallback = function() return { model = "flash" } end } }, { flash = good "from flash" })
    assert.equal("from flash", w.client:chat(question).text)
    assert.same({ "pro", "flash" }, seen)
  end)

  it("is never another model's, though the policy takes the models for one", function()
    local function without_model(request)
      request.model = nil
      return request
    end
    local w = with(nil, { cache = {}, policy = { normalise = without_model,
      fallback = function() return { { model = "flash" }, "stale", "x" } end } },
      { pro = function(n) return n > 2 and good "from pro" or nil end, flash = good "from flash" })
    assert.equal("from flash", w.client:chat(question).text)
    local reply = w.client:chat(question)
    assert.same({ "from pro", "upstream" }, { reply.text, reply.source })
  end)
end)
