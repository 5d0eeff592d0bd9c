--- In which language a caller is to be told something.
--
-- Languages are tags of BCP 47 ("zh", "pt-BR"). They come from the call, or from the header
-- `accept-language`, or are guessed from the script of the last thing that the user wrote.
local answers = require "unbusy.providers.answers"

local language = {}

local LONGEST = 64    -- bytes of a tag
local HEADER = 1000   -- bytes of a header that are read
local MOST = 16       -- tags of one

--- Is it a language tag, by its form?
---@param tag any
function language.is_tag(tag)
  if type(tag) ~= "string" or #tag > LONGEST or not (tag .. "-"):find "^%a+%-" then return false end
  for part in (tag .. "-"):gmatch "([^-]*)-" do
    if #part > 8 or not part:find "^%w+$" then return false end
  end
  return true
end

--- What is wrong with a tag, or a list of them; nil when nothing is.
---@param given any
---@return string?
function language.fault(given)
  for _, tag in ipairs(type(given) == "table" and given or { given }) do
    if not language.is_tag(tag) then return "a language tag expected, or a list of them" end
  end
end

-- {== accept-language =====================================================

-- The weight of an item (RFC 9110, 12.4.2): 1 where it says nothing, nil where it is none.
local function weight_of(parameters)
  if not parameters:find "%S" then return 1 end
  local q = tonumber(parameters:match "^%s*;%s*[qQ]%s*=%s*(%d%.?%d*)%s*$")
  return q and q <= 1 and q or nil
end

local function heavier(a, b)
  if a.weight ~= b.weight then return a.weight > b.weight end
  return a.order < b.order
end

--- The tags of an `accept-language`, the best first. What cannot be read is left out, and so is
--- `*`, which says nothing.
---@param header string|string[]|nil
---@return string[]? tags nil where there are none
function language.accepted(header)
  if type(header) == "table" then header = table.concat(header, ",") end
  if not header then return nil end
  local items, tags = {}, {}
  for tag, parameters in header:sub(1, HEADER):gmatch "%s*([%w-]+)%s*([^,]*)" do
    local weight = #items < MOST and language.is_tag(tag) and weight_of(parameters)
    if weight and weight > 0 then
      items[#items + 1] = { tag = tag, weight = weight, order = #items }
    end
  end
  table.sort(items, heavier)
  for i, item in ipairs(items) do tags[i] = item.tag end
  return tags[1] and tags or nil
end

-- }========================================================================

-- {== Choosing ============================================================

-- The value under `tag`, or under the first longer tag that begins with it.
local function under(map, tag)
  if map[tag] ~= nil then return map[tag] end
  local best
  for name in pairs(map) do
    if name:sub(1, #tag + 1) == tag .. "-" and (not best or name < best) then best = name end
  end
  if best then return map[best] end
end

-- Lookup of RFC 4647, 3.4: a tag loses its last part until something has it.
local function look_up(map, tag)
  while tag do
    local found = under(map, tag)
    if found ~= nil then return found end
    tag = tag:match "^(.*)%-[^-]*$"
    if tag then tag = tag:gsub("%-%w$", "") end -- a singleton alone says nothing
  end
end

--- What `map` has for the first of `tags` that it knows; else its `default`, else what it has for
--- "en", else nil.
---@param map table lower-case tag -> anything but nil
---@param tags string[] the best first
function language.pick(map, tags)
  for _, tag in ipairs(tags) do
    local found = look_up(map, tag:lower())
    if found ~= nil then return found end
  end
  if map.default ~= nil then return map.default end
  return under(map, "en")
end

-- }========================================================================

-- {== Guessing ============================================================

local SAMPLE = 2048 -- bytes that are looked at, at each end of a text

-- First and last code point, and the script: a language's tag, or what is weighed besides.
local ranges = {
  { 0x41, 0x5A, "latin" }, { 0x61, 0x7A, "latin" }, { 0xC0, 0x24F, "latin" },
  { 0x370, 0x3FF, "el" }, { 0x400, 0x52F, "ru" }, { 0x590, 0x5FF, "he" }, { 0x600, 0x6FF, "ar" },
  { 0x750, 0x77F, "ar" }, { 0x900, 0x97F, "hi" }, { 0xE00, 0xE7F, "th" }, { 0x1100, 0x11FF, "ko" },
  { 0x3041, 0x30FF, "kana" }, { 0x3131, 0x318E, "ko" }, { 0x31F0, 0x31FF, "kana" },
  { 0x3400, 0x4DBF, "zh" }, { 0x4E00, 0x9FFF, "zh" }, { 0xAC00, 0xD7A3, "ko" },
  { 0xF900, 0xFAFF, "zh" }, { 0xFB50, 0xFDFF, "ar" }, { 0xFE70, 0xFEFC, "ar" },
  { 0xFF66, 0xFF9F, "kana" }, { 0x20000, 0x323AF, "zh" },
}

local function script_of(code)
  local low, high = 1, #ranges
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local range = ranges[middle]
    if code < range[1] then high = middle - 1
    elseif code > range[2] then low = middle + 1
    else return range[3] end
  end
end

-- The number of a character; of bytes that are none, some other number.
local function code_of(character)
  local lead = character:byte()
  if lead < 0x80 then return lead end
  local code = lead < 0xE0 and lead - 0xC0 or lead < 0xF0 and lead - 0xE0 or lead - 0xF0
  for i = 2, #character do code = code * 64 + character:byte(i) - 0x80 end
  return code
end

-- How many characters of each script there are; of Latin, how many words.
local function counts_of(text)
  local counts, in_word = { zh = 0, kana = 0, latin = 0 }, false
  for character in text:gmatch "[%z\1-\127\192-\247][\128-\191]*" do
    local script = script_of(code_of(character))
    if script and not (script == "latin" and in_word) then
      counts[script] = (counts[script] or 0) + 1
    end
    in_word = script == "latin"
  end
  return counts
end

-- The language of a text by its script; nil for Latin letters, which many share, and for none.
local function of_text(text)
  if #text > 2 * SAMPLE then text = text:sub(1, SAMPLE) .. " " .. text:sub(-SAMPLE) end
  local counts = counts_of(text)
  local east = counts.zh + counts.kana
  counts.zh, counts.ja = counts.zh, 0
  if counts.kana * 10 >= east then counts.ja, counts.zh = east, 0 end -- kanji and kana
  local most, best = 0, nil
  for tag, count in pairs(counts) do
    local wins = count == most and best and tag < best
    if tag ~= "latin" and tag ~= "kana" and (count > most or wins) then most, best = count, tag end
  end
  return most > 0 and most >= counts.latin and best or nil
end

-- The last message of the user; of the Responses API, `input_text` parts are its text.
local function last_of_user(list)
  for i = #list, 1, -1 do
    local message = list[i]
    if type(message) == "table" and message.role == "user" then return message.content end
  end
end

local function text_of(content)
  if type(content) ~= "table" then return type(content) == "string" and content or nil end
  local out = {}
  for _, part in ipairs(content) do
    local is_text = type(part) == "table" and part.type == "input_text"
    if is_text and type(part.text) == "string" then out[#out + 1] = part.text end
  end
  return out[1] and table.concat(out) or answers.text_of(content)
end

--- The language that a request seems to be written in: zh, ja, ko, ru, ar, he, el, hi or th, by the
--- script of what the user wrote last; nil where that does not tell, as with Latin letters.
---@param request any
---@return string?
function language.guess(request)
  if type(request) ~= "table" then return nil end
  local text = request.prompt
  if type(request.messages) == "table" then
    text = last_of_user(request.messages)
  elseif type(request.input) == "table" then
    text = last_of_user(request.input)
  elseif request.input ~= nil then
    text = request.input
  end
  text = text_of(text)
  return text and of_text(text)
end

-- }========================================================================

return language
