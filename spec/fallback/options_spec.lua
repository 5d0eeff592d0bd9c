local fallback_options = require "unbusy.fallback.options"
local json = require "unbusy.json"
local pools = require "unbusy.pools"
local unbusy = require "unbusy"

local targets = { { name = "a", models = { default = "pro" } },
  { name = "b", pool = "reserve", reserve = true, models = { pro = "qwen-max" } },
  { name = "c", pool = "cheap", models = { flash = "flash-1", default = "flash-1" } } }

local known = { pools = pools.of(targets), cache = true }

local function plan(given) return assert(fallback_options.read(given, known)) end

local function fault(given, other)
  local none, message = fallback_options.read(given, other or known)
  assert.is_nil(none)
  return message
end

describe("the option fallback", function()
  it("is a text, also with a status and more", function()
    local node = plan("忙:{code}").root
    assert.same({ "text", 200, "stop" }, { node.kind, node.status, node.finish })
    node = plan({ text = "x", status = 503, reasoning = "hm", finish_reason = "length",
      usage = { completion_tokens = 3 } }).root
    assert.same({ kind = "text", parts = { "x" }, status = 503, reasoning = "hm",
      finish = "length", usage = { prompt_tokens = 0, completion_tokens = 3 } }, node)
    assert.same({}, plan("").root.parts) -- an empty answer is one
  end)

  it("is a whole reply, of the kinds that it can be", function()
    local chat = { choices = { { message = { content = "hi" } } } }
    local node = plan({ reply = chat, status = 299 }).root
    assert.same({ "reply", 299, { chat = true, complete = false, responses = false } },
      { node.kind, node.status, node.kinds })
    chat.choices[1].message.content = "changed since"
    assert.equal("hi", json.decode(node.text).choices[1].message.content)
    chat.choices[1].text = "both"
    assert.same({ chat = true, complete = true, responses = false },
      plan({ reply = chat }).root.kinds)
    assert.is_true(plan({ reply = { output = { { type = "message", content = {
      { type = "output_text", text = "hi" } } } } } }).root.kinds.responses)
  end)

  it("is another model, another pool, or both", function()
    assert.same({ kind = "ask", model = "flash" }, plan({ model = "flash" }).root)
    assert.same({ kind = "ask", pool = "reserve" }, plan({ pool = "reserve" }).root)
    assert.same({ kind = "ask", model = "flash", pool = "cheap" },
      plan({ model = "flash", pool = "cheap" }).root)
    assert.same({ kind = "ask", pool = "default" }, plan({ pool = "default" }).root)
  end)

  it("is the last good answer", function()
    for _, given in ipairs { "stale", { stale = true } } do
      assert.same({ root = { kind = "stale" }, stale = true }, plan(given))
    end
    assert.same({ root = { kind = "stale", most = 60 }, stale = true }, plan { stale = 60 })
    assert.is_false(plan("x").stale)
    assert.same({ "text", { "stale" } }, { plan({ text = "stale" }).root.kind,
      plan({ text = "stale" }).root.parts })
  end)

  it("is a list, by code, by language, or nothing, within each other", function()
    local p = plan { { model = "flash" }, { by_code = { quota = false, default = { by_language = {
      zh = { "stale", "忙" }, ["pt-BR"] = "ocupado", default = "busy" } } } } }
    assert.is_true(p.stale)
    local by_code = p.root[2].nodes
    assert.equal("none", by_code.quota.kind)
    assert.same({ "stale", "text" }, { by_code.default.nodes.zh[1].kind,
      by_code.default.nodes.zh[2].kind })
    assert.equal("text", by_code.default.nodes["pt-br"].kind)
    assert.same({ kind = "list", { kind = "none" } }, plan({ false }).root)
  end)

  it("may have the same part in two places", function()
    local sorry = { text = "sorry" }
    local p = plan { by_code = { busy = sorry, default = { "stale", sorry } } }
    assert.equal("text", p.root.nodes.busy.kind)
    assert.equal("text", p.root.nodes.default[2].kind)
  end)

  it("is refused by its place and reason", function()
    for message, given in pairs {
      ["fallback: a text or a table expected, got a number"] = 7,
      ["fallback: a text or a table expected, got a function"] = print,
      ["fallback: a text or a table expected, got a boolean"] = true,
      ["fallback.text is missing"] = {},
      ["unknown option 'fallback.txt', did you mean 'text'?"] = { txt = "x" },
      ["unknown option 'fallback.nothing_like_it'"] = { nothing_like_it = "x" },
      ["unknown option 'fallback.txt'"] = { text = "x", txt = "x" },
      ["fallback.text: string expected, got a table"] = { text = {} },
      ["fallback: unknown placeholder '{codee}', did you mean '{code}'?"] = "{codee}",
      ["fallback[2].by_code.busy: unknown placeholder '{x}'"] = { "stale",
        { by_code = { busy = "{x}" } } },
      ["fallback: a text in UTF-8 expected"] = "a\255b",
      ["fallback.reasoning: a text in UTF-8 expected"] = { text = "x", reasoning = "\255" },
      ["fallback: at most 1048576 bytes expected, got 1048577"] = ("x"):rep(2 ^ 20 + 1),
      ["fallback.status: a number at least 200 expected, got 199"] = { text = "x", status = 199 },
      ["fallback.status: a number at most 599 expected, got 600"] = { text = "x", status = 600 },
      ["fallback.status: whole expected, got 200.5"] = { text = "x", status = 200.5 },
      ["fallback.status: with 204 goes no body"] = { text = "x", status = 204 },
      ["fallback.finish_reason: one of stop, length, content_filter expected"] = { text = "x",
        finish_reason = "tool_calls" },
      ["fallback.usage.prompt_tokens: a number at least 0 expected, got -1"] = { text = "x",
        usage = { prompt_tokens = -1 } },
      ["fallback.reply: table expected, got a string"] = { reply = "x" },
      ["fallback.reply: a whole answer with choices or an output expected"] = { reply = {} },
      ["fallback.model: string expected, got 7"] = { model = 7 },
      ["fallback.model: a name of 1 to 256 plain characters expected"] = { model = "" },
      ["fallback.pool: no pool is named 'reserv', did you mean 'reserve'?"] = { pool = "reserv" },
      ["fallback.pool: no pool is named 'x'"] = { model = "flash", pool = "x" },
      ["fallback.stale: true or a number expected"] = { stale = false },
      ["fallback.stale: a number at least 0 expected, got -1"] = { stale = -1 },
      ["fallback.by_code: unknown code 'buzy', did you mean 'busy'?"] = {
        by_code = { buzy = "x" } },
      ["fallback.by_code: no fallback stands in for 'invalid'"] = { by_code = { invalid = "x" } },
      ["fallback.by_code: unknown code '1'"] = { by_code = { "x" } },
      ["fallback.by_code: a table with something in it expected"] = { by_code = {} },
      ["fallback.by_language: no language tag: 'en_US'"] = { by_language = { en_US = "x" } },
      ["fallback.by_language: twice 'en'"] = { by_language = { en = "x", EN = "y" } },
      ["fallback: a list without holes expected"] = { [1] = "x", [3] = "y" },
      ["fallback: a list expected, got key 'text'"] = { "x", text = "y" },
    } do
      assert.same({ message, true }, { message, fault(given):sub(1, #message) == message,
        fault(given):sub(1, #message) ~= message and fault(given) or nil })
    end
  end)

  it("names no model with bytes that no name has", function()
    for _, model in ipairs { "a\0b", "a\nb", "\127", "\255", ("m"):rep(257) } do
      assert.matches("plain characters expected", fault { model = model })
    end
  end)

  it("names no model that no target has, where all of them say what they have", function()
    local all = { pools = pools.of { { models = { pro = "p1", flash = "f1" } } }, cache = false }
    assert.equal("fallback.model: no target has 'flesh', did you mean 'flash'?",
      fault({ model = "flesh" }, all))
    for _, name in ipairs { "pro", "flash", "p1", "f1" } do
      assert.is_table(fallback_options.read({ model = name }, all))
    end
    assert.matches("no target has 'x'", fault { model = "x", pool = "cheap" })
    assert.is_table(plan { model = "x" }) -- "a" takes any
    local any = { pools = pools.of { { models = { pro = "p1", ["*"] = "f1" } } } }
    assert.is_table(fallback_options.read({ model = "x" }, any))
  end)

  it("needs a cache for what is stale", function()
    assert.equal("fallback[1]: without a cache nothing is stale",
      fault({ "stale", "x" }, { pools = known.pools, cache = false }))
  end)

  it("never ends in itself", function()
    local loop = { "x" }
    loop[2] = loop
    assert.equal("fallback[2]: a table that contains itself", fault(loop))
    local far = { by_code = { busy = { { by_language = {} } } } }
    far.by_code.busy[1].by_language.en = { "x", far }
    assert.equal("fallback.by_code.busy[1].by_language.en[2]: a table that contains itself",
      fault(far))
    local body = { choices = { { message = { content = "x" } } } }
    body.choices[1].message.self = body
    assert.matches("^fallback%.reply: ", fault { reply = body })
  end)

  it("holds nothing that JSON could not say", function()
    for _, odd in ipairs { print, coroutine.create(print), 0 / 0, 1 / 0, io.stdout,
      { 1, x = 2 } } do
      assert.matches("^fallback%.reply: ",
        fault { reply = { choices = { { message = { content = "x" } } }, odd = odd } })
    end
    assert.matches("^fallback%.reply: ", -- in the middle, where a quick look does not find it
      fault { reply = { choices = { { message = { content = "a\255b" } } } } })
  end)

  it("is not too long, too deep or too large", function()
    local ladder = {}
    for i = 1, 1000 do ladder[i] = { model = "m" .. i } end
    assert.matches("^fallback: a list of length at most 32 expected", fault(ladder))
    local deep = { "x" }
    for _ = 1, 20 do deep = { deep } end
    assert.matches("nested deeper than 16", fault(deep))
    local wide = "x" -- 32^3 by way of shared parts
    for _ = 1, 3 do
      local list = {}
      for i = 1, 32 do list[i] = wide end
      wide = list
    end
    assert.matches("more than 1000 parts in all", fault(wide))
    assert.is_table(plan(("x"):rep(2 ^ 20)))
    assert.matches("at most 1048576 bytes", fault { reply = { choices = {
      { message = { content = ("x"):rep(2 ^ 20) } } } } })
  end)
end)

describe("a client", function()
  local function new(more, given)
    local o = { targets = { { name = "a", url = "http://a.test" },
      { name = "b", url = "http://b.test", pool = "reserve", reserve = true } } }
    for name, value in pairs(more) do o[name] = value end
    for i, t in ipairs(given or {}) do
      for name, value in pairs(t) do o.targets[i][name] = value end
    end
    return pcall(unbusy.new, o)
  end

  local function refused(pattern, ...)
    local ok, message = new(...)
    assert.is_false(ok)
    assert.matches("unbusy: " .. pattern, message)
  end

  it("is not built with a fallback that cannot be", function()
    assert.is_true(new { fallback = { { pool = "reserve" }, "x" } })
    refused("fallback%[1%]%.pool: no pool is named 'reserved', did you mean 'reserve'%?",
      { fallback = { { pool = "reserved" }, "x" } })
    refused("fallback: unknown placeholder", { fallback = "{x}" })
    refused("fallback: without a cache", { fallback = "stale" })
    assert.is_true(new { fallback = "stale", cache = {} })
    refused("fallback: string or table expected, got a boolean", { fallback = true })
  end)

  it("is not built with pools that cannot be", function()
    refused("targets%[1%]%.pool: 1 to 64 characters expected", {}, { { pool = "" } })
    refused("targets%[1%]%.pool: 1 to 64 characters expected", {}, { { pool = ("p"):rep(65) } })
    refused("targets%[1%]%.pool: a text without control characters", {}, { { pool = "a\nb" } })
    refused("targets%[1%]%.reserve: a pool's name expected with it", {}, { { reserve = true } })
    refused("targets: every one is a reserve", {}, { { reserve = true, pool = "x" } })
    refused("targets%[1%]%.reserve: boolean expected", {}, { { reserve = "yes" } })
  end)

  it("makes no call to a pool that there is not", function()
    local client = assert(select(2, new {}))
    local question = { messages = { { role = "user", content = "hi" } } }
    local function refuses(pattern, given)
      local ok, message = pcall(function() client:chat(question, given) end)
      assert.is_false(ok)
      assert.matches("options_spec%.lua:%d+: chat: " .. pattern, message)
    end
    refuses("no pool is named 'reserv', did you mean 'reserve'%?", { pool = "reserv" })
    refuses("target 'a' is in the pool 'default'", { pool = "reserve", target = "a" })
    refuses("pool: string expected", { pool = 7 })
    for _, tag in ipairs { "en_US", "", { "en", "*" }, { 7 } } do
      refuses("language: a language tag expected, or a list of them", { language = tag })
    end
    refuses("language: string or table expected", { language = 7 })
  end)
end)
