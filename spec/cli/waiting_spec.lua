local json = require "unbusy.json"
local terminal = require "unbusy.cli.terminal"
local waiting = require "unbusy.cli.waiting"

describe("the line of what is waited for", function()
  local line, now, written

  before_each(function()
    now, written = 100, ""
    line = waiting.new { what = "the first word", columns = 80, now = function() return now end,
      write = function(text) written = written .. text end }
  end)

  local function try(number)
    line:event { type = "try", target = "a", number = number, at = now }
  end

  it("says nothing before anything has happened", function()
    assert.is_nil(line:line())
    line:draw()
    line:clear()
    assert.equal("", written)
  end)

  it("counts the seconds of a try", function()
    try(1)
    assert.equal("a: waiting for the first word 0 s", line:line())
    now = 103.9
    assert.equal("a: waiting for the first word 3 s", line:line())
  end)

  it("says that the server has queued us", function()
    try(1)
    line:event { type = "keep_alive", target = "a", number = 1, seconds = 1 }
    assert.is_truthy(line:line():find("keep-alives: it has queued us", 1, true))
    try(2)
    assert.is_nil(line:line():find("keep-alives", 1, true))
  end)

  it("counts down to the next try, and says which one runs", function()
    try(1)
    line:event { type = "retry", target = "a", number = 2, attempts = 5, seconds = 4, code = "busy",
      at = now }
    assert.equal("a: try 1 of 5: busy, next in 4 s", line:line())
    now = 102.5
    assert.equal("a: try 1 of 5: busy, next in 2 s", line:line())
    now = 200
    assert.equal("a: try 1 of 5: busy, next now", line:line())
    try(2)
    assert.equal("a: try 2 of 5, waiting for the first word 0 s", line:line())
  end)

  it("says why a call is queued, and for how long", function()
    line:event { type = "queued", target = "a", code = "full", waiting = 1, at = now }
    now = 112
    assert.equal("queued 12 s: the limit of a is reached", line:line())
    line:event { type = "queued", target = "a", code = "open", retry_after = 5, at = now }
    assert.equal("queued 0 s: a rests for 5 s more", line:line())
    now = 120
    assert.equal("queued 8 s: a rests", line:line())
  end)

  it("says what the server does once it has begun", function()
    try(1)
    line:busy_with("a", "thinking")
    now = 104
    line:busy_with("a", "thinking")
    assert.equal("a: thinking 4 s", line:line())
  end)

  it("passes over events that it does not know", function()
    try(1)
    line:event { type = "state", target = "a", from = "closed", to = "open", at = now }
    assert.equal("a: waiting for the first word 0 s", line:line())
  end)

  it("is written over in place, only when it has changed, and erased for good", function()
    try(1)
    line:draw()
    line:draw()
    assert.equal("\r\27[Ka: waiting for the first word 0 s", written)
    written = ""
    line:clear()
    line:clear()
    assert.equal("\r\27[K", written)
    line:draw()
    line:stop()
    written = ""
    line:draw()
    assert.equal("", written)
  end)

  it("never fills the terminal's last column, nor tears a character", function()
    for columns = 2, 40 do
      line.columns, line.shown, written = columns, nil, ""
      line:event { type = "try", target = "深度求索", number = 1, at = now }
      line:draw()
      local text = written:gsub("^\r\27%[K", "")
      assert.is_true(#text < columns)
      assert.is_truthy(json.is_utf8(text))
    end
  end)
end)

describe("terminal.clean", function()
  it("takes out what a terminal would obey and leaves the text", function()
    assert.equal("a[31mb\tc\nd", terminal.clean "a\27[31mb\tc\r\nd\7\0\127")
    assert.equal("x31my", terminal.clean "x\194\15531my")
    assert.equal("x31my", terminal.clean "x\194\194\155\15531my") -- one around another
    assert.equal("x31my", terminal.clean "x\194\7\15531my")
    assert.equal("天气如何 é", terminal.clean "天气如何 é")
  end)
end)
