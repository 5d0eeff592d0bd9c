-- Of a call's end the series were found by where the answer came from or else by the failure's
-- code; and "upstream" is a word of both. Whichever came first at a target had the others counted
-- as itself: after one good answer a server's faults (500, nonsense) were answers of the upstream,
-- and after one fault all good answers were failures, until the process ended.
local world = require "spec.support.world"

local fault = { status = 500, body = '{"error":{"message":"it broke"}}',
  headers = { ["content-type"] = "application/json" } }

local function counted(client)
  local calls, durations = {}, {}
  for source, code, n in client:metrics()
    :gmatch 'unbusy_calls_total{kind="%a+",source="(%a*)",code="(%a*)"} (%d+)' do
    calls[#calls + 1] = ("%s %s %s"):format(source, code == "" and "-" or code, n)
  end
  for source, n in client:metrics()
    :gmatch 'unbusy_call_duration_seconds_count{source="(%a+)"} (%d+)' do
    if n ~= "0" then durations[source] = tonumber(n) end
  end
  table.sort(calls)
  return { calls = calls, durations = durations }
end

-- What was counted where these came, one call after the other.
local function after(script, call)
  local w = world.new { script = { a = script }, options = { metrics = true, retry = false } }
  for _ = 1, #script do call(w) end
  local told = counted(w.client)
  w:assert_clean()
  return told
end

local function ask(w) w:chat() end

local function read(w)
  local stream = w:stream()
  if stream then stream:reply() end
end

describe("a failure by the code upstream", function()
  local expected = { calls = { "none upstream 2", "upstream - 1" },
    durations = { none = 2, upstream = 1 } }

  it("is no answer of the upstream, where there was one before", function()
    assert.same(expected, after({ world.good "x", fault, fault }, ask))
    assert.same(expected, after({ world.words { "x" }, fault, fault }, read))
  end)

  it("does not make failures of the answers that come after it", function()
    assert.same(expected, after({ fault, world.good "x", fault }, ask))
    assert.same(expected, after({ fault, world.words { "x" }, fault }, read))
  end)
end)
