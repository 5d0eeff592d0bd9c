-- api.lua: the public docstrings, as LDoc reads them.
--
--   lua5.4 tools/api.lua FOLDER   writes FOLDER/config.ld and FOLDER/src, of which LDoc makes pages
--
-- Ours are written for the Lua language server, whose tags LDoc does not know: each module becomes
-- a file of LDoc's own comments. `make docs` runs both.
local annotations = require "tools.annotations"
local public = require "tools.public"

local api = {}

-- {== Text ================================================================

local function escaped(text)
  return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"):gsub("@", "&#64;"))
end

local function inline(text)
  return (escaped(text):gsub("`([^`]+)`", "<code>%1</code>"))
end

local opens = { p = "<p>", ul = "<ul>", pre = "<pre>" }
local closes = { p = "</p>", ul = "</ul>", pre = "</pre>" }

-- What kind of thing a docstring's line belongs to, after one of `kind`; and its own text.
local function kind_of(line, kind)
  local item, code = line:match "^%- (.*)$", line:match "^%s%s%s%s(.*)$"
  if not line:find "%S" then return kind == "pre" and kind or nil, "" end
  if item then return "ul", item, true end
  if code and kind ~= "ul" then return "pre", code end
  return kind == "ul" and kind or "p", line
end

-- A docstring's lines as HTML: paragraphs, lists ("- …"), and code, which is indented by four.
local function html(lines)
  local out, held, kind = {}, {}, nil
  local function flush() -- a paragraph, or an item of a list
    local text = inline(table.concat(held, " "))
    if held[1] then out[#out + 1] = kind == "ul" and "<li>" .. text .. "</li>" or text end
    held = {}
  end
  for _, line in ipairs(lines) do
    local next_kind, text, begins = kind_of(line, kind)
    if next_kind ~= kind or begins then flush() end
    if next_kind ~= kind then
      out[#out + 1], kind = (closes[kind] or "") .. (opens[next_kind] or ""), next_kind
    end
    if kind == "pre" then out[#out + 1] = escaped(text) elseif kind then held[#held + 1] = text end
  end
  flush()
  out[#out + 1] = closes[kind]
  return out
end

-- The first paragraph and what follows it.
local function parted(lines)
  local first, rest = {}, {}
  for _, line in ipairs(lines) do
    local into = (#rest > 0 or not line:find "%S" and #first > 0) and rest or first
    into[#into + 1] = line
  end
  return table.concat(first, " "):match "^%s*(.-)%s*$", rest
end

-- }========================================================================

-- {== LDoc's comments =====================================================

local function comment(out, text, tags)
  local first, rest = parted(text)
  out[#out + 1] = "--- " .. inline(first)
  for _, line in ipairs(html(rest)) do out[#out + 1] = "--" .. line end
  for _, tag in ipairs(tags) do out[#out + 1] = "-- " .. tag end
  out[#out + 1] = ""
end

-- Where the classes are: name -> page.
local places = {}

-- A type, with links to the classes that it names. (LDoc's own notation of types knows no "?".)
local function type_text(written)
  return "<code>" .. escaped(written):gsub("[%a_][%w_.]*[%w_]", function(name)
    return places[name] and ('<a href="%s">%s</a>'):format(places[name], name)
  end) .. "</code>"
end

local function one_line(text)
  return inline((text or ""):gsub("\n", " "):gsub("%s+", " "):match "^%s*(.-)%s*$")
end

local function function_tags(doc, name)
  local tags = { "@function " .. name }
  for _, param in ipairs(doc.params) do
    tags[#tags + 1] = ("@param%s %s %s %s"):format(param.written:find "%?$" and "[opt]" or "",
      param.name, type_text((param.written:gsub("%?$", ""))), one_line(param.text))
  end
  for _, given in ipairs(doc.returns) do
    tags[#tags + 1] = ("@return %s <em>%s</em> %s"):format(type_text(given.written),
      given.name or "", one_line(given.text))
  end
  return tags
end

local function add_function(out, doc, name)
  comment(out, doc.text[1] and doc.text or { "See `new`." }, function_tags(doc, name))
end

local function add_value(out, doc, name)
  local written = doc.type and doc.type.written
  local text = { table.unpack(doc.text) }
  if written then text[#text + 1], text[#text + 2] = "", "    " .. written end
  local kind = (written or ""):find "^fun%(" and "@function " or "@field "
  comment(out, text, { kind .. name })
end

-- }========================================================================

-- {== Modules =============================================================

local function path_of(module)
  local path = "lua/" .. module:gsub("%.", "/")
  local file = io.open(path .. ".lua")
  if file then file:close() end
  return file and path .. ".lua" or path .. "/init.lua"
end

-- A module's methods: its own, or those of a part, which are C's and described in the meta files.
local function methods_of(file, part, metas)
  local out = {}
  for _, doc in ipairs(file.functions) do
    if annotations.is_public(file, doc) and doc.name:find ":" then out[#out + 1] = doc end
  end
  for _, meta in ipairs(part and metas or {}) do
    for _, doc in ipairs(meta.functions) do
      if doc.name:find("^" .. part .. ":") then out[#out + 1] = doc end
    end
  end
  return out
end

local function module_text(name, metas)
  local file, out = annotations.read(path_of(name)), {}
  comment(out, file.head or {}, { "@module " .. name })
  for _, doc in ipairs(file.values) do
    local own = doc.value:match "%.([%w_]+)$"
    if own and doc.value:find("^" .. file.returns .. "%.") then add_value(out, doc, own) end
  end
  for _, doc in ipairs(file.functions) do
    if annotations.is_public(file, doc) and not doc.name:find ":" then
      add_function(out, doc, doc.name:match "[%w_]+$")
    end
  end
  local methods = methods_of(file, name:match "^unbusy%.([%w_]+)$", metas)
  if methods[1] then comment(out, { "" }, { "@type " .. methods[1].name:match "^[%w_]+" }) end
  for _, doc in ipairs(methods) do add_function(out, doc, doc.name:match "[%w_]+$") end
  return table.concat(out, "\n")
end

local function class_tags(class)
  local tags = { "@table " .. class.name }
  for _, field in ipairs(class.fields) do
    local name, optional = field.name:match "^([%w_]+)(%??)$"
    tags[#tags + 1] = ("@field %s %s %s"):format(name or "…", type_text(field.written ..
      (optional or "")), one_line(field.text))
  end
  return tags
end

local function types_text(name, about, paths)
  local out = {}
  comment(out, { about }, { "@module " .. name })
  for _, path in ipairs(paths) do
    for _, class in ipairs(annotations.read(path).classes) do
      if #class.fields > 0 then
        local doc = class.doc and class.doc[1] and class.doc or { "Fields." }
        comment(out, doc, class_tags(class))
      end
    end
  end
  return table.concat(out, "\n")
end

-- }========================================================================

local META = "lua/unbusy/%s.meta.lua"
local OPTIONS = { "options_client", "options_targets", "options_calls", "options_parts" }

local function note_places(page, paths)
  for _, path in ipairs(paths) do
    for _, class in ipairs(annotations.read(path).classes) do
      places[class.name] = #class.fields > 0 and page .. "#" .. class.name or nil
    end
  end
end

-- Pages of modules, and of the classes that belong to one.
local function note_all(options)
  note_places("types.html", { META:format "types" })
  note_places("options.html", options)
  for _, name in ipairs(public) do
    local page, part = name .. ".html", name:match "[%w_]+$"
    places[name], places["unbusy.core." .. part] = page, page
  end
end

--- The files, each with its text.
---@return table<string, string>
function api.files()
  local metas, out = {}, {}
  for i, name in ipairs { "core", "core_parts", "core_cache" } do
    metas[i] = annotations.read(META:format(name))
  end
  local options = {}
  for i, name in ipairs(OPTIONS) do options[i] = META:format(name) end
  note_all(options)
  for _, name in ipairs(public) do
    out["src/" .. name .. ".lua"] = module_text(name, metas)
  end
  out["src/types.lua"] = types_text("types", "What calls give.", { META:format "types" })
  out["src/options.lua"] = types_text("options", "The options of clients, calls, parts.", options)
  out["config.ld"] = ([[
project = "unbusy"
title = "unbusy %s"
description = "Keeps an application answering when its LLM API says \"server busy\"."
full_description = "What users call. The README and docs/ say how to use it."
file = { "src" }
format = "plain"
style = "!pale"
sort_modules = false
no_space_before_args = true
dir = "."
]]):format(require "unbusy.version")
  return out
end

if ... ~= "tools.api" then -- run, not required
  local folder = assert(..., "api.lua: a folder?")
  assert(os.execute(("mkdir -p '%s/src'"):format(folder)))
  for path, text in pairs(api.files()) do
    local file = assert(io.open(folder .. "/" .. path, "wb"))
    file:write(text)
    file:close()
  end
end

return api
