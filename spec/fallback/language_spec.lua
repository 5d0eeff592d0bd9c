local language = require "unbusy.fallback.language"

describe("a language tag", function()
  it("is known by its form", function()
    for _, tag in ipairs { "zh", "en", "pt-BR", "zh-Hans-CN", "de-CH-1996", "x-pig-latin", "i-ami",
      "yue", "EN-us", "es-419" } do
      assert.is_true(language.is_tag(tag), tag)
    end
    for _, tag in ipairs { "", "-", "en-", "-en", "en--us", "e n", "*", "12", "1a", "en_US", "中文",
      "en\0", "abcdefghi", "en-abcdefghi", ("a-"):rep(40) .. "a", 7, true, {} } do
      assert.is_false(language.is_tag(tag), tostring(tag))
    end
  end)
end)

describe("accept-language", function()
  local function order(header)
    local tags = language.accepted(header)
    return tags and table.concat(tags, " ")
  end

  it("gives the tags, the best first", function()
    assert.equal("zh-CN zh en", order "zh-CN,zh;q=0.9,en;q=0.8")
    assert.equal("da en-gb en", order "en;q=0.7, da, en-gb;q=0.8") -- RFC 9110, 12.5.4
    assert.equal("fr de", order "fr , de")
    assert.equal("b a", order "a;q=0.001,b;q=0.01")
    assert.equal("ja", order " ja ; Q=1.000 ")
    assert.equal("en fr", order { "fr;q=0.5", "en" })
  end)

  it("leaves out what is refused, unknown or says nothing", function()
    assert.equal("en", order "de;q=0, en, fr;q=0.0")
    assert.equal("en", order "*, en;q=0.5")
    for _, header in ipairs { "", "*", "*;q=0.5", "de;q=0", ";q=1", ",,,", "12", "en;q=2", "en;q=x",
      "en;level=1", "中文", "\0" } do
      assert.is_nil(order(header), header)
    end
    assert.equal("de", order "en;q=1.5, de;q=0.1, fr;q=-1, it;q=")
    assert.is_nil(order(nil))
  end)

  it("is read no further than makes sense", function()
    local many = {}
    for i = 1, 5000 do many[i] = ("a%d;q=0.5"):format(i) end
    assert.is_true(#language.accepted("x," .. table.concat(many, ",")) <= 16)
    assert.equal("en", order("en" .. (" "):rep(1e6) .. ",de"))
    assert.is_nil(order((";"):rep(1e6)))
  end)
end)

describe("choosing by language", function()
  local map = { zh = 1, ["zh-tw"] = 2, en = 3, ["pt-br"] = 4 }

  it("takes the first that is known, by its longest part that is", function()
    assert.equal(1, language.pick(map, { "zh" }))
    assert.equal(1, language.pick(map, { "zh-CN" }))
    assert.equal(2, language.pick(map, { "zh-TW" }))
    assert.equal(2, language.pick(map, { "ZH-tw-x-private" }))
    assert.equal(1, language.pick(map, { "fr", "zh-Hans-CN", "en" }))
    assert.equal(4, language.pick(map, { "pt" })) -- better than none of that language
    assert.equal(4, language.pick(map, { "pt-PT" }))
  end)

  it("else the default, else English, else nothing", function()
    assert.equal(3, language.pick(map, { "fr" }))
    assert.equal(3, language.pick(map, {}))
    assert.equal(5, language.pick({ default = 5, en = 3 }, { "fr" }))
    assert.equal(3, language.pick({ default = 5, en = 3 }, { "en-GB" }))
    assert.equal(7, language.pick({ ["en-us"] = 7 }, {}))
    assert.is_nil(language.pick({ zh = 1 }, { "fr" }))
    assert.is_nil(language.pick({ zhx = 1 }, { "zh" }))
    assert.equal(false, language.pick({ zh = false, en = 1 }, { "zh" }))
  end)
end)

describe("guessing the language", function()
  local function of(text)
    return language.guess { messages = { { role = "user", content = text } } }
  end

  it("goes by the script", function()
    local known = { zh = { "天气如何", "請問天氣如何?", "用 Python 写一个快速排序函数", "𠮷" },
      ja = { "天気はどうですか", "カタカナ", "東京都の天気を教えて", "ﾊﾝｶｸ" },
      ko = { "날씨가 어때요?", "ㅋㅋㅋ" }, ru = { "Какая погода?", "Привіт" }, ar = { "كيف الطقس" },
      he = { "מה מזג האוויר" }, el = { "Τι καιρό κάνει;" }, th = { "อากาศเป็นอย่างไร" },
      hi = { "मौसम कैसा है" } }
    for tag, texts in pairs(known) do
      for _, text in ipairs(texts) do assert.same({ text, tag }, { text, of(text) }) end
    end
  end)

  it("and says nothing where that tells nothing", function()
    for _, text in ipairs { "", "How is the weather?", "Wie wird das Wetter?", "¿Qué tiempo hace?",
      "12345 !?", "👍", "\255\254\192", "what does 好 mean in English, please?" } do
      assert.is_nil(of(text), text)
    end
  end)

  it("looks at what the user wrote last", function()
    local function last(...)
      return language.guess { messages = { ... } }
    end
    assert.equal("zh", last({ role = "system", content = "Be brief." },
      { role = "user", content = "Hello" }, { role = "assistant", content = "Hi" },
      { role = "user", content = "天气如何" }, { role = "assistant", content = "Let me see" }))
    assert.is_nil(last({ role = "user", content = "天气如何" }, { role = "user", content = "Hello" }))
    assert.is_nil(last({ role = "system", content = "天气如何" }))
    assert.equal("ru", last({ role = "user", content = {
      { type = "image_url", image_url = {} }, { type = "text", text = "Что это?" } } }))
  end)

  it("of whatever asks", function()
    assert.equal("zh", language.guess { prompt = "从前有座山" })
    assert.equal("ko", language.guess { input = "안녕하세요" })
    assert.equal("ja", language.guess { input = { { role = "user", content = {
      { type = "input_text", text = "これは何ですか" } } } } })
  end)

  it("finds no language in nonsense", function()
    for _, request in ipairs { {}, { messages = {} }, { messages = 7 }, { messages = { 7 } },
      { messages = { { role = "user" } } }, { messages = { { role = "user", content = 7 } } },
      { messages = { { role = "user", content = { 7, {}, { type = "text" } } } } },
      { prompt = { 1, 2, 3 } }, { prompt = { "从前" } }, { input = 7 }, { input = { { 7 } } } } do
      assert.is_nil(language.guess(request))
    end
    assert.is_nil(language.guess "text")
    assert.is_nil(language.guess(nil))
  end)

  it("of a long text by its ends", function()
    local long = "天气如何" .. (" x"):rep(1e6)
    assert.is_nil(of(long)) -- far more Latin than Han
    assert.equal("zh", of(("天气"):rep(1e6)))
    assert.equal("zh", of(("x"):rep(1e6) .. "天气如何"))
  end)
end)
