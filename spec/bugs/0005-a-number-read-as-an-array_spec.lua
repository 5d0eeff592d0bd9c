-- Found by spec/fuzz/json_fuzz.lua. To tell [] from {}, each [] is replaced by a value that nobody
-- sends before reading. Both values stood in the source, so anybody could send them: the number,
-- with as many "[]" inside strings, was read as an array, and those strings as numbers.
local json = require "unbusy.json"

describe("what marks an empty array", function()
  it("is no number that a text can hold on purpose", function()
    local value = json.decode '{"a":-8.76543211234e-301,"b":"[]"}'
    assert.equal(-8.76543211234e-301, value.a)
    assert.equal("[]", value.b)
  end)

  it("is no string that a text can hold on purpose", function()
    local value = json.decode '{"a":"unbusy: an empty array","b":"[]","c":[]}'
    assert.equal("unbusy: an empty array", value.a)
    assert.equal("[]", value.b)
    assert.is_true(json.is_array(value.c))
  end)
end)
