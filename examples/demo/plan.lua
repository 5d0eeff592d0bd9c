--- What is asked of the server, and when: the same for every client.
--
-- A server of `places` in service at once and `service` seconds a question answers `capacity`
-- questions a second. A burst of `times` that rate comes first, `after` of it for the rest.
local plan = {}

local GAPS = 20 -- pieces of a stream's text
local PLAIN = 0.7 -- seconds of service of a plain question, for a mean of 1
local WRITING = 1.0 -- seconds that a stream takes longer, for a mean of 1
local STREAMS = 0.3 -- share of the questions: 0.7 × 0.7 + 0.3 × 1.7 = 1

-- Park and Miller's generator: the same numbers in every Lua.
local function generator(seed)
  local state = (seed * 48271 + 11) % 2147483647
  if state == 0 then state = 1 end
  local function draw()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
  for _ = 1, 8 do draw() end -- the first few of small seeds are alike
  return draw
end

plan.generator = generator

--- Everything about a run that the options decide.
---@param o table { capacity = questions a second, service = s, queue = places in the server's own
---  line, burst = s, total = s of asking, deadline = s or nil, seed = }
function plan.new(o)
  local p = {
    capacity = o.capacity, service = o.service, queue = o.queue, burst = o.burst, total = o.total,
    seed = o.seed, times = 3, after = 0.5, streams = STREAMS,
    places = math.max(1, math.floor(o.capacity * o.service + 0.5)),
    plain = PLAIN * o.service, writing = WRITING * o.service,
  }
  p.longest = 1.5 * p.plain + p.writing
  p.least_deadline = 2 * p.burst + p.longest
  p.deadline = o.deadline or 4 * p.burst
  return p
end

--- How answers look, so that each can be checked word by word.
plan.answer = { tokens = GAPS, chunks = GAPS }

--- The server's programme.
function plan.programme(p)
  return {
    capacity = p.places, queue = p.queue, when_full = { preset = "busy_503" }, seed = p.seed,
    latency = { kind = "uniform", min = 0.5 * p.plain, max = 1.5 * p.plain },
    token_interval = p.writing / GAPS, answer = plan.answer,
  }
end

local subjects = { "天气如何", "how far is the moon", "why is the sky blue", "写一首诗" }

--- The questions, in the order of their time `at`: arrivals that know nothing of each other, at the
--- burst's rate and then at the later one. Each has its `number`, `kind` and `text`.
---@return table[]
function plan.questions(p)
  local draw, list, at = generator(p.seed), {}, 0
  while true do
    local rate = p.capacity * (at < p.burst and p.times or p.after)
    local next_at = at - math.log(draw()) / rate
    if at < p.burst and next_at >= p.burst then
      at = p.burst -- the rate changes here; waiting has no memory, so draw anew
    else
      at = next_at
      if at >= p.total then return list end
      local n = #list + 1
      list[n] = {
        number = n, at = at, kind = draw() < p.streams and "stream" or "plain",
        text = ("question %d: %s"):format(n, subjects[n % #subjects + 1]),
      }
    end
  end
end

return plan
