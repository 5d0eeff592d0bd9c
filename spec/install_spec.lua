-- make install and uninstall, into a folder of its own: all of it is there, works from there
-- without the sources, and goes again. (LuaRocks: spec/support/rock.sh.)
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local files = require "spec.support.files"
local served = require "spec.support.served"

local quote, output = files.quote, files.trimmed
local version = require "unbusy.version"

describe("make install", function()
  local place, prefix, up

  local function make(words)
    local said = output(("umask 077; make -s %s 2>&1; echo \" $?\""):format(words))
    assert.equal("0", said:match "(%d+)$", said)
  end

  local function install(lua, more)
    make(("install LUA=%s PREFIX=%s %s"):format(lua, quote(prefix), more or ""))
  end

  local function files_in(dir)
    return output(("cd %s && find . -type f | LC_ALL=C sort"):format(quote(dir)))
  end

  -- Where Lua finds what is installed, and nothing else of ours.
  local function environment(abi)
    return { LUA_PATH = ("%s/share/lua/%s/?.lua;%s/share/lua/%s/?/init.lua;;"):format(
        prefix, abi, prefix, abi),
      LUA_CPATH = ("%s/lib/lua/%s/?.so;;"):format(prefix, abi) }
  end

  local function run(command, abi)
    local e = environment(abi)
    return output(("cd / && env -i PATH=\"$PATH\" LUA_PATH=%s LUA_CPATH=%s %s 2>&1"):format(
      quote(e.LUA_PATH), quote(e.LUA_CPATH), command))
  end

  local function first_line() return files.text(prefix .. "/bin/unbusy"):match "^[^\n]*" end

  setup(function()
    place = served.place()
    prefix = place.dir .. "/a place"
    up = busyd.start { workers = 1 }
    os.execute(("mkdir -p %s/share/lua/5.4/unbusy"):format(quote(prefix)))
    os.execute(("echo 'return 1' >%s/share/lua/5.4/unbusy/of_old.lua"):format(quote(prefix)))
    install "luajit"
  end)

  teardown(function()
    up:stop()
    place:remove()
  end)

  it("gives a tool that runs on what is installed, Lua 5.4 where both are", function()
    assert.equal("#!/usr/bin/env luajit", first_line())
    assert.equal("unbusy " .. version, run(quote(prefix .. "/bin/unbusy") .. " --version", "5.1"))
    install "lua5.4"
    assert.equal("#!/usr/bin/env lua5.4", first_line())
    install "luajit"
    assert.equal("#!/usr/bin/env lua5.4", first_line())
    assert.equal("unbusy " .. version, run(quote(prefix .. "/bin/unbusy") .. " --version", "5.4"))
  end)

  it("puts there what belongs to it, for everybody to read, and leaves nothing old", function()
    local modules = files_in "lua/unbusy"
    for abi, lua in pairs { ["5.4"] = "lua5.4", ["5.1"] = "luajit" } do
      assert.equal(modules, files_in(("%s/share/lua/%s/unbusy"):format(prefix, abi)))
      local core = ("%s/lib/lua/%s/unbusy/core.so"):format(prefix, abi)
      assert.is_true(files.text(core) == files.text(("build/%s/unbusy/core.so"):format(lua)))
    end
    assert.equal("./CHANGELOG.md\n./LICENSE\n./NOTICE", files_in(prefix .. "/share/doc/unbusy"))
    assert.equal("", output(("find %s -not -perm -444"):format(quote(prefix))))
  end)

  it("can be staged elsewhere", function()
    make(("install LUA=luajit PREFIX=/opt/unbusy DESTDIR=%s"):format(quote(place.dir .. "/stage")))
    assert.equal(files_in "lua/unbusy",
      files_in(place.dir .. "/stage/opt/unbusy/share/lua/5.1/unbusy"))
  end)

  it("answers from there, on both Luas", function()
    local script = place:write("ask.lua", ([[
      local client = require("unbusy").new { targets = { { name = "a", url = %q } } }
      print(client:chat({ model = "m", messages = { { role = "user", content = "天气" } } }).text)
    ]]):format(up.url))
    for abi, lua in pairs { ["5.4"] = "lua5.4", ["5.1"] = "luajit" } do
      assert.equal("echo: 天气", run(("%s %s"):format(lua, quote(script)), abi))
    end
  end)

  it("serves from there, its page too", function()
    local config = place:write("gateway.lua", ("return { targets = { { name = 'a', url = %q } } }")
      :format(up.url))
    local server = served.start(place, { config },
      { program = prefix .. "/bin/unbusy", env = environment "5.4" })
    assert.equal("echo: 天气", cjson.decode((server:chat "天气")).choices[1].message.content)
    local page, status = server:ask("/status", "-H 'accept: text/html'")
    server:stop()
    assert.equal(200, status)
    assert.truthy(page:find "^<!doctype html>")
  end)

  it("goes again, one Lua after the other", function()
    make(("uninstall LUA=lua5.4 PREFIX=%s"):format(quote(prefix)))
    assert.equal("unbusy " .. version, run(quote(prefix .. "/bin/unbusy") .. " --version", "5.1"))
    assert.equal("", output(("find %s -path '*5.4*' -type f"):format(quote(prefix))))
    make(("uninstall LUA=luajit PREFIX=%s"):format(quote(prefix)))
    assert.equal("", files_in(prefix))
  end)
end)
