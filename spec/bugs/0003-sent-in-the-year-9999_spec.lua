-- Found by spec/fuzz/waits_fuzz.lua. A Retry-After date counts from the reply's own Date, and that
-- was handed on as "now" unchecked. One after the year 5138 or before 1970 is out of the range of
-- "now", so that such a header of a server raised in the client.
local retry_after = require "unbusy.retry_after"

describe("a reply's date", function()
  local given = { now = 784111777 } -- Sun, 06 Nov 1994 08:49:37 GMT

  local function wait(date)
    return retry_after.parse({ date = date, ["retry-after"] = "Sun, 06 Nov 1994 08:50:37 GMT" },
      given)
  end

  it("is what a wait counts from", function()
    assert.equal(30, (wait "Sun, 06 Nov 1994 08:50:07 GMT"))
  end)

  it("is passed over when it is far from all that can be now", function()
    for _, date in ipairs { "Fri, 31 Dec 9999 23:59:60 GMT", "Mon, 01 Jan 0001 00:00:00 GMT",
      "Wed, 31 Dec 1969 23:59:59 GMT" } do
      assert.equal(60, (wait(date)))
    end
  end)
end)
