--- A server for `spec.support.world` that says one text, byte for byte, breaks off where it is
--- told, and goes on with the text wherever it is asked to.
--
--     local s = exact.new { text = "…", cuts = { 120, 40 } }   -- bytes of the first two streams
--     local w = world.new { script = { a = s.script }, … }
--
-- `piece` is how many characters an event has; `lead` and `repeats` (bytes) go before the rest
-- where words ask for it; without `repeats` it repeats what stands between <<< and >>>.
local json = require "unbusy.json"

local exact = {}
exact.__index = exact

local CHARACTER = "[%z\1-\127\192-\255][\128-\191]*"

function exact.new(o)
  local self = setmetatable({ text = o.text, cuts = o.cuts or {}, piece = o.piece or 3,
    lead = o.lead or "", repeats = o.repeats, reasoning = o.reasoning, gap = o.gap or 0,
    finish = o.finish or "stop", usage = o.usage, asked = {}, fails = o.fails or {} }, exact)
  self.script = function(request, n) return self:answer(request, n) end
  return self
end

-- What of the text was said before, and what goes before the rest.
local function begun_in(self, body)
  local messages = body.messages
  if not messages then
    for n = math.min(#self.text, #body.prompt), 1, -1 do
      if body.prompt:sub(-n) == self.text:sub(1, n) then return self.text:sub(1, n), "" end
    end
    return "", ""
  end
  local last, before = messages[#messages], messages[#messages - 1]
  if last.role == "assistant" and (last.prefix or body.continue_final_message) then
    return last.content, ""
  end
  if before and before.role == "assistant" and last.role == "user" then
    local again = self.repeats and (self.repeats > 0 and before.content:sub(-self.repeats) or "")
      or last.content:match "<<<\n(.-)\n>>>"
    return before.content, self.lead .. again
  end
  return "", ""
end

--- The rest that it says to a request.
function exact:rest(body)
  local begun, again = begun_in(self, body)
  assert(self.text:sub(1, #begun) == begun, "no beginning of the text: " .. begun)
  return again .. self.text:sub(#begun + 1)
end

local function pieces_of(text, size)
  local list, now, n = {}, {}, 0
  for c in text:gmatch(CHARACTER) do
    now[#now + 1], n = c, n + 1
    if n == size then
      list[#list + 1], now, n = table.concat(now), {}, 0
    end
  end
  if n > 0 then list[#list + 1] = table.concat(now) end
  return list
end

-- The events of a stream; each answer has an id and a model of its own.
function exact:events(body, n)
  local rest, out, chat = self:rest(body), {}, body.messages ~= nil
  local function event(delta, finish, usage)
    local choice = { index = 0, finish_reason = finish or json.null, delta = chat and delta or nil }
    if not chat then choice.text = delta.content or "" end
    out[#out + 1] = "data: " .. json.encode { id = "answer-" .. n, created = 1000 + n,
      object = chat and "chat.completion.chunk" or "text_completion", model = body.model or "m",
      choices = usage and json.array {} or { choice }, usage = usage } .. "\n\n"
  end
  if chat then event { role = "assistant", content = "" } end
  for _, piece in ipairs(pieces_of(self.reasoning or "", self.piece)) do
    event { reasoning_content = piece }
  end
  for _, piece in ipairs(pieces_of(rest, self.piece)) do event { content = piece } end
  event({}, self.finish)
  if body.stream_options then event({}, nil, self.usage and self.usage(n, rest) or
    { prompt_tokens = 10, completion_tokens = 5, total_tokens = 15 }) end
  out[#out + 1] = "data: [DONE]\n\n"
  return out
end

--- The answer to the n-th request.
function exact:answer(request, n)
  local body = json.decode(request.body)
  self.asked[n] = body
  if self.fails[n] then return self.fails[n] end
  local bytes = table.concat(self:events(body, n))
  local cut = self.cuts[n]
  local answer = { status = 200, headers = { ["content-type"] = "text/event-stream" }, after = 0.1,
    steps = { { self.gap, cut and bytes:sub(1, cut) or bytes } } }
  if cut then
    answer.fail, answer.message, answer.phase = "network", "reset by the server", "body"
  end
  return answer
end

return exact
