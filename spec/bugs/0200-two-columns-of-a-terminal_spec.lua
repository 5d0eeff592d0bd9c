-- Chinese characters take two columns of a terminal, and `unbusy top` counted one for each: lines
-- with such names or questions were twice as long as the terminal is wide, broke, and pushed the
-- first lines out at the top; and columns did not stand below each other.
local drawing = require "unbusy.cli.drawing"

-- Columns, by another way: of the characters that are used here.
local function width(line)
  local wide = select(2, line:gsub("[\227-\239][\128-\191][\128-\191]", ""))
  local faces = select(2, line:gsub("\240[\128-\191][\128-\191][\128-\191]", ""))
  return select(2, line:gsub("[^\128-\191]", "")) + wide + faces
end

local told = { version = "1", targets = { { name = "自有服务", state = "closed" },
  { name = "cloud", state = "open" } }, top = { asked = 3, used = 1 },
  questions = { { hash = "80a5805f98aeac62", count = 3, error = 0, model = "模型",
    question = ("今天的天气如何🙂"):rep(20) } } }

describe("lines with Chinese in them", function()
  it("are no wider than the terminal", function()
    for _, columns in ipairs { 20, 59, 60, 100 } do
      for _, line in ipairs(drawing.lines(told, columns)) do
        assert.is_true(width(line) <= columns, line)
      end
    end
    local last = drawing.questions(told, 100)[3]
    assert.is_true(width(last) >= 99)
  end)

  it("stand below each other", function()
    local lines = drawing.lines(told, 200)
    local at = {}
    for i = 3, 5 do
      local before = lines[i]:match "^(.-)state" or lines[i]:match "^(.-)closed"
        or lines[i]:match "^(.-)open"
      at[#at + 1] = width(before)
    end
    assert.same({ 10, 10, 10 }, at)
  end)

  it("may have accents, which are narrow, and what is no character", function()
    assert.equal("é…€", drawing.line("é…€", 3))
    assert.equal("é~", drawing.line("é…€x", 2))
    assert.equal("天~", drawing.line("天气", 3))
    assert.equal("~", drawing.line("天气", 1))
  end)
end)
