-- docs/openresty.md and the README's gateway stay true: their files are written, their nginx.conf
-- run, and their commands print what they say, against the busy upstream.
--
--   <!-- file NAME -->           the block is that file
--   <!-- nginx NAME -->          an nginx.conf: it runs until the next one
--   <!-- console PROGRAMME -->   commands after "$ ", each with what it prints; the upstream's
--                                programme may be left out
--   <!-- install -->             Debian packages, which tools/deps.sh knows, and make
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local launcher = require "spec.support.launcher"
local readme = require "spec.support.readme"
local served = require "spec.support.served"

local DOCUMENTS = { "docs/openresty.md", "README.md" }

local top = files.trimmed "pwd"

local function plain(text)
  return (text:gsub("%p", "%%%0"))
end

-- What stands in the place of a document's words, here.
local function translated(text, place, up)
  return (text:gsub(plain "https://api.deepseek.com", up.url)
    :gsub(plain "/etc/unbusy/", place.dir .. "/"):gsub(plain "/var/log/nginx/", place.dir .. "/"))
end

-- {== nginx ===============================================================

local HEAD = [[
daemon off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log notice;
]]

local HTTP = [[http {
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  lua_package_cpath "${top}/build/luajit/?.so;;";
]]

-- A configuration of ours is one of the document with private files and this tree's unbusy.
local function run_nginx(text)
  local tree = ("%s/lua/?.lua;%s/lua/?/init.lua;;"):format(top, top)
  local count
  text, count = text:gsub('lua_package_path "(.-);;"', function(path)
    return ('lua_package_path "%s;%s"'):format(path, tree)
  end)
  local path = count == 0 and ('  lua_package_path "%s";\n'):format(tree) or ""
  text = HEAD .. text:gsub("http {\n", function() return HTTP .. path end)
  return launcher.start { config = text:gsub("127%.0%.0%.1:8080", "127.0.0.1:${port}"),
    values = { top = top } }
end

-- }========================================================================

-- {== Commands ============================================================

local Run = {} -- a document being followed
Run.__index = Run

local function new_run(up)
  return setmetatable({ up = up, place = served.place() }, Run)
end

function Run:stop()
  if self.nginx then self.nginx:stop() end
  self.nginx = nil
  self.place:remove()
end

function Run:address()
  return ("127.0.0.1:%d"):format((self.nginx or self.server).port)
end

function Run:command(line)
  local file = line:match "^unbusy serve ([%w./_-]+) &$"
  if file then
    if file:find "/" then file = top .. "/" .. file end
    self.server = served.start(self.place, { file }, { env = { DEEPSEEK_URL = self.up.url } })
    return (self.server:said():gsub("process %d+", "process 4711"):gsub("\n$", ""))
  end
  line = line:gsub(plain "127.0.0.1:8080", self:address())
  line = ("cd %s && { %s; } 2>&1"):format(
    files.quote(self.nginx and self.nginx.dir or self.place.dir), line)
  local said = files.trimmed(line)
  for _ = 1, line:find("error.log", 1, true) and 400 or 0 do -- a log is written in its own time
    if said ~= "" then break end
    direct.pause(0.05)
    said = files.trimmed(line)
  end
  return said
end

-- The commands of a block, each with what it printed.
function Run:console(text)
  local out = {}
  for line in text:gmatch "[^\n]+" do
    local command = line:match "^%$ (.*)$"
    if command then
      out[#out + 1] = line
      local said = self:command(command)
      if said ~= "" then
        out[#out + 1] = (said:gsub(plain(self:address()), "127.0.0.1:8080"))
      end
    end
  end
  return table.concat(out, "\n") .. "\n"
end

local function check_install(text)
  local known = readme.text "tools/deps.sh"
  local packages = text:gsub("\\\n", " "):match "apt%-get install ([^\n]+)"
  for package in packages:gmatch "%S+" do
    assert.is_truthy((" " .. known:gsub("[\"\n]", " ") .. " "):find(" " .. package .. " ", 1, true),
      package)
  end
  for line in text:gmatch "\n(make [^\n#]+)" do
    assert.is_truthy(files.trimmed("make -n PREFIX=/nowhere" .. line:match "make(.*)")
      :find "/nowhere/share/lua/5")
  end
end

function Run:follow(block)
  local kind, argument = (block.comment or ""):match "^(%l+) ?(.*)$"
  local text = translated(block.text, self.place, self.up)
  if kind == "file" then
    self.place:write(argument, text)
  elseif kind == "nginx" then
    if self.nginx then self.nginx:stop() end
    self.nginx = run_nginx(text)
  elseif kind == "console" then
    local programme = argument ~= "" and cjson.decode(argument) or {}
    programme.reset = true
    self.up:programme(programme)
    assert.equal(block.text, self:console(block.text))
  elseif kind == "install" then
    check_install(block.text)
  end
  return kind
end

-- }========================================================================

for _, path in ipairs(DOCUMENTS) do
  describe(path, function()
    local up, run
    setup(function()
      up = busyd.start { workers = 1 }
      run = new_run(up)
    end)
    teardown(function()
      run:stop()
      up:stop()
    end)

    local ran = 0
    for _, block in ipairs(readme.blocks(path)) do
      local kind = (block.comment or ""):match "^%l+"
      if kind == "file" or kind == "nginx" or kind == "console" or kind == "install" then
        ran = ran + 1
        it(("line %d (%s) is true"):format(block.line, kind), function() run:follow(block) end)
      elseif path ~= "README.md" then
        it(("line %d is nothing that nobody runs"):format(block.line), function()
          assert.equal("sh", block.language)
        end)
      end
    end

    it("has examples", function() assert.is_true(ran > 0) end)
  end)
end
