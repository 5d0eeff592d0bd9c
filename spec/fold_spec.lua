local fold = require "unbusy.fold"
local json = require "unbusy.json"
local random = require "spec.support.random"

describe("fold", function()
  local function is(name, expected, texts)
    for _, text in ipairs(texts) do assert.equal(expected, fold[name](text), text) end
  end

  it("knows capitals of several scripts", function()
    is("case", "hello", { "HELLO", "Hello", "hello" })
    is("case", "straße äöü éÿ", { "STRAßE ÄÖÜ ÉŸ", "straße äöü éÿ" })
    is("case", "łódź ďťň őű", { "ŁÓDŹ ĎŤŇ ŐŰ" })
    is("case", "σισυφοσ άέήίόύώ", { "ΣΙΣΥΦΟΣ ΆΈΉΊΌΎΏ", "σισυφος άέήίόύώ" })
    is("case", "привет ёі ґ", { "ПРИВЕТ ЁІ Ґ" })
    is("case", "tiếng việt ạ", { "TIẾNG VIỆT Ạ" })
    is("case", "բարեւ", { "ԲԱՐԵՒ" })
    is("case", "×÷ ı", { "×÷ ı" }) -- signs, and letters without a pair in the same word
    is("case", "天气如何", { "天气如何" })
  end)

  it("narrows what is as wide as a Chinese character", function()
    is("width", "ABC abc 123,!?()", { "ＡＢＣ　ａｂｃ　１２３，！？（）" })
    is("width", "天气如何?", { "天气如何？" })
    is("width", "。「」￥", { "。「」￥" }) -- no letters of ASCII
  end)

  it("makes one blank of many", function()
    is("spaces", "a b c", { "a b c", "  a\t\tb \r\n c ", "a\194\160b\226\128\131c",
      "\239\187\191a\226\128\139 b　c" })
    is("spaces", "", { "", "  ", "　" })
    is("spaces", "天气 如何", { "天气　如何" })
  end)

  it("drops marks at the end, and none within", function()
    is("marks", "How are you", { "How are you", "How are you?", "How are you ?!", "How are you...",
      "How are you?  ", "¿How are you?", "¡ How are you!" })
    is("marks", "天气如何", { "天气如何？", "天气如何。", "天气如何……", "天气如何！！", "天气如何，" })
    is("marks", "كيف حالك", { "كيف حالك؟" })
    is("marks", "a,b", { "a,b", "a,b;" })
    is("marks", "1.5", { "1.5", "1.5." })
    is("marks", "what is 5!", { "what is 5!", "what is 5!?" })
    is("marks", "what is -5 + C++", { "what is -5 + C++?" })
    for _, text in ipairs { "", "?", "...", "。。", " ?", "!" } do
      assert.equal(text, fold.marks(text))
    end
  end)

  it("does all of it", function()
    is("text", "hello, world", { "　ＨＥＬＬＯ， World ！", "hello, world", "Hello,  WORLD?" })
  end)

  it("changes nothing that it has changed already, whatever the bytes", function()
    local r = random.new(7)
    local pieces = { "A", "é", "É", " ", "　", "？", "?", "!", "5", "天", "\255", "\194", "\227\128",
      "\240\159\152\128", "Ａ", "。", "\0", "\n", "¿", "Ÿ", "\226\128", "Ω", "ς" }
    for _ = 1, 2000 do
      local parts = {}
      for i = 1, r:int(13) - 1 do parts[i] = r:pick(pieces) end
      local text = table.concat(parts)
      for _, name in ipairs { "case", "width", "spaces", "marks", "text" } do
        local once = fold[name](text)
        assert.equal("string", type(once))
        if name ~= "text" then assert.equal(once, fold[name](once)) end
      end
    end
  end)

  it("is not slow on long texts of one kind", function()
    for _, piece in ipairs { " ", "?", "a", "　", "\255", "a ", "¿", "！" } do
      local text = piece:rep(200000)
      assert.equal("string", type(fold.text(text)))
    end
  end)

  it("folds what a user says, and nothing else", function()
    local request = { model = "M", temperature = 0, messages = json.array {
      { role = "system", content = "Be SHORT." },
      { role = "user", content = "How ARE you?" },
      { role = "assistant", content = "Fine!" },
      { role = "user", name = "Ann", content = json.array {
        { type = "text", text = "What's THIS?" },
        { type = "image_url", image_url = { url = "X?" } },
        { type = "file", file = { file_id = "F?" } } } },
      { role = "tool", content = "Sunny." },
      "no message" } }
    local before = assert(json.encode(request))
    local out = fold.question(request)
    assert.equal(before, json.encode(request))
    assert.same({ "M", 0, "Be SHORT.", "how are you", "Fine!", "Sunny.", "no message" },
      { out.model, out.temperature, out.messages[1].content, out.messages[2].content,
        out.messages[3].content, out.messages[5].content, out.messages[6] })
    local parts = out.messages[4].content
    assert.same({ "what's this", "X?", "F?", "Ann" }, { parts[1].text, parts[2].image_url.url,
      parts[3].file.file_id, out.messages[4].name })
    assert.is_true(json.is_array(out.messages) and json.is_array(parts))
    assert.equal("once upon", fold.question({ prompt = "Once upon…" }).prompt)
    assert.equal("Hello?", fold.question({ input = "Hello?" }).input)
    assert.same({ messages = 5 }, fold.question { messages = 5 })
  end)
end)
