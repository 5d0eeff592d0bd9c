-- The seam alone: at every byte of texts with blanks, repetition and characters of many bytes, and
-- however the continuation comes in pieces, both halves are the whole text.
local random = require "spec.support.random"
local seam = require "unbusy.resume.seam"

local TEXTS = {
  "ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha!",
  "def f():\n    if x:\n\n\n        return  'a  b'\n\t\n# end\n  ",
  "哈哈哈哈,“好”。\227\128\128  \194\160 再见 😀😀 é\n\n\n天",
  "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\n"
    .. "Life is but a dream.\nRow, row, row your boat,\nGently down the stream.\n",
  " \n leading, and trailing \n ",
  ("0123456789"):rep(30),
}

-- The text in pieces of random lengths.
local function pieces_of(text, r)
  local out, at = {}, 1
  while at <= #text do
    local n = r:int(9)
    out[#out + 1], at = text:sub(at, at + n - 1), at + n
  end
  return out
end

local function join(s, pieces)
  local out = {}
  for _, piece in ipairs(pieces) do
    local text, why = s:feed(piece)
    if not text then return nil, why end
    out[#out + 1] = text
  end
  local text, why = s:finish()
  if not text then return nil, why end
  return table.concat(out) .. text
end

describe("a seam", function()
  local r = random.new(20261129)

  local function each_cut(f)
    for _, text in ipairs(TEXTS) do
      for at = 1, #text do f(text, text:sub(1, at)) end
    end
  end

  it("joins what goes on at the last byte that was sent", function()
    each_cut(function(text, said)
      local kept, withheld = seam.trim(said)
      assert.equal(said, kept .. withheld)
      local rest = join(seam.new(said, {}), pieces_of(text:sub(#kept + 1), r))
      assert.equal(text, said .. rest)
    end)
  end)

  it("sends no blank at the end, and no half of a character", function()
    each_cut(function(_, said)
      local kept = seam.trim(said)
      assert.is_nil(kept:find "%s$")
      assert.is_nil(kept:find "\227\128\128$")
      assert.is_truthy(kept == "" or require("unbusy.json").is_utf8(kept))
    end)
  end)

  it("takes the anchor away where it was asked for", function()
    each_cut(function(text, said)
      local kept = seam.trim(said)
      if kept == "" then return end
      local anchor = seam.anchor(kept)
      assert.equal(anchor, kept:sub(-#anchor))
      for _, lead in ipairs { "", "\n", "… ", "...\n\n" } do
        local rest = join(seam.new(said, { anchored = true }),
          pieces_of(lead .. anchor .. text:sub(#kept + 1), r))
        assert.equal(text, said .. tostring(rest))
      end
    end)
  end)

  it("takes more than the anchor away where more is repeated, and nobody can mistake it", function()
    local text = TEXTS[4] .. "And the rest of it, which is new."
    for at = 120, #text do
      local said = text:sub(1, at)
      local kept = seam.trim(said)
      local anchor, unique = seam.anchor(kept)
      assert.is_true(unique)
      for more = #anchor, #kept, 7 do
        local rest = join(seam.new(said, { anchored = true }),
          pieces_of(kept:sub(-more) .. text:sub(#kept + 1), r))
        assert.equal(text, said .. tostring(rest))
      end
    end
  end)

  it("is refused where the anchor does not come", function()
    local said = "The quick brown fox jumps over the lazy dog, and then it"
    for _, other in ipairs { "Sure! Here is the rest: " .. said, " sleeps.", "", "\n", "...",
      "and then it sleeps", said:sub(1, -2), said:sub(2, 20) .. "x", ("…"):rep(9), "it" } do
      local rest, why = join(seam.new(said, { anchored = true }), pieces_of(other, r))
      assert.is_nil(rest, other)
      assert.equal("the continuation does not take up the last words", why)
    end
  end)

  it("is refused at once, not when all has come", function()
    local s = seam.new("The quick brown fox jumps over the lazy dog, and then it",
      { anchored = true })
    assert.is_nil((s:feed "Sure, here "))
  end)

  it("keeps real repetition", function()
    local s = seam.new(("ha "):rep(40), { anchored = true })
    assert.is_false(s.unique)
    local rest = join(s, { s.anchor, " ha ha ha", " ha!" })
    assert.equal("ha ha ha ha!", rest) -- the blank was said
    s = seam.new("one two one two", {})
    assert.equal(" one two", join(s, { " one", " two" }))
  end)

  it("keeps what differs of the blanks", function()
    assert.equal("\n- b", join(seam.new("a\n", {}), { "\n\n- b" }))
    assert.equal("b", join(seam.new("a \n", {}), { " \nb" }))
    assert.equal("b", join(seam.new("a ", {}), { "b" }))
    assert.equal("\tb", join(seam.new("a\n ", {}), { "\n", "\tb" }))
    assert.equal("", join(seam.new("a\n ", {}), { "\n" }))
    assert.equal("", join(seam.new("a\n ", {}), {}))
  end)

  it("is refused where a torn character becomes another one", function()
    assert.equal("\189\160!", join(seam.new("a \228", {}), { " \228\189\160!" }))
    for _, other in ipairs { " \229\165\189", "x", "", " " } do
      local rest, why = join(seam.new("a \228\189", {}), { other })
      assert.is_nil(rest)
      assert.equal("the continuation begins with another character", why)
    end
  end)

  it("ends the answer at a stop sequence that spans it, and at no other", function()
    local function stopped(said, stop, pieces)
      local s = seam.new(said, { stop = stop })
      local rest = join(s, pieces)
      return s.stopped, rest
    end
    assert.same({ true, "" }, { stopped("a E", "END", { "N", "D", " b" }) })
    assert.same({ true, "" }, { stopped("a EN", { "x", "END" }, { "D b" }) })
    assert.same({ false, "x b" }, { stopped("a EN", "END", { "x b" }) })
    assert.same({ false, "NX" }, { stopped("a E", "END", { "N", "X" }) })
    assert.same({ false, "N" }, { stopped("a E", "END", { "N" }) })
    assert.same({ false, "b END" }, { stopped("a ", "END", { "b END" }) }) -- the server's business
    assert.same({ true, "" }, { stopped("a\n", "\n\n", { "\n\nb" }) })
    assert.same({ true, "" }, { stopped("aaa", "aaaa", { "aa" }) })
    for _, stop in ipairs { "", {}, { 1 }, false } do
      assert.is_false(stopped("a", stop, { "b" }))
    end
  end)

  it("costs no more for much than for little", function()
    local said = ("word "):rep(200000)
    local s = seam.new(said, { anchored = true })
    assert.is_nil((s:feed(("x"):rep(1000000))))
    s = seam.new((" "):rep(100000), {})
    for _ = 1, 100 do assert.equal("", s:feed((" "):rep(1000))) end
    assert.equal("b", s:feed "b")
  end)
end)
