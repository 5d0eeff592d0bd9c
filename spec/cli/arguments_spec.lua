local arguments = require "unbusy.cli.arguments"
local chat = require "unbusy.cli.chat"
local codes = require "unbusy.codes"

describe("arguments", function()
  local function parse(...)
    return arguments.parse(chat, { ... }, 1)
  end

  it("reads options, flags and words in any order", function()
    assert.same({ "q", model = "m", no_stream = true }, parse("--model", "m", "q", "--no-stream"))
    assert.same({ "q", model = "m=n", quiet = true }, parse("-q", "--model=m=n", "q"))
    assert.same({ "-", deadline = 2.5 }, parse("--deadline=2.5", "-"))
    assert.same({ "--json" }, parse("--", "--json"))
    assert.same({ system = "-x" }, parse("--system", "-x"))
    assert.same({ model = "b" }, parse("--model", "a", "--model", "b"))
    assert.same({}, parse())
  end)

  it("collects an option that may be given several times", function()
    local command = { most = 0, expects = "nothing", options = {
      { name = "with", value = "WORD", type = "string", many = true },
      { name = "count", value = "N", type = "whole", min = 0 } } }
    local function read(...) return arguments.parse(command, { ... }, 1) end
    assert.same({ with = { "a", "b" }, count = 7 }, read("--with", "a", "--count=7", "--with=b"))
    assert.same({}, read())
    assert.equal("--count: whole expected, got 1.5", (select(2, read("--count", "1.5"))))
    assert.equal("--count: a number expected", (select(2, read("--count", "x"))))
  end)

  it("says what is wrong", function()
    local cases = {
      { { "--modle", "x" }, "unknown option '--modle', did you mean '--model'?" },
      { { "--zzzzzzzz" }, "unknown option '--zzzzzzzz'" },
      { { "-x" }, "unknown option '-x'" },
      { { "--model" }, "--model: NAME expected" },
      { { "--model=" }, "--model: a value expected" },
      { { "--json=1" }, "--json takes no value" },
      { { "--deadline", "soon" }, "--deadline: a number expected" },
      { { "--deadline", "0x10" }, "--deadline: a number expected" },
      { { "--deadline", "nan" }, "--deadline: a number expected" },
      { { "--deadline", "" }, "--deadline: a number expected" },
      { { "--deadline", "0" }, "--deadline: a number above 0 expected, got 0" },
      { { "--deadline", "-1" }, "--deadline: a number above 0 expected, got -1" },
      { { "--deadline", "99999999" }, "--deadline: a number at most" },
      { { "--model", "--json" }, "--model: NAME expected (one that begins with --" },
      { { "a", "b", "c" }, "one question expected, got 3 words: put it in quotes" },
    }
    for _, case in ipairs(cases) do
      local values, message = arguments.parse(chat, case[1], 1)
      assert.is_nil(values)
      assert.equal(case[2], message:sub(1, #case[2]))
    end
  end)

  it("does not repeat what may be a question or a key", function()
    local secret = "my secret question"
    for _, words in ipairs { { "-" .. secret }, { "--" .. secret }, { "--key=" .. secret },
      { "--json=" .. secret }, { secret, secret }, { "--deadline", secret } } do
      local values, message = arguments.parse(chat, words, 1)
      assert.is_nil(values)
      assert.is_nil(message:find("secret", 1, true), message)
    end
  end)

  it("writes a help page with every option and every code, 80 columns wide", function()
    local page = arguments.manual(chat)
    for _, option in ipairs(chat.options) do
      assert.is_truthy(page:find("--" .. option.name, 1, true), option.name)
    end
    for word, code in pairs(codes) do
      assert.is_truthy(page:find(("\n  %d %s "):format(code.exit, word), 1, true), word)
    end
    for line in page:gmatch "[^\n]+" do
      assert.is_true(#line <= 80 or line:find "^  git diff" ~= nil, line)
    end
  end)

  it("gives every way to end a status of its own", function()
    local seen = { [0] = "answered", [1] = "fault", [2] = "usage", [3] = "fallback" }
    for word, code in pairs(codes) do
      assert.is_nil(seen[code.exit], word)
      assert.is_true(code.exit < 126, word)
      seen[code.exit] = word
    end
  end)
end)
