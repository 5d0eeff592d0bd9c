-- examples/neovim in Debian's Neovim, as its README installs it.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local readme = require "spec.support.readme"
local served = require "spec.support.served"

describe("examples/neovim", function()
  it("answers into a buffer, and stops", function()
    local up, place = busyd.start { workers = 1 }, served.place()
    local block = readme.blocks("examples/neovim/README.md")[1]
    local init = block.text:gsub("https://api%.deepseek%.com", (up.url:gsub("%%", "%%%%")))
      :gsub("/path/to/unbusy/", files.trimmed "pwd" .. "/")
    local path = place:write("init.lua", init)
    local out = files.trimmed(([[
      env URL=%s REPORT=%s/report LUA_PATH="./lua/?.lua;./lua/?/init.lua;;" \
        LUA_CPATH="build/luajit/?.so;;" timeout 300 \
        nvim -u %s -i NONE -n --headless -c 'luafile spec/support/neovim_ask.lua' \
        -c cquit 2>&1]]):format(up.url, place.dir, path))
    local report = files.text(place.dir .. "/report")
    gateways.eventually(function() return up:counts().in_service == 0 end)
    up:stop()
    place:remove()
    assert.equal(table.concat({
      "before ",
      "command echo: 天气 如何",
      "range echo: why?||two|three",
      "begun true",
      "stopped true true",
      "left true",
      "kept true true",
      "failed  4 ask: deepseek: 429 insufficient_quota 1",
    }, "\n") .. "\n", report, out)
  end)
end)
