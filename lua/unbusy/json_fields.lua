--- Changes members of a JSON object in its text: all other bytes stay as they are.
--
--     local json_fields = require "unbusy.json_fields"
--     json_fields.splice('{ "n": 1.0, "model":"a" }', { model = '"b"' })
--     -- { "n": 1.0, "model":"b" }
--
-- Decoding and encoding would lose what Lua's values do not show: 1.0 and 1e2, whole numbers beyond
-- 2^53, escapes, the order of the members, blanks. The text is looked through once in C, and is to
-- be JSON as RFC 8259 has it, nested no deeper than 128.
local core = require "unbusy.core"
local json = require "unbusy.json"

local json_fields = {}

local MOST_NAMES = 32

--- Finds members of the object that `text` is.
---@param text string
---@param names string[] at most 32
---@return table? fields name -> { first =, last = places of its value, as string.sub has them;
--- name = place of its name's quote, before = the last byte of what is before it, next = place of
--- the next member's name or of the "}", times = how often the name comes (then the places are
--- those of the last one) }
---@return integer|string last the last byte of the last member, or the "{"; or a message
---@return integer|string members how many there are; or "invalid"
function json_fields.find(text, names)
  return core.json_fields(text, names)
end

--- Does none of these members come twice in the object that `text` is? Without making any tables.
---@param text string
---@param names string[] at most 32
---@return boolean? once nil: it is no JSON object
function json_fields.once(text, names)
  return core.json_once(text, names)
end

--- How many members all objects in the text have, those within each other too. Nil: it is no JSON
--- object.
---@param text string
---@return integer?
function json_fields.members(text)
  return core.json_members(text)
end

-- The names of `edits`, and those of `once` that are not among them.
local function names_of(edits, once)
  local names = {}
  for name in next, edits do names[#names + 1] = name end
  for i = 1, once and #once or 0 do
    if edits[once[i]] == nil then names[#names + 1] = once[i] end
  end
  return names
end

-- The text without the member; one of its two commas goes too.
local function without(text, name)
  local f = json_fields.find(text, { name })[name]
  local first, last = f.name, f.next - 1
  if text:byte(f.next) == 125 then first, last = f.before + 1, f.last end -- "}": it is the last one
  return text:sub(1, first - 1) .. text:sub(last + 1)
end

local function by_place(a, b) return a.first < b.first end

-- The fields whose values become others, in order, each with its new `text`; and the new members as
-- they are written.
local function changes(edits, fields)
  local list, added = {}, {}
  for name, text in next, edits do
    local f = fields[name]
    if text and f then
      f.text = text
      list[#list + 1] = f
    elseif text then
      added[#added + 1] = json.encode(name) .. ":" .. text
    end
  end
  if list[2] then table.sort(list, by_place) end
  if added[2] then table.sort(added) end
  return list, added
end

-- The text with other values, and with new members behind its last one.
local function applied(text, list, added, last, members)
  if not list[1] and not added[1] then return text end
  local out, from = {}, 1
  for _, f in ipairs(list) do
    out[#out + 1] = text:sub(from, f.first - 1)
    out[#out + 1] = f.text
    from = f.last + 1
  end
  if added[1] then
    out[#out + 1] = text:sub(from, last)
    if members > 0 then out[#out + 1] = "," end
    out[#out + 1] = table.concat(added, ",")
    from = last + 1
  end
  out[#out + 1] = text:sub(from)
  return table.concat(out)
end

--- The text with other members. Nil where its bytes cannot simply be changed: it is no JSON object,
--- or one of the names comes twice (who reads it may take the first or the last).
---@param text string
---@param edits table<string, string|false> name -> its value in JSON; false takes it away
---@param once string[]? other names that must not come twice either
---@return string? text, string? message, "invalid"? code
function json_fields.splice(text, edits, once)
  local names = names_of(edits, once)
  if #names > MOST_NAMES then return nil, "json_fields: more than 32 names", "invalid" end
  local fields, last, members = json_fields.find(text, names)
  if not fields then return nil, last, members end
  for _, f in next, fields do
    if f.times > 1 then return nil, "json_fields: a name that comes twice", "invalid" end
  end
  local list, added = changes(edits, fields)
  local out = applied(text, list, added, last, members)
  for name, change in next, edits do
    if not change and fields[name] then out = without(out, name) end
  end
  return out
end

return json_fields
