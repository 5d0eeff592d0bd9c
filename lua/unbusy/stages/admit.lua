--- Takes the first target that lets the call in, or waits for one.
--
-- A refusal of our own (a breaker open, a limit reached) is a wait, not a try: it costs neither an
-- attempt nor budget. What is reported back to the gates is said in `unbusy.codes`.

-- How long the server asked to be left alone, if that is to be heeded by everybody: whose account's
-- limit is reached, by those for the same model.
local function note_rest(call, place, code, detail)
  local seconds = detail and detail.retry_after
  if not seconds or seconds <= 0 then return end
  if code == "busy" then
    place.target:rest(seconds, call.loop.now())
  elseif code == "limited" then
    place.target:rest_for(place.model, seconds, call.loop.now())
  end
end

-- What was answered, and for how much, is counted for its pool.
local function finish(router, reply, place)
  local how = reply.how
  if place.taken then place:spent(reply.usage) end
  place:finish(how)
  if not how then router.spill:answered(place.target.pool, reply.cost) end
end

-- The place is given back when the stream ends.
local function finish_at_end(router, reply, place)
  reply:on_end(function(ended) finish(router, ended, place) end)
end

-- No place: nobody has waited where the call was to have one at once.
local function refused(call, message, code, detail)
  if not call.at_once and (code == "open" or code == "full") and not call.patience then
    call:emit("refused", { code = code, target = detail.target, retry_after = detail.retry_after })
  end
  return nil, message, code, detail
end

--- The stage above hands on the `candidates`, in the order in which they are wanted.
---@param next function the rest of the call's way
---@param client table
---@return fun(call: table, candidates: table[]): table?, string?, string?, table?
return function(next, client)
  local router, queue = client.router, client.queue
  return function(call, candidates)
    local enter = call.at_once and queue.enter_now or queue.enter
    local place, message, code, detail = enter(queue, call, candidates)
    if not place then return refused(call, message, code, detail) end
    call.place = place
    if router.spills then router:let_in(call, place.target) end
    local reply
    reply, message, code, detail = next(call)
    if reply and reply.ended then
      finish(router, reply, place)
    elseif reply then
      finish_at_end(router, reply, place)
    else
      note_rest(call, place, code, detail)
      place:finish(code, detail and detail.verdict, detail and detail.about)
    end
    call.place = false
    return reply, message, code, detail
  end
end
