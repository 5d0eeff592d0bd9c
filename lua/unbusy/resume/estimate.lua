--- How many tokens a text has, about.
--
-- DeepSeek's own rule of thumb (api-docs.deepseek.com, "Token & Token Usage"): 0.3 for an English
-- character, 0.6 for a Chinese one.
local estimate = {}

local ASCII, OTHER = 0.3, 0.6

--- The tokens of a text.
---@param text string
---@return integer
function estimate.tokens(text)
  if text == "" then return 0 end
  local _, ascii = text:gsub("[%z\1-\127]", "")
  local _, others = text:gsub("[\192-\255]", "")
  return math.max(1, math.floor(ascii * ASCII + others * OTHER + 0.5))
end

local function of_content(content)
  if type(content) == "string" then return estimate.tokens(content) end
  local sum = 0
  for _, part in ipairs(type(content) == "table" and content or {}) do
    local text = type(part) == "table" and part.text
    if type(text) == "string" then sum = sum + estimate.tokens(text) end
  end
  return sum
end

--- The tokens of what a request asks.
---@param request table
---@return integer
function estimate.asked(request)
  local sum = of_content(request.prompt)
  for _, message in ipairs(type(request.messages) == "table" and request.messages or {}) do
    if type(message) == "table" then sum = sum + of_content(message.content) end
  end
  return sum
end

return estimate
