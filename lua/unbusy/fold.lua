--- One way to write a question, where people have many: other capitals, blanks, widths and marks.
--
--     fold.text "　ＨＥＬＬＯ,  World ！"        -- "hello, world"
--     function policy.normalise(request) return fold.question(request) end
--
-- Each function takes a text and gives one. Bytes that are no UTF-8 stay as they are. Made for
-- questions in plain words: what capitals or a last mark mean in code, in formulas or in names is
-- lost. Nothing is lost within a text but blanks and the width of letters.
local json = require "unbusy.json"

local fold = {}

local byte, char, floor = string.byte, string.char, math.floor

-- A character of two or three bytes.
local CHARACTER = "[\194-\223][\128-\191]"
local WIDE = "[\224-\239][\128-\191][\128-\191]"

local function encoded(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
  return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
end

-- {== Capitals ============================================================

-- Capital -> small letter, of those that have two bytes: Latin with its signs, Greek, Cyrillic,
-- Armenian; and of those that have three: the rest of Latin, as in Vietnamese.
local small = {}

local function range(first, last, distance)
  for code = first, last do small[encoded(code)] = encoded(code + distance) end
end

-- Where capitals and small letters take turns.
local function turns(first, last)
  for code = first, last, 2 do small[encoded(code)] = encoded(code + 1) end
end

range(0xC0, 0xD6, 32) range(0xD8, 0xDE, 32)
turns(0x100, 0x12E) turns(0x132, 0x136) turns(0x139, 0x147) turns(0x14A, 0x176)
turns(0x179, 0x17D)
small[encoded(0x178)] = encoded(0xFF)
range(0x391, 0x3A1, 32) range(0x3A3, 0x3AB, 32)
small[encoded(0x386)], small[encoded(0x38C)] = encoded(0x3AC), encoded(0x3CC)
range(0x388, 0x38A, 37) range(0x38E, 0x38F, 63)
small[encoded(0x3C2)] = encoded(0x3C3) -- a sigma at the end of a word
range(0x400, 0x40F, 80) range(0x410, 0x42F, 32)
turns(0x460, 0x480) turns(0x48A, 0x4BE) turns(0x4C1, 0x4CD) turns(0x4D0, 0x52E)
range(0x531, 0x556, 48)
turns(0x1E00, 0x1E94) turns(0x1EA0, 0x1EFE)

--- Without capitals, in Latin, Greek, Cyrillic and Armenian letters.
---@param text string
---@return string
function fold.case(text)
  text = text:gsub("%u+", string.lower)
  if text:find "[\195-\213]" then text = text:gsub(CHARACTER, small) end
  if text:find "\225[\184-\187]" then text = text:gsub(WIDE, small) end
  return text
end

-- }========================================================================

-- {== Width and blanks ====================================================

-- U+FF01 to U+FF5E are ASCII in the width of a Chinese character; U+3000 is its blank.
local narrow = { ["\227\128\128"] = " " }
for code = 0xFF01, 0xFF5E do narrow[encoded(code)] = char(code - 0xFEE0) end

--- Without letters, digits and marks in the width of Chinese characters: "ＡＢ１２" is "AB12".
---@param text string
---@return string
function fold.width(text)
  if not text:find "[\227\239]" then return text end
  return (text:gsub(WIDE, narrow))
end

-- Blanks beyond ASCII: no-break, those of U+2000 and on, the one in the width of a Chinese
-- character; and what has no width at all.
local blanks = { ["\194\160"] = " ", ["\226\128\175"] = " ", ["\226\129\159"] = " ",
  ["\227\128\128"] = " ", ["\226\129\160"] = "", ["\239\187\191"] = "" }
for last = 0x80, 0x8A do blanks["\226\128" .. char(last)] = " " end
blanks["\226\128\139"] = ""

--- With one blank where there are several of any kind, and none at the ends.
---@param text string
---@return string
function fold.spaces(text)
  if text:find "[\194\226\227\239]" then
    text = text:gsub("\194\160", " "):gsub(WIDE, blanks)
  end
  text = text:gsub("%s+", " ")
  return text:match "^ ?(.-) ?$"
end

-- }========================================================================

-- {== Marks ===============================================================

-- Those that end a sentence, beyond ASCII: 。 … ！ ？ ， 、 ； ： ～ ؟ ، ؛ । ‽ ︒
local ends = {}
for mark in ("\227\128\130 \226\128\166 \239\188\129 \239\188\159 \239\188\140 \227\128\129 "
  .. "\239\188\155 \239\188\154 \239\189\158 \216\159 \216\140 \216\155 \224\165\164 "
  .. "\226\128\189 \239\184\146"):gmatch "%S+" do
  ends[mark] = true
end

-- The length of the mark that the text, as far as `last`, ends with; nil for none. 5! is a number.
local function mark_at(text, last)
  local c = byte(text, last)
  if text:find("^[%.!?,;:~]", last) and not text:find("^%d!", last - 1) then return 1 end
  if c < 0x80 then return nil end
  if last >= 3 and ends[text:sub(last - 2, last)] then return 3 end
  if last >= 2 and ends[text:sub(last - 1, last)] then return 2 end
end

--- Without the marks and blanks at its end ("?", "。", "!!", " ..."), and without those that open a
--- sentence in Spanish. Marks within the text stay, since they mean something there ("1.5", "a,b"),
--- and so does a text of nothing else.
---@param text string
---@return string
function fold.marks(text)
  local last = #text
  while last > 0 do
    local length = mark_at(text, last) or text:find("^%s", last) and 1
    if not length then break end
    last = last - length
  end
  local first = 1
  repeat
    local stop = text:match("^%s*\194[\161\191]%s*()", first)
    first = stop or first
  until not stop
  if first > last then return text end
  return text:sub(first, last)
end

-- }========================================================================

--- All of these.
---@param text string
---@return string
function fold.text(text)
  return fold.case(fold.marks(fold.spaces(fold.width(text))))
end

local function copy(t)
  local out = json.is_array(t) and json.array() or {}
  for k, v in next, t do out[k] = v end
  return out
end

-- What a user has said: a text, or parts of which some are texts.
local function folded_content(content)
  if type(content) == "string" then return fold.text(content) end
  if type(content) ~= "table" then return content end
  local out = copy(content)
  for i, part in ipairs(out) do
    if type(part) == "table" and part.type == "text" and type(part.text) == "string" then
      out[i] = copy(part)
      out[i].text = fold.text(part.text)
    end
  end
  return out
end

--- A request with the words of its user in one form: `messages` of the role `user`, or a `prompt`
--- that is a text. What the system, the assistant and tools say stays, and so does all else: files,
--- tools, the model. Of an embedding nothing changes: other letters have other numbers.
---@param request table it is not changed
---@return table request another one
function fold.question(request)
  local out = copy(request)
  if type(out.prompt) == "string" then out.prompt = fold.text(out.prompt) end
  if type(out.messages) ~= "table" then return out end
  out.messages = copy(out.messages)
  for i, message in ipairs(out.messages) do
    if type(message) == "table" and message.role == "user" then
      out.messages[i] = copy(message)
      out.messages[i].content = folded_content(message.content)
    end
  end
  return out
end

return fold
