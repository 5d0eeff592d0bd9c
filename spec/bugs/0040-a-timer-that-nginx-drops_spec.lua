-- What outlives its request (what is asked for several, batches, refreshes, streams that are gone
-- on with) begins in a timer. nginx drops a timer without a word where more than
-- lua_max_running_timers run, and then it never began: neither did all that came behind it, up to a
-- hundred, and each call with a cache waited for its whole time and failed, long after the crowd
-- was gone.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local site = require "spec.support.site"

local CROWD = [[location = /crowd { content_by_lua_block {
  for _ = 1, 9 do ngx.timer.at(0, function() ngx.sleep(1.5) end) end
} } ]]

-- The worker stands still for longer than a timer is waited for, between two tasks of one nursery.
local LATE = [[location = /late { content_by_lua_block {
  local loop, runs = require("unbusy.loops.nginx").loop, 0
  for _ = 1, 3 do
    assert(loop.nursery(function() runs = runs + 1 end))
    os.execute "sleep 1.1"
  end
  ngx.sleep(0.3)
  ngx.print(runs)
} }]]

describe("what outlives its request", function()
  local up, s

  setup(function()
    up = busyd.start { workers = 1 }
    s = site.start { targets = { { name = "a", url = up.url .. "/v1", key = "k" } }, cache = true,
      clocks = { total = 8 }, http = "lua_max_running_timers 8;", locations = CROWD .. LATE }
  end)
  teardown(function()
    if s then s:stop() end
    if up then up:stop() end
  end)

  it("begins when there are timers again, where nginx has dropped its own", function()
    s:get "/crowd"
    assert.equal("echo: one", (s:get "/chat?q=one"))
    local said = files.text(s.dir .. "/error.log")
    assert.is_truthy(said:find("lua_max_running_timers are not enough", 1, true))
    assert.equal("echo: two", (s:get "/chat?q=two"))
    assert.equal(2, up:counts().received)
  end)

  it("is done once, where the timer was only late", function()
    assert.equal("3", (s:get "/late"))
  end)
end)
