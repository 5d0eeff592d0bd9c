--- What happened, in plain words. Every sentence is made from what was measured.
local figures = require "examples.demo.figures"

local words = {}

local WIDTH = 78

--- A text in lines of at most 78 columns, each after `indent`.
function words.wrap(text, indent)
  local out, line = {}, nil
  for word in text:gmatch "%S+" do
    if line and #line + 1 + #word > WIDTH then
      out[#out + 1], line = line, nil
    end
    line = line and line .. " " .. word or indent .. word
  end
  out[#out + 1] = line
  return table.concat(out, "\n")
end

local function several(n, one, more)
  return n == 1 and ("1 " .. one) or ("%d %s"):format(n, more or one .. "s")
end

local function times(n)
  return n == 1 and "once" or n == 2 and "twice" or ("%d times"):format(n)
end

local function share_of(part, whole)
  return part == whole and "all of them" or part .. " of them"
end

-- {== Before ==============================================================

--- The plan, before anything happens.
---@param p table the plan
---@param questions table[]
---@return string[] lines
function words.plan(p, questions)
  local burst = 0
  for _, q in ipairs(questions) do
    if q.at < p.burst then burst = burst + 1 end
  end
  return {
    ("The server: %s; a question keeps one for %g s on average, so it can"):format(
      several(p.places, "place"), p.service),
    ("  answer %g a second. %s: who finds it full gets a 503 at once."):format(p.capacity,
      p.queue == 0 and "No waiting line" or ("Its waiting line holds %d"):format(p.queue)),
    ("The questions: %g a second for %g s, %g times what it can answer: %d. Then %g a"):format(
      p.capacity * p.times, p.burst, p.times, burst, p.capacity * p.after),
    ("  second, %g times, until %g s: %d. Random arrivals (seed %d)."):format(
      p.after, p.total, #questions - burst, p.seed),
    ("  %g %% plain (%.3g s on average), %g %% streams (%.3g s). No two are alike,"):format(
      (1 - p.streams) * 100, p.plain, p.streams * 100, p.plain + p.writing),
    "  nothing is cached, and every answer is checked word by word.",
    ("The deadline: %g s for each (twice the burst and the longest service: %.3g s)."):format(
      p.deadline, p.least_deadline),
  }
end

-- }========================================================================

-- {== After ===============================================================

local say = {}

function say.naive(f)
  local lost = f.failed + f.wrong
  if lost == 0 then return "naive asks once, and this time that was enough." end
  return ("naive asks once: %s failed, %s asked in the burst."):format(
    several(lost, "question"), share_of(f.lost_in_burst, lost))
end

function say.loop(f)
  local text = ("loop asks again when refused, up to five times, 1, 2, 4 and 8 s apart: "
    .. "%d calls for %d questions, of which the server refused %d."):format(f.calls, f.asked,
    f.refused)
  local lost = f.failed + f.wrong
  if lost == 0 then return text .. " All were answered in the end." end
  return text .. (" %s failed all the same."):format(several(lost, "question"))
end

local function against(f, other)
  if f.answered == other.answered then return "as many as" end
  return f.answered < other.answered and "fewer than" or "more than"
end

function say.breaker(f, naive)
  if f.opened == 0 then return "loop+breaker never opened its breaker." end
  return ("loop+breaker opened its breaker %s; %s found it open and got the fallback text, which "
    .. "is no answer. It asked the server less (%.2f calls each) and answered %s naive."):format(
    times(f.opened), several(f.shut_out, "question"), f.calls_each,
    against(f, naive))
end

-- "budget 3, busy 1"
local function list_of(reasons)
  local out = {}
  for code, n in pairs(reasons) do out[#out + 1] = code .. " " .. n end
  table.sort(out)
  return table.concat(out, ", ")
end

function say.unbusy(f)
  local text = ("unbusy was refused %s. %s waited for a place on its own side, which costs no call")
    :format(f.refused == 0 and "never" or times(f.refused), several(f.waited, "question"))
  if f.queued_p50 then
    text = text .. (": half of all answered waited less than %.1f s for it, and nobody more than "
      .. "%.1f s"):format(f.queued_p50 + 0.05, f.queued_most + 0.05)
  end
  local lost = f.asked - f.answered
  if lost == 0 then return text .. "." end
  return text .. (". %s not answered (%s)."):format(
    several(lost, "question was", "questions were"), list_of(f.reasons))
end

--- What just happened and why, one paragraph per client.
---@param by table figures by the client's name
function words.story(p, by)
  local n = by.naive
  return {
    ("In the burst %d questions met a server that answers about %d in that time."):format(
      n.in_burst, p.capacity * p.burst),
    say.naive(n), say.loop(by.loop), say.breaker(by["loop+breaker"], n), say.unbusy(by.unbusy),
  }
end

--- Whether unbusy did what it is for, and the sentence that says so.
---@return boolean good, string sentence
function words.verdict(by)
  local f, loop = by.unbusy, by.loop
  local enough, fewer = f.share >= 0.99, f.calls_each < loop.calls_each
  local text = ("unbusy answered %s with %.2f calls each; the loop %s with %.2f."):format(
    figures.percent(f.answered, f.asked), f.calls_each, figures.percent(loop.answered, loop.asked),
    loop.calls_each)
  if enough and fewer then return true, text end
  local missed = {}
  if not enough then missed[#missed + 1] = "at least 99 % answered" end
  if not fewer then missed[#missed + 1] = "fewer calls than the loop" end
  return false, text .. " MISSED: " .. table.concat(missed, ", and ") .. "."
end

--- The last line.
function words.closing(by)
  local function share(name) return figures.percent(by[name].answered, by[name].asked) end
  return ("answered: naive %s · loop %s · unbusy %s"):format(share "naive", share "loop",
    share "unbusy")
end

-- }========================================================================

return words
