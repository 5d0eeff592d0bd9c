--- Lets calls that ask the same at the same time share one.
--
-- Below the cache, whose key says what the same is; above all that asks. A call that asks ahead of
-- time has a gate of its own below. See `unbusy.caching.flights`.

---@param next function the rest of the call's way
---@param client table
---@return fun(call: table): table?, string?, string?, table?
return function(next, client)
  local flights = client.flights
  if not flights or not flights.on then return next end
  return function(call)
    if not call.key or call.merged or call.ahead then return next(call) end
    return flights:join(call, call.key, next)
  end
end
