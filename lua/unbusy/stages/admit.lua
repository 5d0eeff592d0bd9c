--- Takes the first target that lets the call in, or waits for one.
--
-- A refusal of our own (a breaker open, a limit reached) is a wait, not a try: it costs neither an
-- attempt nor budget. What is reported back to the gates is said in `unbusy.codes`.

-- How long the server asked to be left alone, if that is to be heeded by everybody.
local function note_rest(call, place, code, detail)
  local seconds = detail and detail.retry_after
  if not seconds or seconds <= 0 then return end
  if code == "busy" or code == "limited" then
    place.target:rest(seconds, call.loop.now())
  end
end

-- The place is given back when the stream ends.
local function finish_at_end(reply, place)
  reply:on_end(function(self, how)
    if place.taken then place:spent(self.usage) end
    place:finish(how)
  end)
end

---@param next function the rest of the call's way
---@return fun(call: table): table?, string?, string?, table?
return function(next)
  return function(call)
    local place, message, code, detail = call.client.queue:enter(call, call.candidates)
    if not place then
      if code == "open" or code == "full" then
        call:emit("refused",
          { code = code, target = detail.target, retry_after = detail.retry_after })
      end
      return nil, message, code, detail
    end
    call.place = place
    local reply
    reply, message, code, detail = next(call)
    if reply and reply.ended then
      if place.taken then place:spent(reply.usage) end
      place:finish(reply.how)
    elseif reply then
      finish_at_end(reply, place)
    else
      note_rest(call, place, code, detail)
      place:finish(code, detail and detail.verdict)
    end
    call.place = nil
    return reply, message, code, detail
  end
end
