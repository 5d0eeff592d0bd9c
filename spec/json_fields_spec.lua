local json_fields = require "unbusy.json_fields"

local find, splice = json_fields.find, json_fields.splice

describe("json_fields.find", function()
  it("says where a member lies", function()
    local text = '{ "model" : "m" ,  "stream":true }'
    local fields, last, members = find(text, { "model", "stream", "other" })
    assert.equal(2, members)
    assert.equal("e", text:sub(last, last))
    local m, s = fields.model, fields.stream
    assert.equal('"m"', text:sub(m.first, m.last))
    assert.equal('"model" : "m"', text:sub(m.name, m.last))
    assert.equal("{", text:sub(m.before, m.before))
    assert.equal(s.name, m.next)
    assert.equal(m.last, s.before)
    assert.equal("true", text:sub(s.first, s.last))
    assert.equal("}", text:sub(s.next, s.next))
    assert.is_nil(fields.other)
    assert.same({ 1, 1 }, { m.times, s.times })
  end)

  it("looks on the first level only, and not into strings", function()
    local fields = find([[{"a":{"model":1},"b":[{"model":2}],"c":"\"model\":3,","d":"}{"}]],
      { "model" })
    assert.same({}, fields)
  end)

  it("knows a name however it is written", function()
    for _, name in ipairs { "model", "mod\\u0065l", "\\u006D\\u006fdel",
      "\\u006d\\u006f\\u0064el" } do
      assert.equal(1, find(('{"%s":1}'):format(name), { "model" }).model.times, name)
    end
    for _, name in ipairs { "mode", "models", "Model", "mod\\u0065", "mod\\u0065ls", "",
      "\\u0000" } do
      assert.is_nil(find(('{"%s":1}'):format(name), { "model" }).model, name)
    end
    local odd = 'a"\\/\b\f\n\r\t系é😀'
    assert.is_truthy(find([[{"a\"\\\/\b\f\n\r\t\u7cfb\u00E9\ud83d\ude00":1}]], { odd })[odd])
    assert.is_truthy(find('{"":1}', { "" })[""])
  end)

  it("counts a name that comes twice, and gives the last", function()
    local text = '{"a":1,"b":2,"\\u0061":3}'
    local a = find(text, { "a" }).a
    assert.equal(2, a.times)
    assert.equal("3", text:sub(a.first, a.last))
  end)

  it("reads every kind of value", function()
    local values = { '""', '"x"', "0", "-0", "1.0", "-1.5e+10", "1E-2",
      "123456789012345678901234567890",
      "true", "false", "null", "[]", "[ ]", "{}", "{ }", "[1,[2,{}],{\"a\":[]}]",
      '{"a":{"b":[1 , 2]}}',
      '"\\u4e2d\\"\\\\"', '"系统繁忙 😀"', '"' .. ("x"):rep(1000) .. '"' }
    for _, value in ipairs(values) do
      for _, blank in ipairs { "", " ", "\n\t\r " } do
        local text = ("%s{%s\"x\"%s:%s%s%s}%s"):format(blank, blank, blank, blank, value, blank,
          blank)
        local x = assert(find(text, { "x" })).x
        assert.equal(value, text:sub(x.first, x.last))
      end
    end
  end)

  it("refuses what is no JSON object, to its last byte", function()
    local bad = { "", " ", "{", "}", "[]", "1", '"a"', "null", "{}}", "{} x", "{}\0", "\0{}", "{,}",
      '{"a"}', '{"a":}', '{"a":1,}', '{"a":1 "b":2}', '{"a":1,,"b":2}', "{a:1}", "{'a':1}", '{1:1}',
      '{"a":1]', '{"a":[1}', '{"a":[1,]}', '{"a":[,1]}', '{"a":[1 2]}', '{"a" 1}', '{"a"::1}',
      '{"a":tru}', '{"a":True}', '{"a":nul}', '{"a":nan}', '{"a":Infinity}', '{"a":undefined}',
      '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a":1.}', '{"a":-}', '{"a":1e}', '{"a":1e+}',
      '{"a":0x1}',
      '{"a":-.5}', '{"a":1.e5}', '{"a":00}', '{"a":1_0}', '{"a":1/**/}', '{"a":"}', '{"a":"\\"}',
      '{"a":"\\x"}', '{"a":"\\u12"}', '{"a":"\\u12g4"}', '{"a":"\\', '{"a":"\\u', '{"a":"\\u123',
      '{"a":"\\ud800"}', '{"a":"\\udc00"}', '{"a":"\\ud800\\u0041"}', '{"a":"\\ud800x"}',
      '{"a":"\n"}', '{"a":"\t"}', '{"a":"\0"}', '{"a":"\31"}', "{\"a\":'x'}", '{"a":1\f}',
      '{"a":1\194\160}',
      '\239\187\191{}', '{"a":"\\U0041"}', '{"a":"\\\0"}' }
    for _, text in ipairs(bad) do
      local fields, message, code = find(text, { "a" })
      assert.same({ nil, "json_fields: no JSON object", "invalid" }, { fields, message, code },
        text)
    end
  end)

  it("refuses a text that is cut anywhere", function()
    local text = '{"a":[1.5e3,{"b":"\\u4e2d 系"},true],"c":null}'
    for i = 0, #text - 1 do assert.is_nil(find(text:sub(1, i), {})) end
    assert.is_truthy(find(text, {}))
  end)

  it("refuses what is not UTF-8", function()
    for _, bytes in ipairs { "\128", "\191", "\192\128", "\193\191", "\194", "\194x",
      "\224\159\191",
      "\224\160", "\237\160\128", "\237\191\191", "\240\143\191\191", "\244\144\128\128",
      "\245\128\128\128", "\255", "\240\159\152", "\228\184", "\228\184\"" } do
      assert.is_nil(find('{"a":"' .. bytes .. '"}', {}))
      assert.is_nil(find('{"' .. bytes .. '":1}', {}))
    end
    for _, bytes in ipairs { "\194\128", "\223\191", "\224\160\128", "\237\159\191", "\238\128\128",
      "\239\191\191", "\240\144\128\128", "\244\143\191\191", "\127" } do
      assert.is_truthy(find('{"a":"' .. bytes .. '"}', {}))
    end
  end)

  it("goes 128 levels deep", function()
    for _, pair in ipairs { { "[", "]" }, { '{"a":', "}" } } do
      local function nested(n)
        local inner = pair[1] == "[" and "" or "1"
        return '{"x":' .. pair[1]:rep(n) .. inner .. pair[2]:rep(n) .. "}"
      end
      assert.is_truthy(find(nested(127), {}))
      assert.is_nil(find(nested(128), {}))
      assert.is_nil(find(nested(1e5), {}))
    end
    assert.is_nil(find('{"x":' .. ("["):rep(128) .. ("]"):rep(128) .. "}", {}))
    assert.is_nil(find(("["):rep(1e6), {}))
  end)

  it("finds a string's end wherever it lies among eight bytes", function()
    for n = 0, 40 do
      for _, special in ipairs { "", '\\"', "\\\\", "é", "\\n" } do
        local value = '"' .. ("x"):rep(n) .. special .. '"'
        local text = '{"a":' .. value .. ',"b":1}'
        local a = assert(find(text, { "a" })).a
        assert.equal(value, text:sub(a.first, a.last))
        assert.is_nil(find('{"a":"' .. ("x"):rep(n) .. "\31" .. special .. '"}', {}))
      end
    end
  end)

  it("raises for wrong use", function()
    assert.has_error(function() find(nil, {}) end)
    assert.has_error(function() find({}, {}) end)
    assert.has_error(function() find("{}", nil) end)
    assert.has_error(function() find("{}", { 1 }) end)
    local many = {}
    for i = 1, 33 do many[i] = "n" .. i end
    assert.has_error(function() find("{}", many) end)
  end)
end)

