-- A process that read its wake-ups first said that none was on its way, and then read its socket
-- empty. Of one that came in between it had the byte, and the count stayed: so it was taken for
-- woken, and woken no more as long as it had one waiter, who found a place by chance a tenth of a
-- second later. It is stopped at each instruction of `drain` here, and woken there.
local core = require "unbusy.core"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local STOP, GO_ON = 19, 18
local STRIDE = os.getenv "UNBUSY_SANITIZED" and 101 or 7

describe("a process that is woken while it reads its wake-ups", function()
  local r, child

  after_each(function()
    if child then child:kill() end
    r:close()
    r = nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function() r = assert(region.new { bytes = 256 * 1024 }) end)

  local function is_stopped()
    return files.read(("/proc/%d/stat"):format(child.pid)):match "^.*%) T"
  end

  it("is woken again", function()
    if (process.step(0, core.now) or 0) == 0 then return pending "no steps can be taken here" end
    child = regions.fork(function(say)
      local fd = assert(r:wake_fd())
      local function drain() r:drain() end
      r:waiting(1, core.now())
      local first, last = process.step(0, drain)
      say(("waits %d"):format(last - first))
      for n = first, last, STRIDE do
        assert(process.readable(fd, 60))
        process.step(n, drain, STOP)
        say(("read %d"):format(n - first))
        assert(process.readable(fd, 10), "woken no more")
        drain()
        say(("again %d"):format(n - first))
      end
    end)
    local length = tonumber(regions.wait_for(function()
      return files.text(child.path):match "waits (%d+)\n"
    end))
    for n = 0, length, STRIDE do
      r:wake() -- where the last one did not come too late for it to be read
      regions.wait_for(is_stopped)
      r:wake() -- where it is not woken already
      process.kill(child.pid, GO_ON)
      child:said(("read %d"):format(n))
      -- Woken meanwhile, it hears that at once; and otherwise of the next one.
      r:wake()
      child:said(("again %d"):format(n))
    end
    child:wait()
    child = nil
  end)
end)
