-- A reply's own `date` header is what its Retry-After date counts from. One before 1970 or after
-- the year 5138 is a valid date too, and was handed on as "now", which the reader of dates took for
-- a mistake of the caller: a server whose clock had gone wrong made `parse` raise, and with it the
-- call that had got the reply. Found by retry_after_model_spec.lua.
local retry_after = require "unbusy.retry_after"

describe("a reply dated in another age", function()
  local dates = { "Mon, 01 Jan 0001 00:00:00 GMT", "Sun, 06 Nov 1500 08:49:37 GMT",
    "Wed, 31 Dec 1969 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 GMT" }

  it("does not make the reader raise; what it asks for is read where it is within reach", function()
    for _, date in ipairs(dates) do
      assert.is_nil((retry_after.parse({ ["retry-after"] = "Sun, 06 Nov 2050 08:49:37 GMT",
        date = date:gsub("9999", "1969") }, { now = 1.7e9 })))
      assert.equal(0, (retry_after.parse({ ["retry-after"] = date, date = date })))
      assert.equal(20, (retry_after.parse({ ["retry-after"] = "20", date = date })))
    end
    assert.equal(30, (retry_after.parse { date = "Sun, 06 Nov 1500 08:49:30 GMT",
      ["retry-after"] = "Sun, 06 Nov 1500 08:50:00 GMT" }))
  end)

  it("leaves years of two digits their meaning", function()
    for _, date in ipairs(dates) do
      local seconds, from = retry_after.parse({ ["retry-after"] = "Sunday, 06-Nov-94 08:49:37 GMT",
        date = date }, { now = 1.7e9 })
      assert.is_true(seconds == nil or seconds == 0, tostring(seconds))
      assert.equal(seconds and "retry-after", from)
    end
  end)
end)
