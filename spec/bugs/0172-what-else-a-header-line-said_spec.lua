-- A header line of a trace with `calls` and `trace` in one object, or with a word beside one of
-- them, was taken for the first of them: the seed was another than the one that stood there. And a
-- share of streams among embeddings, of which there are none, failed as so many wrong requests,
-- which stood in the report as if the outage had done it.
local simulate = require "unbusy.simulate"
local trace = require "unbusy.simulate.trace"

local ROWS = '#: {"target":"a"}\ntime,target,arrival,status,latency\n0,a,1,,\n'

describe("the header of a trace", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function read(header)
    local f = assert(io.open(path, "wb"))
    f:write("#: ", header, "\n", ROWS)
    f:close()
    local made, message = trace.read(path)
    return made, message and message:sub(#path + 1)
  end

  it("says one thing in a line", function()
    for header, what in pairs {
      ['{"calls":{"deadline":5},"trace":{"seed":7}}'] = "calls", ['{"trace":{},"x":1}'] = "trace",
      ['{"x":null,"calls":{}}'] = "calls",
    } do
      local _, message = read(header)
      assert.equal((":1: %s: nothing else expected in its line"):format(what), message)
    end
    assert.equal(7, read '{"trace":{"seed":7}}'.seed)
  end)

  it("has no streams of embeddings", function()
    local said = "calls.stream: there are no streams of embeddings"
    local _, message = read '{"calls":{"kind":"embed","stream":0.5}}'
    assert.equal(": " .. said, message)
    local made = assert(read '{"calls":{"kind":"embed"}}')
    assert.equal(said, select(2, simulate.compare(made, { { name = "none" } }, { stream = 0.1 })))
    assert.is_truthy(simulate.compare(made, { { name = "none" } }, { stream = 0 }))
  end)
end)
