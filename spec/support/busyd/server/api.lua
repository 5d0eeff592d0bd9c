--- The way of one request: read, admit, choose an answer, send it.
local admission = require "server.admission"
local answers = require "server.answers"
local calls = require "server.calls"
local counters = require "server.counters"
local draw = require "server.draw"
local items = require "server.items"
local journal = require "server.journal"
local player = require "server.player"
local presets = require "server.presets"
local programme = require "server.programme"
local request = require "server.request"

local api = {}

-- What a client sees that waits in a queue with a sign: a 200 and keep-alives.
local function queue_sign(call, fields)
  if fields.queue_sign ~= "keepalive" then return nil end
  local kind = call.stream and "comment" or "blank"
  return function()
    if not ngx.headers_sent then
      local shown = {
        status = 200, sse = call.stream, pieces = {}, opening = true,
        headers = { ["Content-Type"] = call.stream and "text/event-stream" or "application/json" },
      }
      player.head(call, shown)
    end
    player.keepalive(kind)
  end
end

-- The next of the script, else a fault that is due, else what an item brings about, else a plain
-- answer.
local function choose(call, fields)
  return programme.next_scripted(fields)
    or draw.fault(fields.faults, fields.seed, call.number) or items.whole(fields, call) or {}
end

local function play(call, fields, spec)
  local chosen = presets.play(call, fields, spec)
  local latency = spec.latency or chosen.patient and fields.latency
  chosen.delay = draw.latency(latency, fields.seed, call.number)
  if chosen.patient and call.inputs then
    chosen.delay = chosen.delay + (#call.inputs - 1) * fields.latency_per_item
  end
  return player.play(call, chosen)
end

local function serve(call, problem)
  if problem then
    call.outcome_is = "rejected"
    local status, message = problem[1], problem[2]
    return player.play(call, answers.error(status, message, "invalid_request_error"))
  end
  local fields = programme.now()
  journal.note(call, fields)
  if not admission.enter(call, fields, queue_sign(call, fields)) then
    call.outcome_is = "refused"
    return play(call, fields, fields.when_full)
  end
  fields = programme.now()  -- it may have waited for long
  return play(call, fields, choose(call, fields))
end

local function run()
  local call, problem = request.read()
  ngx.ctx.call = call
  return serve(call, problem)
end

--- Serves the request at hand.
function api.serve()
  local ok, message = pcall(run)
  if ok then return end
  counters.add "internal_errors"
  error(message, 0)
end

--- Runs when nginx is done with a request, however it ended.
function api.leave()
  local call = ngx.ctx.call
  if not call then return end
  calls.close(call, "aborted_by_client")
  counters.add("bytes_received", tonumber(ngx.var.request_length))
  counters.add("bytes_sent", tonumber(ngx.var.bytes_sent))
  counters.add "bytes_counted"
end

return api
