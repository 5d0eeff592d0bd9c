--- The texts that answers are made of: pure functions that a test can call to know what to expect.
local text = {}

local WORDS_KEPT = 64   -- lengths whose words are remembered
local words_of, kept = {}, 0

-- " w1 w2 … wn"
local function words(n)
  local known = words_of[n]
  if known then return known end
  local list = {}
  for i = 1, n do list[i] = " w" .. i end
  local joined = table.concat(list)
  if kept < WORDS_KEPT then
    words_of[n], kept = joined, kept + 1
  end
  return joined
end

--- The text that a good answer to 'question' has.
---@param question string  the last user message
---@param answer? table  the programme's `answer`: `text` replaces the echo, `tokens` adds words
---@return string
function text.answer(question, answer)
  local base = answer and answer.text or "echo: " .. question
  if answer and answer.tokens then return base .. words(answer.tokens) end
  return base
end

--- The text that completes 'prompt': with `continues`, the rest of what it ends with.
---@param prompt string
---@param answer table  the programme's `answer`
---@return string
function text.completion(prompt, answer)
  local whole = text.answer(prompt, answer)
  if not answer.continues then return whole end
  for n = math.min(#whole, #prompt), 1, -1 do
    if prompt:sub(-n) == whole:sub(1, n) then return whole:sub(n + 1) end
  end
  return whole
end

--- The reasoning that goes before it.
---@param question string
---@param answer table  `reasoning` is true or the text itself
---@return string
function text.reasoning(question, answer)
  return answer.reasoning == true and "thinking about: " .. question or answer.reasoning
end

--- Splits 's' into 'n' pieces of about one size (fewer when it is too short), never inside a UTF-8
--- character.
---@param s string
---@param n integer
---@return string[]
function text.pieces(s, n)
  local list, from = {}, 1
  for i = 1, n do
    local last = math.floor(#s * i / n)
    while last < #s and s:byte(last + 1) >= 0x80 and s:byte(last + 1) < 0xC0 do
      last = last + 1
    end
    if last >= from then
      list[#list + 1] = s:sub(from, last)
      from = last + 1
    end
  end
  return list
end

--- The embedding of 'input': numbers from -1 to 1 with three decimals, the same in every Lua.
---@param input string
---@param dimensions? integer  8
---@return number[]
function text.embedding(input, dimensions)
  local hash = 7
  for i = 1, #input do
    hash = (hash * 31 + input:byte(i)) % 65521
  end
  local vector = {}
  for i = 1, dimensions or 8 do
    vector[i] = (hash * i % 2001 - 1000) / 1000
  end
  return vector
end

return text
