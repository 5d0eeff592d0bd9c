--- What may be told of a script's fault: where it is, and what Lua or the script's author said.
--
-- A script is told prompts, and an error may repeat them. So of an error that it raises itself the
-- words are told only where they stand in its text as they are; of Lua's own messages, the words
-- in quotes only where they do.
local faults = {}

local MOST = 200 -- bytes of a message
local LONG = "it ran too long" -- as lua_guard.c says it

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
  "^not enough memory", "^invalid order function", "^'for' ", "^malformed pattern" }

local function is_of_lua(words)
  for _, pattern in ipairs(own_words) do
    if words:find(pattern) then return true end
  end
end

-- Is it a place in the script? Of functions of the program any may be.
local function is_there(place, script)
  return not script.source or place:sub(1, #script.file + 1) == script.file .. ":"
end

-- "file:12: " and the rest; "" where that is no place in the script's file, as where a library has
-- failed that it calls, or no place at all.
local function parted(message, script)
  local place, words = message:match "^([^\n]-:%d+: )(.*)$"
  if not place then return "", message end
  if place:sub(1, #script.file + 1) == script.file .. ":" then return place, words end
  if is_of_lua(words) then return is_there(place, script) and place or "", words end
  return "", message
end

-- What may be told of a text that was thrown.
local function of_text(message, script)
  local place, words = parted(message:match "^[^\n]*", script)
  local said = script.raised and stands_in(words, script.source)
  if not said and (script.raised or not script.source and not is_of_lua(words)) then
    words = "it raised an error"
  end
  return place ~= "" and place or script.place, without_quoted(words, script.source)
end

--- So many bytes of a text at most, and no part of a character at its end.
---@param text string
---@param most integer
---@return string
function faults.whole(text, most)
  if #text <= most then return text end
  local cut = text:sub(1, most)
  return text:find("^[\128-\191]", most + 1) and cut:gsub("[\192-\255]?[\128-\191]*$", "") or cut
end

--- The sentence for an error.
---@param thrown any
---@param why "long"|"memory"|nil the limit that was reached
---@param script table { file =, place = "file:12: ", where the function begins; source = the file's
--- text, or nil for functions of the program; raised = did it raise the error itself? }
---@return string
function faults.describe(thrown, why, script)
  if why == "long" then
    local place = type(thrown) == "string" and thrown:match("^([^\n]-:%d+: )" .. LONG .. "$")
    return (place and is_there(place, script) and place or script.place) .. LONG
  elseif why == "memory" then
    return script.place .. "it took too much memory"
  elseif type(thrown) ~= "string" then
    return ("%sit raised a %s"):format(script.place, type(thrown))
  end
  local place, words = of_text(thrown:sub(1, 2000), script)
  return faults.whole(place .. words, MOST)
end

return faults
