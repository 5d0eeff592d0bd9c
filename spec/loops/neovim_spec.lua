-- Calls inside Neovim (Debian: neovim), which runs LuaJIT, with the core that is built for it.
local busyd = require "spec.support.busyd"
local calls = require "spec.support.host_calls"

local function lines_of(path)
  local out = {}
  for line in io.lines(path) do out[#out + 1] = line end
  return out
end

describe("in Neovim", function()
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  it("calls wait in any coroutine, errors end nothing, and nothing is left", function()
    local release = calls.gate(up, 200, function(seconds) os.execute("sleep " .. seconds) end)
    local path = os.tmpname()
    local nvim = io.popen(([[
      env URL=%s REPORT=%s LUA_PATH="./lua/?.lua;./lua/?/init.lua;;" \
        LUA_CPATH="build/luajit/?.so;;" timeout 300 \
        nvim -u NONE -i NONE -n --headless -c 'luafile spec/support/neovim_calls.lua' \
        -c 'cquit' 2>&1]]):format(up.url, path))
    release()
    local out = nvim:read "*a"
    nvim:close()
    local report = lines_of(path)
    os.remove(path)
    assert.same({
      "answered 200",
      "buffer echo: 天气",
      "main neovim_calls.lua:70: unbusy: in luv's loop a call waits in a coroutine, and this is "
        .. "none that may yield: coroutine.wrap(function() … end)()",
      "run echo: inside",
      "begun true",
      "spawn echo: spawned",
      "shown thrown after a call",
      "left 0 0 0",
    }, report, out)
    assert.equal(200, up:counts().queued_max)
  end)
end)
