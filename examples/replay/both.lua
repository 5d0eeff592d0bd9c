--- A piece of a trace twice: in simulated time, and over HTTP.
local piece = require "examples.replay.piece"
local real = require "examples.replay.real"
local run = require "unbusy.simulate.run"
local simulate = require "unbusy.simulate"

local both = {}

--- How far the simulator may be off, as a share of what was measured.
both.BOUND = 0.1

-- Like numbers: a share of the greater one.
local function apart(a, b)
  local most = math.max(a, b)
  return most > 0 and math.abs(a - b) / most or 0
end

--- Plays a piece both ways.
---@param t table of `simulate.read`
---@param o table { from =, to =, speed =, policy = }
---@return table result { calls =, simulated =, real = (availability, calls_each, failures), off =
--- { availability =, calls_each = } shares by which they are apart, agrees = }
function both.play(t, o)
  local made = piece.cut(t, o)
  local report = assert(simulate.compare(made, { { name = "policy", policy = o.policy } },
    { config = piece.options(made, o.speed, nil), seed = made.seed }))
  local measured = real.run(made, piece.options(made, o.speed, o.policy),
    run.calls(made, made.seed))
  local simulated = report.clients[1]
  local off = { availability = apart(simulated.availability, measured.availability),
    calls_each = apart(simulated.calls_each, measured.calls_each) }
  return { path = made.path, calls = made.asked, simulated = simulated, real = measured, off = off,
    agrees = off.availability <= both.BOUND and off.calls_each <= both.BOUND }
end

return both
