--- Several embeddings in one request: `input` is a list of their texts.
--
-- Requests that are the same but for `input` go together; one whose `input` is a list already goes
-- alone.
local rule = {}

local function without(t, one, other)
  local out = {}
  for key, value in pairs(t) do
    if key ~= one and key ~= other then out[key] = value end
  end
  return out
end

--- Which requests go together.
function rule.batch(request)
  if type(request.input) ~= "string" then return nil end
  return { key = without(request, "input") }
end

--- One request whose `input` is a list.
function rule.merge(requests)
  local merged, inputs = without(requests[1], "input"), {}
  for i, request in ipairs(requests) do inputs[i] = request.input end
  merged.input = inputs
  return merged
end

--- Each item says by its index whose it is; by its place where it has none.
function rule.split(body)
  local out = {}
  if type(body.data) ~= "table" then return nil end
  for i, item in ipairs(body.data) do
    local index = type(item.index) == "number" and item.index or i - 1
    item.index = 0
    if item.error ~= nil and item.error ~= null then
      out[index + 1] = { error = item.error }
    else
      local answer = without(body, "data", "usage")
      answer.data = { item }
      out[index + 1] = answer
    end
  end
  return out
end

return rule
