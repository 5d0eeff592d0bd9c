-- Some programmes write an empty list over several lines ("[\n\n]", as Ruby's pretty JSON did), or
-- with other blanks in it. Where a text had neither "[]" nor "[ ]" besides, it was read as an empty
-- object, and a request that had to be written anew asked for `"tools": {}`, which is refused.
local json = require "unbusy.json"
local world = require "spec.support.world"

describe("an empty list with blanks in it", function()
  it("stays a list", function()
    for _, blanks in ipairs { "", " ", "  ", "\n", "\n\n", "\r\n", "\t", " \n\t\r " } do
      local list = "[" .. blanks .. "]"
      for text, expected in pairs { [list] = "[]", [" " .. list .. "\n"] = "[]",
        ['{"a":' .. list .. "}"] = '{"a":[]}', ["[1," .. list .. "]"] = "[1,[]]",
        ["[" .. list .. ",[]]"] = "[[],[]]", ["[[ ],[]," .. list .. "]"] = "[[],[],[]]" } do
        assert.equal(expected, json.encode(json.decode(text)), text)
      end
    end
    local tick = '["- [ ] a","b[ ]","[\\n]","[\\t"]'
    assert.same({ "- [ ] a", "b[ ]", "[\n]", "[\t" }, json.decode(tick))
  end)

  it("is nothing else that is no JSON", function()
    for _, text in ipairs { "[\f]", "[\v]", "[\f],[]", "[[\f],[]]", "[ ", "[\n", "[\n]]",
      '["[\n]"x]', "[\194\160]" } do
      assert.is_nil((json.decode(text)), text)
    end
  end)

  it("goes to the server as one, where the request is written anew", function()
    local raw = '{"messages":[{"role":"user","content":"x"}],"model":"m","model":"m",'
      .. '"tools":[\n\n  ]}'
    local w = world.new { script = { a = { world.good "x" } } }
    assert(w.client:chat(json.decode(raw), { raw = raw }))
    assert.matches('"tools":[]', w.log[1].request.body, 1, true)
  end)
end)
