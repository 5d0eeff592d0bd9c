--- Texts with places for what is known of a failure.
--
--     local t = template.compile "忙:{code}, try again in {retry_after|a few} s"
--     template.render(t, { code = "busy", retry_after = 12.3 })  --> 忙:busy, try again in 13 s
--
-- `{{` is a brace. So is one before anything but a letter: JSON stays what it is.
local json = require "unbusy.json"
local options = require "unbusy.options"

local template = {}

local MOST = 1000  -- places in one text
local LONG = 2000  -- bytes of a fact that are shown

-- {== Facts ===============================================================

local function whole(n)
  return ("%.0f"):format(n)
end

-- A wait is told as a whole number of seconds, and never as less than it is.
local function seconds(n)
  return whole(math.min(math.max(1, math.ceil(n)), 1e9))
end

-- How a number is shown; other facts are texts.
local shown = { status = whole, tries = whole, retry_after = seconds }

-- What stands for a fact that is not there.
local missing = { code = "busy", message = "no answer", status = "no status",
  target = "the service", retry_after = "a few", tries = "0", model = "the model" }

template.names = {}
for name in pairs(missing) do template.names[#template.names + 1] = name end
table.sort(template.names)

local function is_number(v)
  return type(v) == "number" and v - v == 0
end

local function clean(text)
  if #text > LONG then text = text:sub(1, LONG):gsub("[\192-\255][\128-\191]*$", "") .. "…" end
  return json.is_utf8(text) and text or (text:gsub("[\128-\255]+", "?"))
end

-- The text of a fact; `default` where there is none.
local function text_of(facts, name, default)
  local value = facts[name]
  if shown[name] then return is_number(value) and shown[name](value) or default end
  return type(value) == "string" and value ~= "" and clean(value) or default
end

-- }========================================================================

local function unknown(word, discreet)
  local near = options.nearest(word, template.names)
  return ("unknown placeholder%s%s"):format(discreet and "" or (" '{%s}'"):format(word:sub(1, 64)),
    near and (", did you mean '{%s}'?"):format(near) or "")
end

-- The place that begins at `at`, and where the text goes on; nil and what is wrong.
local function read_place(text, at, discreet)
  local name, mark, after = text:match("^{%s*([%a_][%w_]*)%s*([|}])()", at)
  if not name then
    local shown_text = discreet and "a brace before a letter" or
      ("'%s…'"):format(clean(text:sub(at, at + 15)))
    return nil, shown_text .. " is no placeholder; write '{{' for a brace"
  end
  if not missing[name] then return nil, unknown(name, discreet) end
  if mark == "}" then return { name = name, default = missing[name] }, after end
  local default, stop = text:match("^([^{}]*)}()", after)
  if not default then return nil, ("'{%s|': its closing brace is missing"):format(name) end
  return { name = name, default = default }, stop
end

-- Is there a place at this brace? A letter behind it says so, and blanks before a known form.
local function is_place(text, at)
  return text:find("^[%a_]", at + 1) or text:find("^%s+[%a_][%w_]*%s*[|}]", at + 1)
end

--- Reads a text.
---@param text string
---@param discreet boolean? no word of the text is told
---@return table? parts strings and { name =, default = }; string? message what is wrong with it
function template.compile(text, discreet)
  local parts, places, from = {}, 0, 1
  local function add(part)
    if part ~= "" then parts[#parts + 1] = part end
  end
  local at = text:find("{", 1, true)
  while at do
    if text:byte(at + 1) == 123 then -- {{
      add(text:sub(from, at))
      from = at + 2
    elseif is_place(text, at) then
      local place, after = read_place(text, at, discreet)
      if not place then return nil, after end
      places = places + 1
      if places > MOST then return nil, ("more than %d placeholders"):format(MOST) end
      add(text:sub(from, at - 1))
      add(place)
      from = after
    end
    at = text:find("{", math.max(from, at + 1), true)
  end
  add(text:sub(from))
  return parts
end

--- Fills it in.
---@param parts table
---@param facts table by name: texts; status, tries and retry_after (seconds) are numbers
---@return string
function template.render(parts, facts)
  local out = {}
  for i, part in ipairs(parts) do
    out[i] = type(part) == "string" and part or text_of(facts, part.name, part.default)
  end
  return table.concat(out)
end

return template
