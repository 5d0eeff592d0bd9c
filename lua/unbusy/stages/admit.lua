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

---@param call table
---@param next function
return function(call, next)
  local place, message, code, detail = call.client.queue:enter(call, call.candidates)
  if not place then
    if code == "open" or code == "full" then
      call:emit("refused",
        { code = code, target = detail.target, retry_after = detail.retry_after })
    end
    return nil, message, code, detail
  end
  call.place = place
  call:hold(place)
  local reply
  reply, message, code, detail = next(call)
  if reply then
    reply:on_end(function(_, how) place:finish(how) end)
  else
    note_rest(call, place, code, detail)
    place:finish(code, detail and detail.verdict)
  end
  call:release(place)
  return reply, message, code, detail
end
