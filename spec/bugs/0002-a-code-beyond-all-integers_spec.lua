-- Found by spec/fuzz/answers_fuzz.lua. An error's code may be a number, which was written by "%d".
-- On Lua 5.4 that raises for a float that fits no integer, and {"error":{"code":1e300}} of a server
-- became an error of the client.
local assembler = require "unbusy.providers.assembler"
local openai = require "unbusy.providers.openai"

describe("an error's code that is a number", function()
  local function code_of(number)
    local body = ('{"error":{"message":"m","code":%s,"type":%s}}'):format(number, number)
    local answer, message, code, detail = openai.read("chat", 400, {}, body)
    assert.is_nil(answer)
    assert.equal("invalid", code)
    return detail.provider_code, message
  end

  it("is told when it is whole and exact", function()
    assert.equal("1234", (code_of "1234"))
    assert.equal("-1", (code_of "-1.0"))
    assert.equal("9007199254740992", (code_of "9007199254740992"))
  end)

  it("is passed over otherwise", function()
    for _, number in ipairs { "1e300", "-1e300", "9223372036854775808", "1e19", "1.5", "1e999" } do
      local told, message = code_of(number)
      assert.is_nil(told)
      assert.equal("400 bad request: m", message)
    end
  end)

  it("is passed over in a stream, too", function()
    local _, message, code = assembler.new "chat":feed { data = '{"error":{"code":1e300}}' }
    assert.equal("stream: an error", message)
    assert.equal("upstream", code)
  end)
end)
