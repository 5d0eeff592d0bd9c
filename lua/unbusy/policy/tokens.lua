--- The words of a Lua text, for those who look at a script without running it.
--
-- The text is one that Lua has compiled, so nothing is checked here; what either Lua takes (the
-- operators of Lua 5.4, names and numbers of LuaJIT) is read.
local tokens = {}

local keywords = {}
for word in ([[and break do else elseif end false for function if in local nil not or repeat return
  then true until while]]):gmatch "%a+" do
  keywords[word] = true
end

-- The longest first; what is none of these is an operator of one character.
local operators = { "%.%.%.", "%.%.", "==", "~=", "<=", ">=", "//", "::", "<<", ">>" }

local function count_lines(text, from, to)
  local n = 0
  for _ in text:sub(from, to):gmatch "\n" do n = n + 1 end
  return n
end

-- Behind a long bracket that begins at `at`; nil where none does.
local function long_end(text, at)
  local level = text:match("^%[(=*)%[", at)
  if not level then return nil end
  local _, stop = text:find("]" .. level .. "]", at, true)
  return (stop or #text) + 1
end

-- Behind a string in quotes.
local function quoted_end(text, at)
  local quote = text:sub(at, at)
  local i = at + 1
  while i <= #text do
    local c = text:sub(i, i)
    if c == quote then return i + 1 end
    if c == "\\" and text:find("^z%s", i + 1) then
      i = text:match("^z%s*()", i + 1)
    else
      i = i + (c == "\\" and 2 or 1)
    end
  end
  return i
end

local function number_end(text, at)
  local exponent = text:find("^0[xX]", at) and "[pP]" or "[eE]"
  local i = at
  while true do
    local stop = text:match("^[%w_.]()", i)
    if not stop then return i end
    if text:find("^" .. exponent .. "[+-]", i) then stop = i + 2 end
    i = stop
  end
end

local function operator_end(text, at)
  for _, pattern in ipairs(operators) do
    local stop = text:match("^" .. pattern .. "()", at)
    if stop then return stop end
  end
  return at + 1
end

-- Behind blanks and comments.
local function blank_end(text, at)
  while true do
    at = text:match("^%s*()", at)
    if text:sub(at, at + 1) ~= "--" then return at end
    at = long_end(text, at + 2) or text:match("^[^\n\r]*()", at)
  end
end

-- What kind of token begins there, and where it ends.
local function measure(text, at)
  local stop = text:match("^[%a_\128-\255][%w_\128-\255]*()", at)
  if stop then return keywords[text:sub(at, stop - 1)] and "keyword" or "name", stop end
  if text:find("^['\"]", at) then return "string", quoted_end(text, at) end
  stop = long_end(text, at)
  if stop then return "string", stop end
  if text:find("^%.?%d", at) then return "number", number_end(text, at) end
  return "operator", operator_end(text, at)
end

-- A string without escapes as what it says; of others that is not asked.
local function value_of(word)
  return word:match "^['\"]([^\\]*)['\"]$"
end

--- All tokens, the last one of kind "end".
---@param text string
---@return table[] list { kind = "name"|"keyword"|"string"|"number"|"operator"|"end", text =,
--- line =, value = of a string in quotes without escapes }
function tokens.of(text)
  local list, line, from = {}, 1, 1
  local at = blank_end(text, 1)
  while at <= #text do
    line, from = line + count_lines(text, from, at - 1), at
    local kind, stop = measure(text, at)
    local word = text:sub(at, stop - 1)
    list[#list + 1] = { kind = kind, text = word, line = line,
      value = kind == "string" and value_of(word) or nil }
    at = blank_end(text, stop)
  end
  list[#list + 1] = { kind = "end", text = "", line = line }
  return list
end

return tokens
