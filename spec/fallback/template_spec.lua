local template = require "unbusy.fallback.template"

local facts = { code = "busy", message = "deepseek: 503 service overloaded", status = 503,
  target = "deepseek", retry_after = 12.3, tries = 5, model = "deepseek-pro" }

local function filled(text, given)
  return template.render(assert(template.compile(text)), given or facts)
end

local function fault(text)
  local parts, message = template.compile(text)
  assert.is_nil(parts)
  return message
end

describe("a template", function()
  it("is filled with what is known of a failure", function()
    assert.equal("忙:busy, try again in 13 s", filled "忙:{code}, try again in {retry_after} s")
    assert.equal("deepseek: 503 service overloaded | 503 | deepseek | 5 | deepseek-pro",
      filled "{message} | {status} | {target} | {tries} | {model}")
    assert.equal("busybusy", filled "{code}{ code }")
  end)

  it("without places is the text", function()
    for _, text in ipairs { "", "系统繁忙", "a\0b\r\n\27[31m", "}", "a}b}}", ("x"):rep(2 ^ 20) } do
      assert.equal(text, filled(text))
    end
  end)

  it("says numbers rounded: a wait never less than it is, nor nothing", function()
    local function at(retry_after) return filled("{retry_after}", { retry_after = retry_after }) end
    assert.same({ "1", "1", "2", "60", "1000000000" },
      { at(0), at(0.2), at(1.0001), at(60), at(1e15) })
    assert.equal("503 2", filled("{status} {tries}", { status = 503.0, tries = 2.0 }))
  end)

  it("says something sensible for what is not known", function()
    assert.equal("the service has no status; try again in a few s; the model",
      filled("{target} has {status}; try again in {retry_after} s; {model}", {}))
    for _, odd in ipairs { 0 / 0, 1 / 0, "12", false, {} } do
      assert.equal("a few", filled("{retry_after}", { retry_after = odd }))
    end
    assert.equal("the model", filled("{model}", { model = "" }))
  end)

  it("or what it says itself", function()
    assert.equal("请在 几 秒后重试", filled("请在 {retry_after|几} 秒后重试", {}))
    assert.equal("请在 13 秒后重试", filled "请在 {retry_after|几} 秒后重试")
    assert.equal("[]", filled("[{model|}]", {}))
  end)

  it("has a brace for two, and for one that no letter follows", function()
    assert.equal("{code}", filled "{{code}")
    assert.equal("{busy}", filled "{{{code}}")
    assert.equal("{{", filled "{{{{")
    for _, json in ipairs { '{"error":{"message":"later"}}', "{\n  \"a\": 1\n}", "{}", "{", "{ }",
      "{1}", "{ a: 1 }", "a { b", "{忙}" } do
      assert.equal(json, filled(json))
    end
    assert.equal('{"code":"busy"}', filled '{"code":"{code}"}')
  end)

  it("is refused where a place cannot be meant", function()
    assert.equal("unknown placeholder '{codee}', did you mean '{code}'?", fault "x {codee}")
    assert.equal("unknown placeholder '{nothing_like_it}'", fault "{nothing_like_it}")
    assert.equal("unknown placeholder '{retryafter}', did you mean '{retry_after}'?",
      fault "{ retryafter }")
    assert.matches("^'{code:%.1f}…' is no placeholder; write '{{' for a brace", fault "{code:.1f}")
    assert.matches("is no placeholder", fault "{code")
    assert.matches("is no placeholder", fault "{code\n")
    assert.matches("closing brace is missing", fault "{code|x")
    assert.matches("closing brace is missing", fault "{code|{model}}")
    assert.matches("unknown placeholder", fault("{" .. ("a"):rep(100000) .. "}"))
    assert.equal("more than 1000 placeholders", fault(("{code}"):rep(1001)))
    assert.equal(("busy"):rep(1000), filled(("{code}"):rep(1000)))
  end)

  it("takes no bytes from a fact that are no text, and not too many", function()
    assert.equal("a?b", filled("{target}", { target = "a\255\254b" }))
    local long = filled("{model}", { model = ("忙"):rep(10000) })
    assert.is_true(#long <= 2003)
    assert.equal(("忙"):rep(666) .. "…", long)
    assert.equal("{code}", filled("{model}", { model = "{code}" })) -- a fact is no template
  end)
end)
