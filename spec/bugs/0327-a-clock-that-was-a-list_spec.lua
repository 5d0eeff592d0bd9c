-- The types of options that editors are told are made from the schemas, and a few fields have a
-- better type by their name. So `clocks.headers`, which are seconds, was to be a list of header
-- lines, and `metrics.models`, which is a number, a table of names: an editor underlined what was
-- right, and proposed what `unbusy.new` refuses.
local config = require "unbusy.config"
local option_types = require "tools.option_types"

local files = option_types.files()

-- The type of a class's field, as the file says it.
local function type_in(path, class, field)
  local text = files["lua/unbusy/" .. path] .. "\n---@class"
  local body = text:match("\n%-%-%-@class " .. class:gsub("%.", "%%.") .. "\n(.-)\n%-%-%-@class")
  return body and ("\n" .. body):match("\n%-%-%-@field " .. field .. "%?? ([^\n]+)")
end

local expected = { number = "number", whole = "integer" }

describe("what an editor is told of an option that is a number", function()
  for path, class in pairs { ["options_client.meta.lua"] = "unbusy.options",
    ["options_calls.meta.lua"] = "unbusy.options.call" } do
    it("is a number, in " .. class, function()
      local schema, count = path:find "calls" and config.call or config.client, 0
      for option, given in pairs(schema) do
        for name, field in pairs(given.fields or {}) do
          local told = expected[field.type] and type_in(path, class .. "." .. option, name)
          if told then
            assert.equal(expected[field.type], told, option .. "." .. name)
            count = count + 1
          end
        end
      end
      assert.is_true(count >= 6, count)
    end)
  end

  it("is a list of lines where it is one of headers", function()
    assert.equal("table<string, string|string[]>|string[]",
      type_in("options_calls.meta.lua", "unbusy.options.call", "headers"))
    assert.equal("table<string, string>",
      type_in("options_targets.meta.lua", "unbusy.options.target", "models"))
  end)
end)
