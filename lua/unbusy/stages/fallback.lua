--- The last resort: the configured text in a valid OpenAI shape, when nothing else has worked.
--
-- Not for failures that the caller caused or asked for (see `fallback` in `unbusy.codes`), and only
-- where a text can stand for the answer: chat and complete.
local codes = require "unbusy.codes"
local reply = require "unbusy.reply"

local speaks = { chat = true, complete = true }

---@param next function the rest of the call's way
---@param client table
---@return fun(call: table): table?, string?, string?, table?
return function(next, client)
  local fallback = client.fallback
  if not fallback then return next end
  return function(call)
    local answer, message, code, detail = next(call)
    if answer then return answer end
    if not speaks[call.kind] or not codes[code].fallback then
      return nil, message, code, detail
    end
    call:emit("fallback", { code = code, message = message })
    local made = reply.of_text(call, fallback.text, fallback.status)
    made.failure = { message = message, code = code, detail = call:detail(detail) }
    return made
  end
end
