--- The nginx of this machine: where it is, whether it runs Lua, and where its Lua finds unbusy.
local shell = require "unbusy.cli.shell"

local nginx = {}

local PACKAGES = "nginx-light libnginx-mod-http-lua lua-resty-core"

-- {== The program =========================================================

-- Where it is when nobody says; OpenResty keeps its own outside of the search path.
local usual = { "nginx", "/usr/sbin/nginx", "openresty", "/usr/local/openresty/nginx/sbin/nginx" }

local modules = { "ndk_http_module.so", "ngx_http_lua_module.so" }

local function path_of(name)
  if name:find "/" then
    local path = shell.absolute(name)
    return shell.succeeds("test -x " .. shell.quote(path)) and path or nil
  end
  local path = shell.output("command -v " .. shell.quote(name) .. " 2>/dev/null")
  return path:sub(1, 1) == "/" and path or nil
end

-- The modules to load, none where Lua is built in; or nil and the folder where they are missing.
local function modules_of(about)
  for _, sign in ipairs { "openresty/", "ngx_lua", "lua%-nginx%-module" } do
    if about:find(sign) then return {} end
  end
  local folder = about:match "%-%-modules%-path=(%S+)"
    or (about:match "%-%-prefix=(%S+)" or "/usr/local/nginx") .. "/modules"
  local paths = {}
  for i, name in ipairs(modules) do
    paths[i] = folder .. "/" .. name
    if not shell.exists(paths[i]) then return nil, paths[i] end
  end
  return paths
end

local function look(path)
  local about = shell.output(shell.quote(path) .. " -V 2>&1")
  if not about:find "nginx version" and not about:find "openresty" then
    return nil, path .. " is no nginx: its -V does not say so"
  end
  local paths, missing = modules_of(about)
  if paths then return { path = path, modules = paths } end
  return nil, ("%s runs no Lua: there is no %s (Debian: apt-get install %s)"):format(path, missing,
    PACKAGES)
end

--- Finds nginx and its Lua module.
---@param name string? its path, or a name of the search path; nil: where it usually is
---@return table? found { path =, modules = files to load }, string? message
function nginx.find(name)
  local first
  for _, candidate in ipairs(name and { name } or usual) do
    local path = path_of(candidate)
    if path then
      local found, message = look(path)
      if found then return found end
      first = first or message
    end
  end
  if first then return nil, first end
  return nil, name and name .. ": no such program"
    or "nginx is missing (Debian: apt-get install " .. PACKAGES .. ")"
end

-- }========================================================================

-- {== Its Lua =============================================================

-- Where this file's unbusy lies: /usr/local/share/lua/5.4, or lua of a clone.
local function root()
  local source = debug.getinfo(1, "S").source:match "^@(.*)$"
  return (shell.absolute(source):gsub("/unbusy/cli/nginx%.lua$", ""))
end

-- What another Lua searches, with LuaJIT's name or number in place of its own.
local function translated(cpath)
  local out = {}
  for template in cpath:gmatch "[^;]+" do
    local other, n = template:gsub("lua5%.%d", "luajit")
    local third, m = other:gsub("/5%.%d/", "/5.1/")
    if n + m > 0 then out[#out + 1] = third end
  end
  return table.concat(out, ";")
end

-- Templates of the C search path that may lead to a core for LuaJIT: this Lua's own when it is
-- LuaJIT, those beside the Lua files, and what this Lua searches, translated.
local function templates(lua)
  local list = {}
  if rawget(_G, "jit") then list[1] = package.cpath end
  list[#list + 1] = lua:gsub("/lua$", "") .. "/build/luajit/?.so"
  local prefix = lua:match "^(.*)/share/lua/5%.%d$"
  if prefix then list[#list + 1] = prefix .. "/lib/lua/5.1/?.so" end
  list[#list + 1] = translated(package.cpath)
  list[#list + 1] = "/usr/local/lib/lua/5.1/?.so;/usr/lib/lua/5.1/?.so"
  return table.concat(list, ";")
end

local function search(list)
  for template in list:gmatch "[^;]+" do
    local path = template:gsub("%?", "unbusy/core")
    if shell.exists(path) then return path end
  end
end

--- Where nginx's Lua, which is LuaJIT, finds unbusy.
---@return table? lua { path =, cpath =, core = file }, string? message
function nginx.lua()
  local lua = root()
  local core = search(templates(lua))
  if not core then
    return nil, "nginx runs LuaJIT, and there is no core of unbusy for it: make install LUA=luajit "
      .. "(in a clone: make luajit)"
  end
  core = shell.absolute(core)
  local cpath = core:gsub("unbusy/core%.so$", "?.so")
  if rawget(_G, "jit") then cpath = cpath .. ";" .. package.cpath end
  return { core = core, cpath = cpath,
    path = ("%s/?.lua;%s/?/init.lua"):format(lua, lua) }
end

-- }========================================================================

-- {== A trial =============================================================

local cures = {
  { "module 'cjson'", "Debian has it for LuaJIT too, as lua-cjson" },
  { "resty%.core", "Debian has it as lua-resty-core" },
}

-- The first complaint in what nginx printed, without its marks.
local function complaint(text)
  local line = text:match "%[emerg%] ([^\n]+)" or text:match "%[error%] ([^\n]+)"
    or text:match "[^\n]+" or "it said nothing"
  local rest = line:find ":$" and text:match(line:gsub("%p", "%%%0") .. "\n%s*([^\n]+)")
  line = (line .. (rest and " " .. rest or "")):gsub("^%d+#%d+: ", "")
    :gsub("^init_by_lua error: ", ""):gsub("^init_by_lua%S*:%d+: ", "")
  for _, cure in ipairs(cures) do
    if text:find(cure[1]) then return ("%s; %s"):format(line, cure[2]) end
  end
  return line
end

--- Reads a configuration as nginx would on its start, in a process that ends there. What is for
--- this Lua is not for its own (LUA_CPATH).
---@param path string of nginx
---@param text string the configuration
---@return boolean? fine, string? message
function nginx.try(path, text)
  local dir = shell.output 'mktemp -d "${TMPDIR:-/tmp}/unbusy-try.XXXXXX"'
  if dir == "" then return nil, "no folder for temporary files can be made" end
  dir = shell.absolute(dir) -- nginx takes others as paths below its prefix
  local file = assert(io.open(dir .. "/nginx.conf", "wb"))
  file:write(text)
  file:close()
  local line = "env -u LUA_CPATH %s -p %s -e stderr -c %s/nginx.conf </dev/null 2>&1"
  local folder = shell.quote(dir)
  local said = shell.output(line:format(shell.quote(path), folder, folder) .. "; echo $?")
  shell.succeeds("rm -rf " .. folder)
  local printed, status = said:match "^(.-)(%d+)$"
  if status == "0" then return true end
  return nil, complaint(printed)
end

-- }========================================================================

return nginx
