local codes = require "unbusy.codes"

-- The words of the C core: from the header that declares them, which the core is built from.
local function core_words()
  local words = {}
  local header = assert(io.open("csrc/base/err.h"))
  for word in header:read("*a"):gmatch('X%(UB_E%u+,%s*%d+,%s*"(%l+)"') do words[word] = true end
  header:close()
  return words
end

describe("codes", function()
  it("has exactly the words of the core", function()
    local words, ours = core_words(), {}
    for word in pairs(codes) do ours[word] = true end
    assert.same(words, ours)
    assert.is_true(ours.busy and ours.nomem)
  end)

  it("agrees with what the core was built with", function()
    local found, core = pcall(require, "unbusy.core")
    if not found then return pending "the core is not built" end
    local words, ours = {}, {}
    for _, err in ipairs(core.errors()) do words[err.word] = true end
    for word in pairs(codes) do ours[word] = true end
    assert.same(words, ours)
  end)

  it("fills every field, with exit statuses of their own from 10 up", function()
    local seen = {}
    for word, code in pairs(codes) do
      for _, field in ipairs { "retry", "elsewhere", "busy", "fallback" } do
        assert.is_boolean(code[field], word .. "." .. field)
      end
      assert.is_true(code.limiter == "fail" or code.limiter == "neutral", word)
      assert.is_true(code.breaker == "busy" or code.breaker == "fail"
        or code.breaker == "neutral", word)
      assert.is_true(code.exit >= 10 and code.exit < 64 and not seen[code.exit], word)
      seen[code.exit] = true
      assert.is_true(code.http >= 400 and code.http < 600, word)
      assert.matches("^%u.*%.$", code.meaning)
    end
  end)

  it("reports busy to the limiter, other faults to the breaker, the rest to neither", function()
    local function report(words, limiter, breaker)
      for word in words:gmatch("%a+") do
        assert.same({ limiter, breaker }, { codes[word].limiter, codes[word].breaker }, word)
      end
    end
    report("busy limited", "fail", "busy")
    report("timeout network tls cut empty upstream", "neutral", "fail")
    report("quota auth invalid cancelled closed open full budget policy nomem", "neutral",
      "neutral")
  end)

  it("moves on where time does not help, and stays where nothing does", function()
    local function may(words, retry, elsewhere)
      for word in words:gmatch("%a+") do
        assert.same({ retry, elsewhere }, { codes[word].retry, codes[word].elsewhere }, word)
      end
    end
    may("busy limited timeout network cut empty upstream", true, true)
    may("quota auth tls", false, true)
    may("invalid cancelled closed open full budget policy nomem", false, false)
  end)

  it("keeps the fallback from what is the caller's own doing", function()
    for word, code in pairs(codes) do
      assert.equal(not (word == "invalid" or word == "cancelled" or word == "closed"),
        code.fallback, word)
    end
  end)
end)
