--- The seam: where the continuation of an answer is joined to what was said before it broke off.
--
--     said:          "… a cat sat \n"          the caller has all of it
--     sent:          "… a cat sat"             without the blanks at its end
--     continuation:  " \non the mat"           " \n" is there already and goes: "on the mat"
--
-- Servers and chat templates cut blanks off the end of a message that is to be continued, or refuse
-- it for them: so they are not sent, and what the continuation begins with is taken for them as far
-- as it is the same, byte for byte. Of a character that was torn in two it must be the same.
--
-- Where a model is only asked in words to go on, it is asked to begin with the last words: the
-- *anchor*. It says where the thread is taken up, and goes. What repeats in the text itself stays:
-- only what stands before the end of the anchor is taken away, and a text that does not begin with
-- the anchor, or with a longer end of what was said, is refused. An anchor that occurs once in the
-- window leaves one reading only: two ends of the text that fit would both end with it, so it would
-- occur twice. Where none occurs once ("ha ha ha …"), the anchor itself is the only one that fits.
--
-- A stop sequence of the request that spans the seam ends the answer there.
local seam = {}
seam.__index = seam

local byte, find, sub = string.byte, string.find, string.sub

local LEAST = 32    -- bytes of an anchor; less where less was said
local MOST = 160    -- bytes up to which it grows until it occurs once
local WORD = 40     -- bytes that are looked through for the beginning of a word
local WINDOW = 2000 -- bytes of the text whose end may be repeated
local LEAD = 16     -- bytes of blanks and dots that may go before

