--- The arguments of a command are data, as a module's options are.
--
--     { name = "chat", summary = "asks a question", usage = "[options] [QUESTION]", most = 1,
--       options = { { name = "deadline", value = "SECONDS", type = "number", doc = "…" }, … },
--       sections = function() return { { "Examples", "  …" } } end }
--
-- An option without `value` is a flag; the other fields of an option are those of `unbusy.options`,
-- which checks it; one with `many` may be given several times, and its value is the list. `most`
-- words, which `expects` describes, may stand beside the options.
local options = require "unbusy.options"

local arguments = {}

local WIDTH = 80    -- columns of a help page
local MOST_ECHO = 32 -- a longer word may be a question or a key: it is not repeated in a message

--- Every command has this one.
arguments.help = { name = "help", short = "h", doc = "this page" }

local function by_name(command)
  local known, names = {}, {}
  local function add(option)
    known["--" .. option.name] = option
    if option.short then known["-" .. option.short] = option end
    names[#names + 1] = option.name
  end
  for _, option in ipairs(command.options) do add(option) end
  add(arguments.help)
  return known, names
end

-- {== Reading =============================================================

--- Whether a word may be shown in a message.
function arguments.is_showable(word)
  return #word <= MOST_ECHO and word:find "^[%w_-]+$" ~= nil
end

local function unknown(word, names)
  if not arguments.is_showable(word) then
    return "an argument begins with '-' and is no option (a question that does goes after --)"
  end
  local near = options.nearest(word:gsub("^%-+", ""), names)
  local hint = near and (", did you mean '--%s'?"):format(near) or ""
  return ("unknown option '%s'%s"):format(word, hint)
end

-- The text of an option's value, converted and checked.
local function convert(option, text)
  local where = "--" .. option.name
  local value = text
  if option.type == "number" or option.type == "whole" then
    value = text:find "^%-?%d*%.?%d+$" and tonumber(text)
    if not value then return nil, where .. ": a number expected" end
  elseif text == "" then
    return nil, where .. ": a value expected"
  end
  return options.field(option, value, where)
end

-- A value is what follows "=", or the next word; a next word that looks like an option is none.
local function value_of(option, inline, argv, i)
  if inline then return inline, i end
  local text = argv[i + 1]
  local label = ("--%s: %s expected"):format(option.name, option.value)
  if not text then return nil, label end
  if text:find "^%-%-" then
    return nil, ("%s (one that begins with -- is written --%s=…)"):format(label, option.name)
  end
  return text, i + 1
end

local function read_option(values, known, names, argv, i)
  local word, inline = argv[i]:match "^(%-%-[^=]*)=(.*)$"
  word = word or argv[i]
  local option = known[word]
  if not option then return nil, unknown(word, names) end
  local key = option.name:gsub("-", "_")
  if not option.value then
    if inline then return nil, ("--%s takes no value"):format(option.name) end
    values[key] = true
    return i
  end
  local text, last = value_of(option, inline, argv, i)
  if not text then return nil, last end
  local value, message = convert(option, text)
  if message then return nil, message end
  if option.many then
    values[key] = values[key] or {}
    table.insert(values[key], value)
  else
    values[key] = value
  end
  return last
end

--- Reads a command's arguments from `argv[first]` on; of an option given twice the last counts.
---@param command table
---@param argv string[]
---@param first integer
---@return table? values by option name ("-" as "_"), the words that are no options as its list part
---@return string? message
function arguments.parse(command, argv, first)
  local known, names = by_name(command)
  local values, i, plain = {}, first, false
  while i <= #argv do
    local word = argv[i]
    if plain or word == "-" or word:sub(1, 1) ~= "-" then
      values[#values + 1] = word
    elseif word == "--" then
      plain = true
    else
      local last, message = read_option(values, known, names, argv, i)
      if not last then return nil, message end
      i = last
    end
    i = i + 1
  end
  if #values > command.most then
    return nil, ("%s expected, got %d words: put it in quotes"):format(command.expects, #values)
  end
  return values
end

-- }========================================================================

-- {== Help ================================================================

--- Breaks a text into lines of at most WIDTH columns, all but the first indented.
---@param text string
---@param indent integer columns
---@return string
function arguments.wrap(text, indent)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and indent + #line + 1 + #word > WIDTH then
      lines[#lines + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. (" "):rep(indent))
end

--- Rows of { left, right } as two columns.
---@param rows string[][]
---@return string
function arguments.columns(rows)
  local width, out = 0, {}
  for _, row in ipairs(rows) do width = math.max(width, #row[1]) end
  for i, row in ipairs(rows) do
    local right = arguments.wrap(row[2], width + 4)
    out[i] = ("  %s%s  %s"):format(row[1], (" "):rep(width - #row[1]), right)
  end
  return table.concat(out, "\n")
end

local function row_of(option)
  local label = (option.short and "-%s, " or ""):format(option.short) .. "--" .. option.name
  if option.value then label = label .. " " .. option.value end
  local default = option.default and (" (default %s)"):format(option.default) or ""
  return { label, option.doc .. default }
end

--- Sections of { title, text } as one page.
function arguments.page(sections)
  local out = {}
  for i, section in ipairs(sections) do out[i] = section[1] .. "\n" .. section[2] end
  return table.concat(out, "\n\n") .. "\n"
end

--- The options of a command as two columns.
---@param command table
---@return string
function arguments.options(command)
  local rows = {}
  for i, option in ipairs(command.options) do rows[i] = row_of(option) end
  rows[#rows + 1] = row_of(arguments.help)
  return arguments.columns(rows)
end

--- The help page of a command.
---@param command table
---@return string
function arguments.manual(command)
  local sections = {
    { ("unbusy %s %s"):format(command.name, command.usage), arguments.wrap(command.about, 0) },
    { "Options:", arguments.options(command) },
  }
  for _, section in ipairs(command.sections()) do sections[#sections + 1] = section end
  return arguments.page(sections)
end

-- }========================================================================

return arguments
