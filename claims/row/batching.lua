--- Row 2.2: many small requests become one POST /api/v1/batch.
local batching = require "bench.support.batching"
local servers = require "claims.servers"

local CALLS = { single = 256, batched = 2048 }
local SMALL, SHARE = 30, 0.1

local function turns(up, share, length, single)
  local o = { share = share, length = length }
  single = single or batching.turn(up, false, "endpoint", CALLS.single, o)
  return single, batching.turn(up, "endpoint", "endpoint", CALLS.batched, o)
end

local function row_of(label, single, batched)
  local function saved(what) return ("%.0f %%"):format(batching.saved(single, batched, what)) end
  return { label, ("%.0f"):format(single.rate), ("%.0f"):format(batched.rate),
    ("× %.1f"):format(batched.rate / single.rate), saved "requests", saved "bytes" }
end

local function head(first)
  return { first, "one by one, calls/s", "batched", "", "requests saved", "bytes saved" }
end

local function measure(sheet, up)
  local single, batched = turns(up, SHARE, SMALL)
  sheet:input("requests that the server serves at a time", batching.PLACES)
  sheet:input("seconds of one request", batching.LATENCY)
  sheet:input("of that, for each further item of a batch", SHARE)
  sheet:input("callers that have a question at any moment", batching.CALLERS)
  sheet:input("bytes of a question, and of its answer", ("%d, %d"):format(SMALL, SMALL + 6))
  sheet:figure { what = "calls a second, batched against one by one", claimed = "2.3 ×",
    value = batched.rate / single.rate, show = "%.1f ×", least = 2.3 }
  sheet:figure { what = "bytes on the wire saved", claimed = "67 %",
    value = batching.saved(single, batched, "bytes"), show = "%.0f %%", least = 67 }
  sheet:figure { what = "HTTP requests saved", claimed = "67 %",
    value = batching.saved(single, batched, "requests"), show = "%.0f %%", least = 67 }
  local rows = {}
  for i, share in ipairs { 0, SHARE, 0.25, 0.5, 1 } do
    local _, other = turns(up, share, SMALL, single)
    rows[i] = row_of(("%g"):format(share), single, other)
  end
  sheet:table("What a further item costs the server decides how much quicker it is",
    head "share of a further item", rows)
  rows = { row_of(SMALL .. " bytes", single, batched) }
  for _, length in ipairs { 200, 1000 } do
    rows[#rows + 1] = row_of(length .. " bytes", turns(up, SHARE, length))
  end
  sheet:table("How long questions are decides how many bytes are saved",
    head "a question has", rows)
  sheet:say("Headers are what a batch saves: of long questions and answers there is little to "
    .. "save. Where a further item takes as long as the first, a batch is hardly quicker.")
end

return {
  row = "2.2", title = "Batching", seconds = 120,
  how = "Calls of 256 callers over HTTP, one by one and by the rule `endpoint`, at the busy "
    .. "upstream, which counts requests and bytes; every answer is checked.",
  measure = function(sheet)
    servers.with(1, function(up) measure(sheet, up) end)
  end,
}
