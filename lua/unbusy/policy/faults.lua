--- What may be told of a script's fault: where it is, and what Lua or the script's author said.
--
-- A script is told prompts, and an error may repeat them. So of an error that it raises itself the
-- words are told only where they stand in its text as they are; of Lua's own messages, the words
-- in quotes only where they do.
local faults = {}

local MOST = 200 -- bytes of a message

local function stands_in(words, source)
  return source ~= nil and source:find(words, 1, true) ~= nil
end

local function without_quoted(message, source)
  return (message:gsub("'([^']*)'", function(words)
    if not stands_in(words, source) and not words:find "^[%a_][%w_]*$" then return "'…'" end
  end))
end

-- What Lua itself says of a running function.
local own_words = { "^attempt to ", "^bad argument #", "^stack overflow", "^C stack overflow",
  "^not enough memory", "^invalid order function", "^'for' ", "^string length overflow",
  "^resulting string too large", "^wrong number of arguments", "^malformed pattern",
  "^invalid ", "^error in error handling", "^number ", "^rep: ", "^random: ", "^too many " }

local function is_of_lua(words)
  for _, pattern in ipairs(own_words) do
    if words:find(pattern) then return true end
  end
end

-- "file:12: " and the rest.
local function parted(message)
  local place, words = message:match "^([^\n]-:%d+: )(.*)$"
  if not place then return "", message end
  return place, words
end

--- The sentence for an error.
---@param error_value any
---@param why "long"|"memory"|nil the limit that was reached
---@param source string? the script's text; nil for functions of the program
---@param raised boolean? was it raised by the script itself, as far as is known?
---@return string
function faults.describe(error_value, why, source, raised)
  if why == "memory" then return "it took too much memory" end
  if type(error_value) ~= "string" then
    return why == "long" and "it ran too long" or "it raised a " .. type(error_value)
  end
  local place, words = parted(error_value:sub(1, 2000):match "^[^\n]*")
  if why == "long" then return place .. "it ran too long" end
  if raised and not stands_in(words, source) or not raised and not is_of_lua(words) then
    return place .. "it raised an error"
  end
  return (place .. without_quoted(words, source)):sub(1, MOST)
end

return faults