describe("json_fields.splice", function()
  it("changes nothing but what it is told", function()
    local text = ' {"n": 1.0, "big":12345678901234567890,\n"model" : "a", "s":"\\u4e2d\\/"} '
    assert.equal(text, splice(text, {}))
    assert.equal(' {"n": 1.0, "big":12345678901234567890,\n"model" : "b", "s":"\\u4e2d\\/"} ',
      splice(text, { model = '"b"' }))
    assert.equal(' {"n": [], "big":12345678901234567890,\n"model" : "b", "s":1} ',
      splice(text, { s = "1", model = '"b"', n = "[]" }))
  end)

  it("adds behind the last member", function()
    assert.equal('{"a":1,"b":2,"c":3}', splice('{"a":1}', { b = "2", c = "3" }))
    assert.equal('{"a":1,"b":2 }\n', splice('{"a":1 }\n', { b = "2" }))
    assert.equal('{"b":2}', splice("{}", { b = "2" }))
    assert.equal('{"b":2 }', splice("{ }", { b = "2" }))
    assert.equal('{"a\\"b":2}', splice("{}", { ['a"b'] = "2" }))
  end)

  it("takes away, with one comma", function()
    local text = '{"a":1, "b":2 ,"c":3}'
    assert.equal('{"b":2 ,"c":3}', splice(text, { a = false }))
    assert.equal('{"a":1, "c":3}', splice(text, { b = false }))
    assert.equal('{"a":1, "b":2}', splice(text, { c = false }))
    assert.equal('{"c":3}', splice(text, { a = false, b = false }))
    assert.equal('{"a":1}', splice(text, { b = false, c = false }))
    assert.equal('{"b":2}', splice(text, { a = false, c = false }))
    assert.equal('{}', splice(text, { a = false, b = false, c = false }))
    assert.equal("{ }", splice('{ "a":1 }', { a = false }))
    assert.equal(text, splice(text, { d = false }))
  end)

  it("does all of it at once", function()
    assert.equal('{"x":{"stream":true},"model":"new","added":[1]}',
      splice('{"stream":true,"x":{"stream":true},"model":"m","stream_options":{}}',
        { stream = false, stream_options = false, model = '"new"', added = "[1]" }))
  end)

  it("changes nothing where a name comes twice, or where it is no JSON", function()
    assert.same({ nil, "json_fields: a name that comes twice", "invalid" },
      { splice('{"a":1,"a":2}', { a = "3" }) })
    assert.equal("invalid", select(3, splice('{"a":1,"\\u0061":2}', { a = false })))
    assert.equal("invalid", select(3, splice('{"a":1,"a":2}', {}, { "a" })))
    assert.equal('{"a":1,"a":2}', splice('{"a":1,"a":2}', {}, { "b" }))
    assert.equal("invalid", select(3, splice("{", { a = "3" })))
    local many = {}
    for i = 1, 33 do many["n" .. i] = "1" end
    assert.equal("json_fields: more than 32 names", select(2, splice("{}", many)))
  end)
end)

