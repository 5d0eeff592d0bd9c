--- Row 6.1: a light model at the edge takes the 80 % routine requests, the centre the others.
local edge = require "bench.support.edge"

local EDGE, CENTRE, WEAK = 0.1, 1.2, 0.03

local EDGES, CENTRES, SHARES = { 0.05, 0.1, 0.2, 0.4 }, { 0.6, 1.2, 2.4 }, { 0, 0.1, 0.2 }

local function ms(value) return ("%.0f ms"):format(value) end

local function vary(sheet)
  local head, rows = { "centre takes", "all at the centre", "weak answers" }, {}
  for i, near in ipairs(EDGES) do head[3 + i] = "edge takes " .. ms(near * 1000) end
  for _, centre in ipairs(CENTRES) do
    local alone = ms(edge.all_at_centre(centre))
    for _, weak in ipairs(SHARES) do
      local row = { ms(centre * 1000), alone, ("%g %%"):format(weak * 100) }
      for i, near in ipairs(EDGES) do
        row[3 + i] = ms((edge.split(near, centre, weak)))
      end
      rows[#rows + 1] = row
    end
  end
  sheet:table("The mean follows from what both take, and from how often the edge's answer is too "
    .. "weak and the centre is asked after all (in simulated time)", head, rows)
end

local function measure(sheet)
  sheet:input("routine questions", ("%g %%"):format((1 - edge.HARD) * 100))
  sheet:input("seconds at the edge, and at the centre", ("%g, %g"):format(EDGE, CENTRE))
  sheet:input("answers of the edge that are weak, and are replaced", ("%g %%"):format(WEAK * 100))
  sheet:input("calls, at once", ("%d, %d"):format(edge.HTTP_CALLS, edge.CALLERS))
  local alone, both, seen = edge.over_http({ edge = EDGE, centre = CENTRE }, WEAK)
  sheet:figure { what = "mean where the centre answers everything", claimed = "1.2 s",
    value = alone / 1000, show = "%.2f s", least = 1.15 }
  sheet:figure { what = "mean with an edge", claimed = "380 ms", value = both, show = "%.0f ms",
    most = 380 }
  local calls = edge.HTTP_CALLS
  sheet:figure { what = "calls that go to the edge", claimed = "80 %",
    value = seen.judged / calls * 100, show = "%.0f %%", least = 79, most = 81 }
  vary(sheet)
  sheet:say "An answer that is wrong in good form is seen by nobody, and is in no figure."
end

return {
  row = "6.1", title = "Edge and centre", seconds = 90, measure = measure,
  how = "Two busy upstreams over HTTP; the shipped policy `edge` tells routine questions from "
    .. "hard ones by their words, and `escalate` replaces weak answers.",
}
