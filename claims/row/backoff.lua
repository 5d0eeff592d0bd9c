--- Row 2.1: at most 5 tries, base 1 s, times 2, capped at 30 s, plus up to 10 % jitter; only for
--- busy errors; the last failure is raised. Success in the peak +41 %.
local backoff = require "unbusy.backoff"
local meet = require "examples.demo.meet"
local plan = require "examples.demo.plan"
local simulated = require "claims.simulated"
local world = require "spec.support.world"

local CAPACITY, SERVICE, BURST, TOTAL = 20, 1, 5, 10
local GAIN = 41

-- {== The formula =========================================================

-- The pauses between the tries of a call that is refused each time, in simulated time; and how it
-- ended.
local function pauses_of(status)
  local w = world.new { script = { a = { world.status(status) } } }
  local reply, _, code, detail = w:chat()
  local out = {}
  for i = 2, #w.log do out[i - 1] = w.log[i].at - w.log[i - 1].at - 0.1 end -- it answers in 0.1 s
  w.client:close()
  return out, not reply and code, detail
end

local function of_formula(sheet)
  local pauses, code, detail = pauses_of(503)
  local off, pause = 0, 1
  for _, seconds in ipairs(pauses) do
    off = math.max(off, seconds < pause and 1 or seconds / pause - 1)
    pause = pause * 2
  end
  sheet:figure { what = "tries of a call that is refused each time", claimed = "5",
    value = detail.tries, show = "%d", least = 5, most = 5 }
  sheet:figure { what = "its pauses beyond 1, 2, 4 and 8 s, at most", claimed = "10 %",
    value = off * 100, show = "%.0f %%", most = 10 }
  sheet:say(("Its pauses: %.2f, %.2f, %.2f, %.2f s; it fails with `%s`, as the last try did.")
    :format(pauses[1], pauses[2], pauses[3], pauses[4], code))
  local delays, most = backoff.new { seed = 1 }, 0
  for n = 1, 40 do most = math.max(most, delays:delay(n)) end
  sheet:figure { what = "the longest pause of 40 tries, were there so many",
    claimed = "30 s + 10 %", value = most, show = "%.1f s",
    least = 30, most = 33.001 }
  local others = select(3, pauses_of(400)).tries
  sheet:figure { what = "tries of a call that is wrong (400)", claimed = "1", value = others,
    show = "%d", most = 1 }
end

-- }========================================================================

-- {== A peak ==============================================================

local function in_burst(f)
  return 100 * (f.in_burst - f.lost_in_burst) / f.in_burst
end

local function of_peak(sheet)
  local p = plan.new { capacity = CAPACITY, service = SERVICE, queue = 0, burst = BURST,
    total = TOTAL, seed = 1 }
  sheet:input("calls a second that the server can answer", CAPACITY)
  sheet:input("calls a second in the peak, and how long", ("%d, %g s"):format(p.times * CAPACITY,
    BURST))
  sheet:input("seconds that a caller waits", p.deadline)
  local all = meet.measure({ "naive", "loop", "unbusy" }, p, plan.questions(p), true)
  local share = {}
  for _, each in ipairs(all) do
    if each.figures.faults[1] then error(each.figures.faults[1], 0) end
    share[each.figures.name] = in_burst(each.figures)
  end
  sheet:figure { what = "success in the peak: the source's loop, points over one try",
    claimed = "+41", value = share.loop - share.naive, show = "%+.0f", least = GAIN }
  sheet:figure { what = "success in the peak: unbusy, points over one try", claimed = "+41",
    value = share.unbusy - share.naive, show = "%+.0f", least = GAIN }
  sheet:say(("Of the calls of the peak were answered: one try %.0f %%, the source's loop %.0f %% "
    .. "(× %.1f), unbusy %.0f %% (× %.1f)."):format(share.naive, share.loop,
    share.loop / share.naive, share.unbusy, share.unbusy / share.naive))
end

-- }========================================================================

-- {== Other peaks =========================================================

local FROM, AFTER = 30, 60

-- A peak of `times` what the server can answer, for so many seconds, in simulated time.
local function peak(times, seconds)
  local to = FROM + seconds
  return simulated.trace { seed = 1, calls = { deadline = 30 }, seconds = to + AFTER,
    servers = { { target = "server", capacity = CAPACITY, when_full = { latency = 0.05 },
      latency = { kind = "lognormal", mean = SERVICE, sigma = 0.5 } } },
    rate = function(at) return (at >= FROM and at < to and times or 0.5) * CAPACITY end }, to
end

local function percent(share) return ("%.0f %%"):format(share * 100) end

local function vary(sheet)
  local rows = {}
  for _, shape in ipairs { { 1.5, 10 }, { 2, 10 }, { 3, 5 }, { 3, 10 }, { 3, 30 }, { 5, 10 } } do
    local t, to = peak(shape[1], shape[2])
    local function share(name)
      local _, record, calls = simulated.meet(t, { name = name })
      return simulated.answered(record, calls, FROM, to)
    end
    local naive, loop, ours = share(simulated.NAIVE), share(simulated.LOOP), share "unbusy"
    rows[#rows + 1] = { ("%g × for %g s"):format(shape[1], shape[2]), percent(naive),
      percent(loop), percent(ours), ("%+.0f"):format((loop - naive) * 100),
      ("%+.0f"):format((ours - naive) * 100) }
  end
  sheet:table("Other peaks, in simulated time: how long they last decides, since nobody waits for "
    .. "longer than his deadline", { "peak", "one try", "the loop", "unbusy", "loop, points",
    "unbusy, points" }, rows)
end

-- }========================================================================

return {
  row = "2.1", title = "Exponential backoff", seconds = 120,
  how = "The questions of `make demo` over HTTP, at busy upstreams that have no line: one try, the "
    .. "source's loop, and unbusy as it is without options. The formula in simulated time.",
  measure = function(sheet)
    of_formula(sheet)
    of_peak(sheet)
    vary(sheet)
  end,
}
