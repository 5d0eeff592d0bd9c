--- Asks several calls as one, where a rule says that they go together.
--
-- What a rule is, says `unbusy.batching.rules`; how calls come together, `unbusy.batching.batches`.
-- Above it stand the cache, which keeps each answer, and below it the way of one call.

---@param next function the rest of the call's way
---@param client table
---@param plain boolean? see `unbusy.flow`
---@return fun(call: table): table?, string?, string?, table?
return function(next, client, plain)
  local batches = client.batches
  local always = batches.rules[1] ~= nil
  if plain and not always then return next end
  return function(call)
    if not (always or call.policy or call.options.batch) then return next(call) end
    local plan = batches:plan(call)
    if not plan then return next(call) end
    return batches:join(call, plan, next)
  end
end