-- {== Ends of texts =======================================================

-- What Python's and Jinja's `strip` take for blanks.
local wide = { ["\194\133"] = true, ["\194\160"] = true, ["\225\154\128"] = true,
  ["\226\128\168"] = true, ["\226\128\169"] = true, ["\226\128\175"] = true,
  ["\226\129\159"] = true, ["\227\128\128"] = true }
for i = 128, 138 do wide["\226\128" .. string.char(i)] = true end

-- The bytes of the blank that ends at `last`; nil where none does.
local function blank_at(text, last)
  local b = byte(text, last)
  if not b then return nil end
  if b == 32 or b >= 9 and b <= 13 or b >= 28 and b <= 31 then return 1 end
  if b < 128 then return nil end
  return wide[sub(text, last - 1, last)] and 2 or wide[sub(text, last - 2, last)] and 3 or nil
end

-- The bytes of a character at the end of which more should follow.
local function torn_bytes(text)
  for i = 1, math.min(3, #text) do
    local b = byte(text, -i)
    if b < 128 then return 0 end
    if b >= 192 then
      local length = b >= 240 and 4 or b >= 224 and 3 or 2
      return length > i and i or 0
    end
  end
  return 0
end

--- A text without what is not sent of its end.
---@param text string
---@return string kept, string withheld, boolean torn does it end within a character?
function seam.trim(text)
  local torn = torn_bytes(text)
  local last = #text - torn
  local blank = blank_at(text, last)
  while blank do
    last = last - blank
    blank = blank_at(text, last)
  end
  return sub(text, 1, last), sub(text, last + 1), torn > 0
end

-- Where a word begins, not behind `at` and near it; else a character.
local function word_start(text, at)
  for i = at, math.max(2, at - WORD), -1 do
    if blank_at(text, i - 1) and not blank_at(text, i) then return i end
  end
  while at > 1 and byte(text, at) >= 128 and byte(text, at) < 192 do at = at - 1 end
  return at
end

--- The last words of a text, long enough to occur in its end once, where that can be.
---@param text string without blanks at its end
---@return string anchor, boolean unique
function seam.anchor(text)
  local window, anchor = sub(text, -WINDOW), text
  for size = LEAST, MOST, LEAST do
    if #text <= size + WORD then break end
    local own = sub(text, word_start(text, #text - size + 1))
    if find(window, own, 1, true) == #window - #own + 1 then return own, true end
    if anchor == text then anchor = own end -- the shortest, where none occurs once
  end
  return anchor, anchor == text and find(window, anchor, 1, true) == #window - #anchor + 1
end

-- }========================================================================

-- {== Steps ===============================================================

-- A step looks at what is held of the continuation: true when it is done with it, false when it has
-- to see more, nil and why when the two cannot be joined.

local OFF = "the continuation does not take up the last words"

-- Where the text may begin, behind what models put before it.
local function lead_of(held)
  local stop = 0
  while stop < LEAD do
    local next_stop = find(held, "^%.%.%.", stop + 1) and stop + 3
      or find(held, "^\226\128\166", stop + 1) and stop + 3
      or find(held, "^%s", stop + 1) and stop + 1
    if not next_stop then break end
    stop = next_stop
  end
  return stop
end

-- Has only that come, or the beginning of it?
local function is_lead(held)
  return #held <= LEAD and find(held, "^[%s.\226\128\166]*$") ~= nil
end

-- May this be the beginning of an end of the text?
local function may_fit(self, start)
  local begun = sub(self.held, start)
  begun = sub(begun, 1, #begun - torn_bytes(begun))
  if not self.unique then return find(self.anchor, begun, 1, true) == 1 end
  return find(self.window, begun, 1, true) ~= nil
end

local function fits(self, start, stop)
  local head = sub(self.held, start, stop)
  return (self.unique or head == self.anchor) and #head <= #self.window
    and sub(self.window, -#head) == head
end

local function anchor_step(self, last)
  local start = lead_of(self.held) + 1
  local _, stop = find(self.held, self.anchor, 1, true)
  if stop then
    if not fits(self, 1, stop) and not fits(self, start, stop) then return nil, OFF end
    self.held = sub(self.held, stop + 1)
    return true
  end
  local fit = may_fit(self, 1) or may_fit(self, start) or is_lead(self.held)
  if last or not fit then return nil, OFF end
  return false
end

local function blank_step(self, last)
  local held, withheld, n = self.held, self.withheld, 0
  while n < #withheld and byte(held, n + 1) == byte(withheld, n + 1) do n = n + 1 end
  self.held, self.withheld = sub(held, n + 1), sub(withheld, n + 1)
  if self.withheld == "" then return true end
  if self.held == "" and not last then return false end
  if self.torn then return nil, "the continuation begins with another character" end
  return true
end

-- Does a stop sequence begin in the text and end behind it?
local function spans(self, text)
  for _, stop in ipairs(self.stops) do
    local at = find(text, stop, 1, true)
    while at and at <= #self.tail do
      if at + #stop - 1 > #self.tail then return true end
      at = find(text, stop, at + 1, true)
    end
  end
end

local function may_span(self, text)
  for _, stop in ipairs(self.stops) do
    for at = 1, #self.tail do
      if #text - at + 1 < #stop and sub(stop, 1, #text - at + 1) == sub(text, at) then
        return true
      end
    end
  end
end

local function stop_step(self, last)
  local text = self.tail .. self.held
  if spans(self, text) then
    self.held, self.stopped = "", true
    return true
  end
  return last or not may_span(self, text)
end

-- }========================================================================

-- The stop sequences of a request, and the length of the longest.
local function stops_of(given)
  local list, longest = {}, 0
  for _, stop in ipairs(type(given) == "table" and given or { given }) do
    if type(stop) == "string" and stop ~= "" then
      list[#list + 1], longest = stop, math.max(longest, #stop)
    end
  end
  return list, longest
end

--- A seam behind a text.
---@param text string all that was said
---@param o table { anchored = is the model asked to begin with the last words?, stop = of the
--- request: a string or a list }
---@return table self; `stopped` once a stop sequence has ended the answer
function seam.new(text, o)
  local kept, withheld, torn = seam.trim(text)
  local self = setmetatable({ withheld = withheld, torn = torn, held = "", at = 1, steps = {},
    is_open = false, stopped = false }, seam)
  if o.anchored then
    self.anchor, self.unique = seam.anchor(kept)
    self.window = sub(kept, -WINDOW)
    self.steps[1] = anchor_step
  end
  self.steps[#self.steps + 1] = blank_step
  local stops, longest = stops_of(o.stop)
  if stops[1] then
    self.stops, self.tail = stops, longest > 1 and sub(text, 1 - longest) or ""
    self.steps[#self.steps + 1] = stop_step
  end
  return self
end

local function go_on(self, last)
  while self.steps[self.at] do
    local done, why = self.steps[self.at](self, last)
    if done == nil then return nil, why end
    if not done then return "" end
    self.at = self.at + 1
  end
  local text = self.held
  self.held, self.is_open = "", true
  return text
end

--- More of the continuation: what is to be given to the caller of it.
---@param text string
---@return string? text, string? why the two cannot be joined
function seam:feed(text)
  if self.stopped then return "" end
  if self.is_open then return text end
  self.held = self.held .. text
  return go_on(self, false)
end

--- It has come to its end: what was still held.
---@return string? text, string? why the two cannot be joined
function seam:finish()
  if self.is_open then return "" end
  return go_on(self, true)
end

return seam
