-- check.lua: the rules of the house that a script can see. Run from the top: lua5.4 tools/check.lua
--
--   layers       base <- parts <- engine <- redis <- lua; lua.h, curl, hiredis, sockets only where
--                they belong
--   lengths      lines, functions, files
--   names        a part has its C, binding, Lua face and spec
--   version      it is the same wherever it has to be written
--   docs         every option of a schema stands in the reference; public functions have
--                docstrings, all of them of what users call; types are known; links lead
--                somewhere

local annotations = require "tools.annotations"

local faults = 0

local function fault(...)
  faults = faults + 1
  print(("check: " .. ...):format(select(2, ...)))
end

local function list(command)
  local out, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do out[#out + 1] = line end
  pipe:close()
  return out
end

local function lines_of(path)
  local out = {}
  for line in io.lines(path) do out[#out + 1] = line end
  return out
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local c_files = list "find csrc -name '*.[ch]' | sort"
local lua_files =
  list "find lua spec tools bench claims examples bin -name '*.lua' 2>/dev/null | sort"

-- {== Lengths =============================================================

local MOST_COLUMNS, MOST_LINES, MOST_HEADER, MOST_FUNCTION = 100, 600, 120, 60

local function columns(line)
  return utf8.len(line) or #line
end

local function check_lines(path, lines)
  for i, line in ipairs(lines) do
    if columns(line) > MOST_COLUMNS then fault("%s:%d: %d columns", path, i, columns(line)) end
    if line:find "%s$" then fault("%s:%d: blanks at the end", path, i) end
    if line:find "\t" and not path:find "Makefile" then fault("%s:%d: a tab", path, i) end
  end
  local most = path:find "%.h$" and MOST_HEADER or MOST_LINES
  if #lines > most then fault("%s: %d lines, more than %d", path, #lines, most) end
end

local function check_functions(path, lines, opens, closes)
  local start
  for i, line in ipairs(lines) do
    if not start and opens(line) then start = i end
    if start and line:find(closes) then
      if i - start + 1 > MOST_FUNCTION then
        fault("%s:%d: a function of %d lines", path, start, i - start + 1)
      end
      start = nil
    end
  end
end

local function opens_c(line) return line:find "^[%a_].*%) {$" end
local function opens_lua(line)
  if line:find " end$" then return false end -- all of it stands on one line
  return line:find "^local function" or line:find "^function" or line:find "^return function"
end

for _, path in ipairs(c_files) do
  local lines = lines_of(path)
  check_lines(path, lines)
  check_functions(path, lines, opens_c, "^}")
end
for _, path in ipairs(lua_files) do
  local lines = lines_of(path)
  check_lines(path, lines)
  check_functions(path, lines, opens_lua, "^end")
end

-- }========================================================================

-- {== Layers ==============================================================

local rank = { base = 1, parts = 2, engine = 3, redis = 4, lua = 5 }

-- The only places outside of csrc/engine for what it alone may include otherwise: the lock of
-- shared memory, which is no thread's, and the socket by which its processes wake each other.
local excepted = {
  ["csrc/base/lock.c"] = "pthread.h",
  ["csrc/base/wake.c"] = "sys/socket.h",
}

-- Of csrc/redis, which has a connection, and a thread that looks up its name.
local of_redis = { ["sys/epoll.h"] = true, ["pthread.h"] = true }

for _, path in ipairs(c_files) do
  local layer = path:match "^csrc/(%a+)/"
  for i, line in ipairs(lines_of(path)) do
    local other = line:match '#include "(%a+)/'
    if other and rank[other] > rank[layer] then
      fault("%s:%d: %s uses %s", path, i, layer, other)
    end
    local system = line:match "#include <(.-)>"
    if system then
      if (system == "lua.h" or system == "lauxlib.h") and layer ~= "lua" then
        fault("%s:%d: Lua outside of csrc/lua", path, i)
      elseif (system:find "^curl/" or system:find "socket" or system == "pthread.h"
          or system == "sys/epoll.h") and layer ~= "engine" and excepted[path] ~= system
          and not (layer == "redis" and of_redis[system]) then
        fault("%s:%d: <%s> outside of csrc/engine", path, i, system)
      elseif system:find "^hiredis/" and layer ~= "redis" then
        fault("%s:%d: <%s> outside of csrc/redis", path, i, system)
      end
    end
  end
end

-- What a Lua module of ours may require: lower layers only.
local layer_of = {
  init = 9, lua_openai = 9, simulate = 9, cli = 9, gateway = 9, scaling = 9, diagnose = 9,
  client = 8, flow = 7, stages = 6,
  ["gateway/options"] = 1, -- which the client's own options contain
}
local function lua_layer(name)
  return layer_of[name] or layer_of[name:match "^[%w_]+" or ""] or 1
end

for _, path in ipairs(list "find lua/unbusy -name '*.lua' | sort") do
  local name = path:match "^lua/unbusy/(.*)%.lua$"
  local mine = lua_layer(name)
  for i, line in ipairs(lines_of(path)) do
    for other in line:gmatch 'require%s*%(?%s*"unbusy%.([%w_.]+)"' do
      local theirs = lua_layer((other:gsub("%.", "/")))
      if theirs > mine then fault("%s:%d: requires unbusy.%s, from above", path, i, other) end
    end
    if line:find "%f[%w_]ngx%." and not name:find "^loops/nginx" and not name:find "^gateway" then
      fault("%s:%d: ngx outside of loops/nginx.lua and gateway/", path, i)
    end
  end
end

-- }========================================================================

-- {== Names and documentation =============================================

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

local no_parts = { core = true, util = true, engine = true, bell = true, ends = true, key = true,
  shared = true, shared_cache = true, cache_args = true, guard = true, redis = true }
local in_base = { region = true, turns = true }

for _, path in ipairs(list "ls csrc/lua/lua_*.c") do
  local part = path:match "lua_(.+)%.c$"
  if not no_parts[part] then
    local layer = in_base[part] and "base" or "parts"
    for _, wanted in ipairs { ("csrc/%s/%s.c"):format(layer, part),
      ("lua/unbusy/%s.lua"):format(part), ("spec/%s_spec.lua"):format(part) } do
      if not exists(wanted) then fault("%s: %s is missing", path, wanted) end
    end
  end
end

local version = dofile "lua/unbusy/version.lua"
for path, wanted in pairs {
  [("rockspec/unbusy-%s-1.rockspec"):format(version)] = ('version = "%s-1"'):format(version),
  ["CHANGELOG.md"] = ("\n## %s "):format(version),
  ["README.md"] = ("rockspec/unbusy-%s-1.rockspec"):format(version),
  ["deploy/autoscale/Dockerfile"] = ("FROM unbusy:%s\n"):format(version),
} do
  if not exists(path) then
    fault("%s: is missing", path)
  elseif not read(path):find(wanted, 1, true) then
    fault("%s: says nothing of version %s", path, version)
  end
end

-- A public function (of a module's own table) has a comment above it.
for _, path in ipairs(list "find lua/unbusy -name '*.lua' | sort") do
  local lines = lines_of(path)
  local module = read(path):match "\nreturn ([%w_]+)\n$"
  for i, line in ipairs(lines) do
    local owner, name = line:match "^function ([%w_]+)[.:]([%w_]+)"
    local told = (lines[i - 1] or ""):find "^%-%-" or name and name:find "^__"
    if owner and owner == module and not told then
      fault("%s:%d: %s.%s has no docstring", path, i, owner, name)
    end
  end
end

-- The file of a module.
local function path_of(module)
  local path = "lua/" .. module:gsub("%.", "/")
  return exists(path .. ".lua") and path .. ".lua" or path .. "/init.lua"
end

local public, annotated = {}, {}
for _, module in ipairs(require "tools.public") do public[path_of(module)] = true end
for _, path in ipairs(list "find lua/unbusy -name '*.lua' | sort") do
  annotated[#annotated + 1] = annotations.read(path)
end
annotations.check(annotated, public, function(path, line, message)
  fault("%s:%d: %s", path, line, message)
end)

local function check_options(schema, reference, where)
  for name, field in pairs(schema) do
    if not field.doc and not field.fields then fault("%s.%s has no doc", where, name) end
    if not reference:find("`" .. name .. "`", 1, true) then
      fault("docs/reference.md: option %s.%s is not described", where, name)
    end
    local inner = field.fields or field.each and field.each.fields
    if inner then check_options(inner, reference, where .. "." .. name) end
  end
end

local ok, config = pcall(require, "unbusy.config")
if ok then
  local reference = read "docs/reference.md"
  check_options(config.client, reference, "new")
  check_options(config.call, reference, "call")
  for word in pairs(require "unbusy.codes") do
    if not reference:find("`" .. word .. "`", 1, true) then
      fault("docs/reference.md: code '%s' is not described", word)
    end
  end
elseif not ok then
  fault("unbusy.config does not load: %s", (tostring(config):gsub("\n.*", "")))
end

-- }========================================================================

-- {== Links ===============================================================

-- A document's text without its blocks of code.
local function prose(path)
  local out, fenced = {}, false
  for _, line in ipairs(lines_of(path)) do
    if line:find "^```" then fenced = not fenced end
    out[#out + 1] = fenced and "" or line
  end
  return out
end

-- What a browser is led to by: the headings, as GitHub and others write them.
local function anchors_of(path)
  local out = {}
  for _, line in ipairs(prose(path)) do
    local title = line:match "^#+ (.*)$"
    if title then
      title = title:gsub("%[(.-)%]%(.-%)", "%1"):lower()
      for _, mark in ipairs { "、", "，", "：", "？", "“", "”", "（", "）", "…" } do
        title = title:gsub(mark, "")
      end
      title = title:gsub("%p", function(mark) return mark:find "[-_]" and mark or "" end)
      out[title:gsub(" ", "-")] = true
    end
  end
  return out
end

local anchors = setmetatable({}, { __index = function(self, path)
  self[path] = anchors_of(path)
  return self[path]
end })

-- "a/b/../c" is "a/c".
local function resolved(folder, link)
  local parts = {}
  for part in (folder .. link):gmatch "[^/]+" do
    if part == ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

local function check_link(path, number, link)
  if link:find "^%a+:" then return end -- of somebody else's
  local file, place = link:match "^([^#]*)#?(.*)$"
  local to = file == "" and path or resolved(path:match "^(.*/)" or "", file)
  if not exists(to) then
    fault("%s:%d: there is no %s", path, number, to)
  elseif place ~= "" and to:find "%.md$" and not anchors[to][place] then
    fault("%s:%d: %s has no heading '%s'", path, number, to, place)
  end
end

for _, path in ipairs(list "git ls-files -co --exclude-standard '*.md'") do
  for i, line in ipairs(prose(path)) do
    line = line:gsub("`[^`]*`", "")
    for link in line:gmatch "%]%(([^)%s]*)%)" do check_link(path, i, link) end
  end
end

-- }========================================================================

if faults > 0 then
  print(("check: %d faults"):format(faults))
  os.exit(1)
end
print "check: the house is in order"
