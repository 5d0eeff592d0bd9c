-- annotations.lua: what the docstrings of lua/unbusy say, read and checked.
--
-- They are written for the Lua language server (LuaLS): `---@param`, `---@return`, `---@class` …
-- `read` gives a file's functions, classes and aliases; `faults` what is wrong with them.
local types = require "tools.types"

local annotations = {}

-- {== Reading =============================================================

local function lines_of(path)
  local out = {}
  for line in io.lines(path) do out[#out + 1] = line end
  return out
end

local tag_readers = {}

-- name[?] type[, more text]
function tag_readers.param(doc, rest, where)
  local name, more = rest:match "^(%.%.%.)%s+(.*)$"
  if not name then name, more = rest:match "^([%a_][%w_]*%??)%s+(.*)$" end
  if not name then return ("@param %s: a name and a type expected"):format(rest) end
  local kind, last = types.parse(more)
  if not kind then return ("@param %s: %s"):format(name, last) end
  doc.params[#doc.params + 1] = { name = name:gsub("%?$", ""), type = kind, line = where,
    written = more:sub(1, last - 1):match "^(.-)%s*$", text = more:sub(last) }
  doc.last = doc.params[#doc.params]
end

-- type [name] [, type [name] …] [text]
tag_readers["return"] = function(doc, rest, where)
  repeat
    local kind, last = types.parse(rest)
    if not kind then return "@return: " .. last end
    local name, after = rest:sub(last):match "^%s*([%a_][%w_]*)()"
    if not name and rest:find("^%s*%.%.%.", last) then name, after = "...", 1 end
    doc.returns[#doc.returns + 1] = { type = kind, name = name, line = where,
      written = rest:sub(1, last - 1):match "^(.-)%s*$" }
    doc.last = doc.returns[#doc.returns]
    rest = rest:sub(last + (after or 1) - 1)
    local more = rest:match "^%s*,%s*(.*)$"
    doc.last.text = more and "" or rest
    rest = more
  until not rest
end

-- name type [text]
function tag_readers.field(doc, rest, where)
  local name, more = rest:match "^([%a_][%w_]*%??)%s+(.*)$"
  if not name then name, more = rest:match "^(%[.-%])%s+(.*)$" end
  if not name then return ("@field %s: a name and a type expected"):format(rest) end
  local kind, last = types.parse(more)
  if not kind then return ("@field %s: %s"):format(name, last) end
  doc.fields[#doc.fields + 1] = { name = name, type = kind, line = where,
    written = more:sub(1, last - 1):match "^(.-)%s*$",
    text = doc.above and doc.above .. more:sub(last) or more:sub(last) }
  doc.last, doc.above = doc.fields[#doc.fields], nil
end

function tag_readers.class(doc, rest, where)
  local name, parents, text = rest:match "^([%w_.]+)%s*:%s*([%w_., ]-)%s*()$"
  if not name then name, text = rest:match "^([%w_.]+)%s*(.*)$" end
  doc.class = { name = name, parents = parents, text = parents and "" or text, line = where,
    fields = doc.fields }
  doc.last = doc.class
end

function tag_readers.alias(doc, rest, where)
  local name, more = rest:match "^([%w_.]+)%s*(.*)$"
  doc.alias = { name = name, type = {}, written = more, line = where }
  if more == "" then return end -- its choices follow, a line each
  local kind, last = types.parse(more)
  if not kind then return ("@alias %s: %s"):format(name, last) end
  doc.alias.type = kind
end

-- One choice of an alias: "| type".
local function read_choice(doc, rest)
  local kind, last = types.parse(rest)
  if not kind then return "@alias: " .. last end
  table.insert(doc.alias.type, kind)
  doc.alias.written = doc.alias.written .. "|" .. rest
end

function tag_readers.type(doc, rest)
  local kind, last = types.parse(rest)
  if not kind then return "@type: " .. last end
  doc.type = { type = kind, written = rest }
end

function tag_readers.package(doc) doc.inner = true end
function tag_readers.meta() end

local function new_doc() return { text = {}, params = {}, returns = {}, fields = {} } end

-- One line of a comment, into what was read so far.
local function read_comment(doc, line, number, faults)
  local tag, rest = line:match "^%-%-%-@(%w+)%s*(.*)$"
  local choice = doc.alias and line:match "^%-%-%-|%s*(.*)$"
  local wrong = choice and read_choice(doc, choice)
  if wrong then faults[#faults + 1] = { number, wrong } end
  if choice then return end
  if not tag then
    local text = line:match "^%-%-%-? ?(.*)$"
    if doc.class then -- of the field below
      doc.above = (doc.above and doc.above .. " " or "") .. text
    elseif doc.last then
      doc.last.text = doc.last.text .. "\n" .. text
    else
      doc.text[#doc.text + 1] = text
    end
    return
  end
  local reader = tag_readers[tag]
  local fault = not reader and ("there is no @" .. tag) or reader and reader(doc, rest, number)
  if fault then faults[#faults + 1] = { number, fault } end
end

local function names_in(list)
  local out = {}
  for name in list:gmatch "[%w_.]+" do out[#out + 1] = name end
  return out
end

-- "local function f(a)", "function m.f(a)", "m.f = function(a)": its name and parameters.
local function declared(line)
  local name, list = line:match "^function ([%w_.:]+)%((.-)%)"
  if not name then name, list = line:match "^local function ([%w_]+)%((.-)%)" end
  if not name then name, list = line:match "^([%w_.]+) = function%((.-)%)" end
  return name, list and names_in(list), line:find "^local " ~= nil
end

-- Does the function that begins at `first` end with a value?
local function gives(lines, first)
  if lines[first]:find " end$" then return lines[first]:find "return [^%s]" ~= nil end
  for i = first + 1, #lines do
    if lines[i]:find "^end" then return lines[i - 1]:find "^  return %S" ~= nil end
  end
  return false
end

local function finish(out, doc, line, number, lines)
  if doc.class then out.classes[#out.classes + 1] = doc.class end
  if doc.alias then out.aliases[#out.aliases + 1] = doc.alias end
  local name, list, is_local = declared(line)
  if name then
    doc.name, doc.declared, doc.is_local, doc.line = name, list, is_local, number
    doc.gives = gives(lines, number)
    out.functions[#out.functions + 1] = doc
    return
  end
  doc.value = line:match "^([%a_][%w_]*%.[%w_.]+) =" or line:match "^local ([%w_]+) ="
  if doc.value then out.values[#out.values + 1] = doc end
  if doc.class then doc.class.variable, doc.class.doc = line:match "^local ([%w_]+) =", doc.text end
end

--- What a file's docstrings say.
---@param path string
---@return table file functions, classes, aliases, values; text of its head; faults of its form
function annotations.read(path)
  local lines, doc = lines_of(path), nil
  local out = { path = path, functions = {}, classes = {}, aliases = {}, values = {}, faults = {} }
  for number, line in ipairs(lines) do
    if line:find "^%-%-%-" and not line:find "^%-%-%-%-" or doc and line:find "^%-%-" then
      doc = doc or new_doc()
      read_comment(doc, line, number, out.faults)
    else
      if doc then
        if not out.head and number <= #doc.text + 2 and not doc.class then out.head = doc.text end
        finish(out, doc, line, number, lines)
      elseif declared(line) then
        finish(out, new_doc(), line, number, lines)
      end
      doc = nil
    end
  end
  if doc then finish(out, doc, "", #lines + 1, lines) end
  out.returns = (lines[#lines] or ""):match "^return ([%w_]+)$"
  return out
end

-- }========================================================================

-- {== Checking ============================================================

--- The names of all classes and aliases.
---@param files table[] see `annotations.read`
---@return table<string, boolean>
function annotations.names(files)
  local out = {}
  for _, file in ipairs(files) do
    for _, class in ipairs(file.classes) do out[class.name] = true end
    for _, alias in ipairs(file.aliases) do out[alias.name] = true end
  end
  return out
end

local function check_types(list, known, told)
  for _, entry in ipairs(list) do
    for _, name in ipairs(types.names(entry.type)) do
      if not known[name] then told(entry.line, ("nobody knows the type '%s'"):format(name)) end
    end
  end
end

-- The parameters that are described are those that are there, in their order.
local function check_params(doc, told)
  local place = 0
  for _, param in ipairs(doc.params) do
    local found
    for i = place + 1, #doc.declared do
      if doc.declared[i] == param.name then found = i break end
    end
    if not found then
      told(param.line, ("%s has no parameter '%s' there"):format(doc.name, param.name))
    end
    place = found or place
  end
end

-- Of a public function all is told.
local function check_coverage(doc, told)
  local described = {}
  for _, param in ipairs(doc.params) do described[param.name] = true end
  if not (doc.text[1] or ""):find "%S" then told(doc.line, doc.name .. " is not described") end
  for _, name in ipairs(doc.declared) do
    if name ~= "_" and not described[name] then
      told(doc.line, ("%s: parameter '%s' has no @param"):format(doc.name, name))
    end
  end
  if doc.gives and #doc.returns == 0 then told(doc.line, doc.name .. " has no @return") end
end

--- Is the function one that a module's users call? One of what the file returns, and not marked
--- `@package`.
---@param file table see `annotations.read`
---@param doc table one of `file.functions`
---@return boolean
function annotations.is_public(file, doc)
  return not doc.is_local and not doc.inner and doc.name:match "^[%w_]+" == file.returns
    and not doc.name:find "[.:]__"
end

--- What is wrong with the annotations of files: `told(path, line, message)` is called for each.
---@param files table[] see `annotations.read`
---@param public table<string, boolean> paths of which all is told
---@param told fun(path: string, line: integer, message: string)
function annotations.check(files, public, told)
  local known = annotations.names(files)
  for _, file in ipairs(files) do
    local function here(line, message) told(file.path, line, message) end
    for _, fault in ipairs(file.faults) do here(fault[1], fault[2]) end
    for _, class in ipairs(file.classes) do check_types(class.fields, known, here) end
    check_types(file.aliases, known, here)
    for _, doc in ipairs(file.functions) do
      check_types(doc.params, known, here)
      check_types(doc.returns, known, here)
      check_params(doc, here)
      if public[file.path] and annotations.is_public(file, doc) then check_coverage(doc, here) end
    end
  end
end

-- }========================================================================

return annotations
