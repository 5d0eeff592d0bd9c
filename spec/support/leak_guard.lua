--- Nothing may be left behind by a test.
--
--     describe("…", function()
--       guard.watch(before_each, after_each)
--
-- After each test the garbage is collected, the idle engine closed, and what is open counted: C
-- blocks, regions, engines, transfers and descriptors of the core, blocks and links of the module
-- for Redis where it is loaded, tasks of every loop, and the descriptors of this process. A
-- test that leaves more than it found fails, and says what.
local core = require "unbusy.core"
local hosted = require "unbusy.loops.hosted"
local lfs = require "lfs"
local scheduler = require "unbusy.loops.scheduler"
local wire = require "unbusy.loops.wire"

local guard = {}

local function collect()
  if jit then jit.flush() end -- luacheck: ignore 113 (compiled code holds on to what it has seen)
  collectgarbage() -- twice: finalizers of the first round let go of more
  collectgarbage()
end

-- Descriptor -> what it is, of this process, but for the one that the list is read through.
local function descriptors()
  local open = {}
  for fd in lfs.dir "/proc/self/fd" do
    local what = tonumber(fd) and lfs.symlinkattributes("/proc/self/fd/" .. fd, "target")
    if what and not what:find "^/proc/%d+/fd$" then open[fd] = what end
  end
  return open
end

local function count(t)
  local n = 0
  for _ in pairs(t) do n = n + 1 end
  return n
end

--- What is open now, after a collection.
function guard.look()
  collect()
  wire.close_idle()
  local seen = core.stats()
  seen.tasks = scheduler.live() + hosted.live()
  seen.exchanges = wire.active()
  local redis = package.loaded["unbusy.core_redis"]
  local links = redis and redis.stats() or { blocks = 0, links = 0 }
  seen.redis_blocks, seen.links = links.blocks, links.links
  seen.files = descriptors()
  return seen
end

local function new_files(before, now)
  local out = {}
  for fd, what in pairs(now) do
    if not before[fd] then out[#out + 1] = fd .. " -> " .. what end
  end
  table.sort(out)
  return table.concat(out, ", ", 1, math.min(#out, 5)) .. (out[6] and ", …" or "")
end

local KINDS = {
  "transfers", "engines", "descriptors", "blocks", "regions", "tasks", "exchanges", "links",
  "redis_blocks"
}

-- As `guard.look`; but a thread in which libcurl looks up a name keeps two sockets until it comes
-- back, though nobody waits for the name any more.
local function look_patiently(before)
  local now = guard.look()
  for _ = 1, 50 do
    if count(now.files) <= count(before.files) then break end
    os.execute "sleep 0.1"
    now = guard.look()
  end
  return now
end

--- What has been left since `before`: a sentence, or nil.
function guard.left(before)
  local now, out = look_patiently(before), {}
  for _, kind in ipairs(KINDS) do
    if now[kind] > before[kind] then
      out[#out + 1] = ("%s: %d, were %d"):format(kind, now[kind], before[kind])
    end
  end
  if now.tasks < before.tasks then out[#out + 1] = "fewer tasks than before" end
  if count(now.files) > count(before.files) then
    out[#out + 1] = "open files: " .. new_files(before.files, now.files)
  end
  return out[1] and "left behind: " .. table.concat(out, "; ")
end

--- Watches every test of the block in which it is called, by that block's own two functions.
function guard.watch(before_each, after_each)
  local before
  before_each(function() before = guard.look() end)
  after_each(function()
    local left = guard.left(before)
    if left then error(left, 0) end
  end)
end

return guard
