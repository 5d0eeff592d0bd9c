--- Changes texts at random: what a fuzz in Lua feeds on.
--
--     local m = mutate.new(seed, corpus, words)
--     local input = m:next()        -- a text of the corpus, changed in some places
--     m:keep(input)                 -- from now on it may be changed further
local mutate = {}

local methods = {}
local class = { __index = methods }

local MOST_BYTES = 4096
local MOST_KEPT = 500

-- Numbers of a generator of our own, so that a seed gives the same inputs on both Luas.
local function random(self, n)
  self.state = (self.state * 16807) % 2147483647 -- Park and Miller, 1988
  return math.floor(self.state / 2147483647 * n)
end

--- Makes a mutator.
---@param seed integer
---@param corpus string[]
---@param words string[] what belongs to the format
function mutate.new(seed, corpus, words)
  local self = setmetatable({ state = seed % 2147483646 + 1, corpus = corpus, kept = {},
    words = words, place = 0 }, class)
  for _ = 1, 8 do random(self, 1) end
  return self
end

local function any(self, list)
  return list[random(self, #list) + 1]
end

local function base(self)
  if #self.kept > 0 and random(self, 3) == 0 then return any(self, self.kept) end
  return any(self, self.corpus)
end

-- The text with the bytes from `at` on replaced: `length` of them, by `new`.
local function splice(text, at, length, new)
  return text:sub(1, at) .. new .. text:sub(at + length + 1)
end

local changes = {
  function(self, text, at) return splice(text, at, 1, string.char(random(self, 256))) end,
  function(self, text, at) return splice(text, at, 0, string.char(random(self, 256))) end,
  function(self, text, at) return splice(text, at, 1 + random(self, 4), "") end,
  function(self, text, at) return splice(text, at, random(self, #text), "") end,
  function(self, text, at) return splice(text, at, 0, any(self, self.words)) end,
  function(self, text, at)
    local word = any(self, self.words)
    return splice(text, at, #word, word)
  end,
  function(self, text, at) -- a piece of it twice
    local from = random(self, #text + 1)
    return splice(text, at, 0, text:sub(from + 1, from + 1 + random(self, 40)))
  end,
  function(self, text, at) -- goes on as another one
    local other = base(self)
    return text:sub(1, at) .. other:sub(random(self, #other + 1) + 1)
  end,
  function(self, text, at)
    return splice(text, at, 0, any(self, self.words):rep(random(self, 200)))
  end,
  function(self, text) -- another value behind some colon
    local value, from = any(self, self.words), text:find(":", random(self, #text + 1) + 1, true)
    if not from then return text end
    return splice(text, from, #(text:match("^[^,}%]\r\n]*", from + 1) or ""), value)
  end,
}

--- The next input: first each text of the corpus as it is.
---@return string
function methods:next()
  self.place = self.place + 1
  if self.place <= #self.corpus then return self.corpus[self.place] end
  local text = base(self)
  for _ = 1, 1 + random(self, 4) do
    text = any(self, changes)(self, text, random(self, #text + 1))
  end
  return text:sub(1, MOST_BYTES)
end

--- Lets an input be changed further; an older one is forgotten when there are many.
function methods:keep(input)
  local i = #self.kept < MOST_KEPT and #self.kept + 1 or random(self, MOST_KEPT) + 1
  self.kept[i] = input
end

return mutate
