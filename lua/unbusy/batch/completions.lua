--- Several completions in one request: `prompt` is a list of their texts.
--
-- Requests that are the same but for `prompt` go together. One that wants several choices, or has a
-- list of prompts already, or text to go behind the answer, goes alone.
local rule = {}

local function without(t, one, other)
  local out = {}
  for key, value in pairs(t) do
    if key ~= one and key ~= other then out[key] = value end
  end
  return out
end

local function one_or_none(n)
  return n == nil or n == null or n == 1
end

--- Which requests go together.
function rule.batch(request)
  if type(request.prompt) ~= "string" or request.messages ~= nil then return nil end
  if not one_or_none(request.n) or not one_or_none(request.best_of) then return nil end
  if request.suffix ~= nil and request.suffix ~= null then return nil end
  return { key = without(request, "prompt") }
end

--- One request whose `prompt` is a list.
function rule.merge(requests)
  local merged, prompts = without(requests[1], "prompt"), {}
  for i, request in ipairs(requests) do prompts[i] = request.prompt end
  merged.prompt = prompts
  return merged
end

--- Each choice says by its index whose it is; by its place where it has none.
function rule.split(body)
  local out = {}
  if type(body.choices) ~= "table" then return nil end
  for i, choice in ipairs(body.choices) do
    local index = type(choice.index) == "number" and choice.index or i - 1
    choice.index = 0
    if choice.error ~= nil and choice.error ~= null then
      out[index + 1] = { error = choice.error }
    else
      local answer = without(body, "choices", "usage")
      answer.choices = { choice }
      out[index + 1] = answer
    end
  end
  return out
end

return rule
