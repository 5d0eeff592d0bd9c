-- An answer with fewer embeddings than there were texts, or with an error in the place of one, was
-- kept as a good one: for all of its time everybody who asked the same was given that part.
local json = require "unbusy.json"
local world = require "spec.support.world"

local function vectors(n, more)
  local data = {}
  for i = 1, n do data[i] = { object = "embedding", index = i - 1, embedding = { i, 0.5 } } end
  for i, item in pairs(more or {}) do data[i] = item end
  return { status = 200, body = json.encode { object = "list", model = "m", data = data,
    usage = { prompt_tokens = 2, total_tokens = 2 } } }
end

describe("embeddings that are not those of all texts", function()
  local function sources(input, first, second)
    local w = world.new { script = { a = { first, second or first } }, options = { cache = true } }
    local out = {}
    for i = 1, 3 do out[i] = assert(w.client:embed { model = "m", input = input }).source end
    w:assert_clean()
    return table.concat(out, " ")
  end

  it("are not kept", function()
    local two = { "a", "b" }
    local whole = vectors(2)
    for name, part in pairs {
      fewer = vectors(1),
      ["an error"] = vectors(2, { [2] = { index = 1, error = { message = "too long" } } }),
      ["no vector"] = vectors(2, { [2] = { index = 1 } }),
      null = vectors(2, { [2] = { index = 1, embedding = json.null } }),
      ["no object"] = vectors(2, { [2] = "b" }),
      empty = vectors(2, { [1] = { index = 0, embedding = json.array {} } }),
    } do
      assert.equal("upstream upstream cache", sources(two, part, whole), name)
    end
    assert.equal("upstream upstream cache", sources({ { 5, 6 }, { 7 } }, vectors(1), vectors(2)))
  end)

  it("are told from whole ones of every form", function()
    local base64 = vectors(2)
    base64.body = base64.body:gsub("%[%d,0%.5%]", '"AACAPw=="')
    for _, case in ipairs { { "a", vectors(1) }, { { "a", "b" }, vectors(2) },
      { { 5, 6, 7 }, vectors(1) }, { { { 5, 6 }, { 7 } }, vectors(2) },
      { { "a", "b" }, base64 },
      { "a", vectors(0, { { index = 0, embeddings = { { 1 }, { 2 } } } }) } } do
      assert.equal("upstream cache cache", sources(case[1], case[2]))
    end
  end)
end)
