-- In a trace out of a log each call is load, those too that the cache answered, or that joined
-- another: and no two of its questions are alike. Of a gateway that asks one call in ten a
-- simulation asked all ten, and showed an outage that never was; nothing in the trace said so.
local access_log = require "unbusy.simulate.access_log"

local function trace_of(lines)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  for i, line in ipairs(lines) do
    file:write(('{"time":"2026-01-31T12:00:%02d+00:00","kind":"chat",%s}\n'):format(i, line))
  end
  file:close()
  local made = assert(access_log.read(path, {}))
  os.remove(path)
  return made
end

local ASKED = '"target":"a","source":"upstream","tries":1,"seconds":0.5'
local KEPT = '"source":"cache","seconds":0'
local JOINED = '"target":"a","source":"coalesced","tries":1,"seconds":0.5'

describe("a trace of what was known already", function()
  it("says of how many calls that was so, and what to do about it", function()
    local made = trace_of { ASKED, KEPT, KEPT, JOINED, ASKED }
    assert.same({ "5 calls of a gateway's log",
      "3 of them the cache answered, or another call: played, they are asked, unless the client "
        .. "has a cache and a header line says how many questions there are: "
        .. '{"calls":{"questions":N}}'
      }, made.remarks)
  end)

  it("says nothing where all were asked", function()
    assert.same({ "2 calls of a gateway's log" }, trace_of({ ASKED, ASKED }).remarks)
  end)
end)