describe("a name in an object's text", function()
  local once = require("unbusy.json_fields").once

  it("comes once, or not at all", function()
    for _, text in ipairs { "{}", ' {"a":1} ', '{"b":{"a":1,"a":2},"a":[{"a":3}]}',
      '{"c":1,"c":2}' } do
      assert.is_true(once(text, { "a", "b" }), text)
    end
    assert.is_true(once('{"a":1,"a":2}', {}))
  end)

  it("comes twice, however it is written", function()
    for _, text in ipairs { '{"a":1,"a":2}', '{"b":0,"a":1,"\\u0061":2}', '{"b":1,"b":2,"b":3}' } do
      assert.is_false(once(text, { "a", "b" }), text)
    end
  end)

  it("is asked of JSON objects", function()
    for _, text in ipairs { "", "{", "[]", '{"a":1}x', '{"a":01}', '{"a":"\255"}', "1" } do
      assert.is_nil(once(text, { "a" }), text)
    end
  end)
end)

describe("json_fields.members", function()
  it("counts those of all objects, however deep", function()
    for text, count in pairs { ["{}"] = 0, ['{"a":1}'] = 1, [' { "a" : 1 , "a" : 2 } '] = 2,
      ['{"a":{"b":{"c":[]}},"d":[{"e":1},{"f":{}},[{"g":null}]]}'] = 7,
      ['{"a":":","\\":\\":":[1,2,":"]}'] = 2, ['{"":{"":""}}'] = 2,
      ['{"a":[[],{},[{}]]}'] = 1 } do
      assert.equal(count, json_fields.members(text), text)
    end
  end)

  it("says nothing of what is no object", function()
    for _, text in ipairs { "", "[]", "1", "null", '"a"', "{", '{"a"}', '{"a":1,}', '{"a":1} x',
      '{"a":"\255"}', '{"a":' .. ("["):rep(200) .. ("]"):rep(200) .. "}" } do
      assert.is_nil(json_fields.members(text))
    end
  end)
end)
