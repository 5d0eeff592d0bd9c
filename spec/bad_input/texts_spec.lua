-- NULs, line ends and bytes that are not UTF-8, wherever a text goes; and a target without a key.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"

local function question(text, model)
  return { model = model or "m", messages = { { role = "user", content = text } } }
end

describe("odd bytes", function()
  guard.watch(before_each, after_each)
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function() up:programme { reset = true, log = true } end)

  local function new(more)
    local t = { name = "a", url = up.url, proxy = false }
    for k, v in pairs(more or {}) do t[k] = v end
    t.key = t.key or not t.keys and "key-1" or nil
    local client = unbusy.new { targets = { t }, retry = false }
    return client
  end

  local function refused(more, pattern)
    local ok, message = pcall(new, more)
    assert.is_false(ok)
    assert.matches("texts_spec%.lua:%d+: unbusy: targets%[1%]%." .. pattern, message)
  end

  it("in a prompt are sent as they are, when it is UTF-8", function()
    for _, text in ipairs { "a\0b", "\0", "line\r\nend", "\27[31m\127\1", "\226\128\168",
      "\239\187\191bom", "\240\159\152\128" } do
      assert.equal("echo: " .. text, assert(new():chat(question(text))).text)
      local stream = assert(new():stream(question(text)))
      assert.equal("echo: " .. text, assert(stream:reply()).text)
    end
  end)

  it("in a prompt that is no UTF-8 end the call before anything is sent", function()
    for _, text in ipairs { "\255", "cut \228\189", "\196\227\186\195", "\192\128", "\237\160\128",
      "a\xfe" } do
      for _, method in ipairs { "chat", "stream" } do
        local client = new()
        local reply, message, code, detail = client[method](client, question(text))
        assert.is_nil(reply)
        assert.equal("invalid", code)
        assert.matches("^messages%[1%]%.content: a string that is not UTF%-8", message)
        assert.equal(0, detail.tries)
      end
    end
    assert.equal(0, up:counts().received)
  end)

  it("in a request are no more than a failure: functions, cycles, depth, NaN", function()
    local cycle, deep = {}, {}
    cycle[1] = cycle
    local at = deep
    for _ = 1, 500 do
      at[1] = {}
      at = at[1]
    end
    for _, extra in ipairs { print, cycle, deep, 0 / 0, math.huge, { 1, 2, x = 3 },
      { [1] = 1, [3] = 3 }, { [true] = 1 }, coroutine.create(print), io.stdout } do
      local request = question "hi"
      request.extra = extra
      local reply, message, code = new():chat(request)
      assert.is_nil(reply)
      assert.equal("invalid", code)
      assert.matches("^extra", message)
      reply, message, code = new():post("/files", { extra = extra })
      assert.is_nil(reply)
      assert.equal("invalid", code)
      assert.matches("^extra", message)
    end
    assert.equal(0, up:counts().received)
  end)

  it("in a model's name put no header into the request", function()
    for _, model in ipairs { "m\r\nX-Evil: 1", "m\0\r\n\r\nGET / HTTP/1.1", "\"},{", "m\n",
      "../../x", ("m"):rep(10000) } do
      up:programme { reset = true, log = true }
      local reply = assert(new():chat(question("hi", model)))
      assert.equal("echo: hi", reply.text)
      local log = up:log()
      assert.equal(1, #log)
      assert.is_nil(log[1].headers["x-evil"])
      assert.equal("/chat/completions", log[1].path)
    end
    local _, message, code = new():chat(question("hi", "\255"))
    assert.equal("invalid", code)
    assert.matches("^model: ", message)
  end)

  it("in a configured name, key, header or path are refused", function()
    for _, byte in ipairs { "\0", "\r\nX-Evil: 1", "\n", "\127", "\31", "\9" } do
      local text = "x" .. byte .. "y"
      refused({ name = text }, "name: a text without control characters")
      refused({ url = "http://a/" .. text }, "url: a text without control characters")
      refused({ key = text }, "key: a text without control characters")
      refused({ keys = { "good", text } }, "key: a text without control characters")
      refused({ headers = { ["X-A"] = text } }, "headers: a text without control characters")
      refused({ headers = { [text] = "a" } }, "headers: a text without control characters")
      refused({ models = { m = text } }, "models: a text without control characters")
      refused({ models = { [text] = "m" } }, "models: a text without control characters")
      refused({ proxy = "http://a/" .. text }, "proxy: a text without control characters")
      refused({ tls = { ca = "/" .. text } }, "tls%.ca: a text without control characters")
      refused({ tls = { key = "/" .. text } }, "tls%.key: a text without control characters")
    end
  end)

  it("in a header's name are refused: it would be another header", function()
    for _, name in ipairs { "", " X", "X Y", "X:", "X: a", ":", "X;", "(X)", "\"X\"", "X/Y",
      "\228\189\160" } do
      refused({ headers = { [name] = "a" } }, "headers: '.*' is no header's name")
    end
    assert(new { headers = { ["X-1_2.3~|`^'*+-.!#$%&"] = "a" } }:chat(question "hi"))
  end)

  it("beyond ASCII in a key or a header's value are sent as they are", function()
    for _, text in ipairs { "\255\254", "\228\189\160\229\165\189", "a \"b\" c; d=e, f" } do
      up:programme { reset = true, log = true }
      assert(new { key = text, headers = { ["X-A"] = text } }:chat(question "hi"))
      local headers = up:log()[1].headers
      assert.same({ "Bearer " .. text, text }, { headers.authorization, headers["x-a"] })
    end
  end)

  it("but nothing at all is no key", function()
    refused({ key = "" }, "key: an empty text")
    refused({ keys = { "a", "" } }, "key: an empty text")
    local t = unbusy.new { retry = false, targets = { { name = "nobodys", url = up.url,
      proxy = false } } }
    assert.equal("echo: hi", assert(t:chat(question "hi")).text)
    assert.is_nil(up:log()[1].headers.authorization)
    t = unbusy.new { retry = false, targets = { { name = "b", url = up.url, keys = {},
      proxy = false } } }
    assert(t:chat(question "hi"))
    assert.is_nil(up:log()[2].headers.authorization)
  end)

  it("in a fallback or a post body", function()
    assert.is_false(pcall(unbusy.new, { targets = { { name = "a", url = up.url } },
      fallback = "\255" }))
    local reply = assert(new():post("/chat/completions",
      '{"messages":[{"role":"user","content":"a\\u0000b"}]}'))
    assert.equal("echo: a\0b", reply.body.choices[1].message.content)
    local _, _, code = new():post("/chat/completions", "\0\255\r\n")
    assert.equal("invalid", code)
  end)
end)
