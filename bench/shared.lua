--- What it costs to share a part with other processes, and the shared cache against nginx's own
--- shared memory.
--
-- Every operation on a shared part takes its lock, keeps a copy of the part's front, which makes it
-- safe to be killed, and gives the lock back: here nobody else wants it. (The cache is read without
-- it.) In nginx the peer is ngx.shared.DICT (through lua-resty-core): values of 2 KB, 1,000 of
-- them, under keys of 32 bytes (as who hashes a prompt himself has them) and of 1 KB, whose CRC
-- takes it longer than all else. It copies a value as we do; it counts no hits and keeps nothing
-- for when it is stale. Beside them stands lua-resty-lrucache: of one process, keyed by strings
-- that Lua has already, copying nothing.
local budget = require "unbusy.budget"
local cache = require "unbusy.cache"
local counters = require "unbusy.counters"
local files = require "spec.support.files"
local limiter = require "unbusy.limiter"
local measure = require "bench.support.measure"
local region = require "unbusy.region"
local topk = require "unbusy.topk"

local VALUE = 2048

-- {== Private and shared ===================================================

local r = assert(region.new { bytes = 256 * 1024 * 1024 })

-- A race of an operation on a private part and on a shared one: how many ns more.
local function compare(what, new, operation)
  local alone, shared = assert(new {}), assert(new { region = r, name = "bench" })
  local ns = measure.race(what, {
    { name = "private", run = operation(alone) },
    { name = "shared", run = operation(shared) },
  })
  return ns.shared - ns.private
end

local function allow_and_report(l)
  return function(n)
    for _ = 1, n do l:report(l:allow(), "ok", 0.5) end
  end
end

local function begin_and_finish(b)
  return function(n)
    for _ = 1, n do
      b:begin()
      b:finish "ok"
    end
  end
end

local function add_to(c, ...)
  local window = ...
  local names, at = {}, 0
  for i = 1, 100 do names[i] = "the key of customer " .. i end
  return function(n)
    for _ = 1, n do
      at = at % 100 + 1
      c:add(names[at], 1, window)
    end
  end
end

-- Keys of so many bytes that differ in their middle, and a value for each.
local function keys_and_values(count, bytes)
  local keys, values = {}, {}
  for i = 1, count do
    keys[i] = ("h"):rep(bytes / 2 - 4) .. ("%08d"):format(i) .. ("t"):rep(bytes / 2 - 4)
    values[i] = ("%08d"):format(i):rep(VALUE / 8)
  end
  return keys, values
end

-- Gets each in turn, or sets it.
local function turns(c, method, keys, values)
  local at, last, f = 0, #keys, c[method]
  return function(n)
    for _ = 1, n do
      at = at % last + 1
      f(c, keys[at], values and values[at])
    end
  end
end

local function private_and_shared()
  local pair = compare("limiter, allow + report", limiter.new, allow_and_report)
  compare("budget, begin + finish", budget.new, begin_and_finish)
  compare("counters, add over a minute", counters.new, function(c) return add_to(c, 60) end)
  compare("topk, add", topk.new, add_to)
  local keys, values = keys_and_values(1000, 1024)
  compare("cache, set of 2 KB", cache.new, function(c) return turns(c, "set", keys, values) end)
  compare("cache, get of 2 KB", cache.new, function(c)
    for i, key in ipairs(keys) do c:set(key, values[i]) end
    return turns(c, "get", keys)
  end)
  measure.goal("sharing, for one operation of the limiter", pair / 2, 250, "ns more")
end

-- }========================================================================

-- {== In nginx ==============================================================

local CONFIG = [[
env UNBUSY_BENCH_RESULTS;
${modules}
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log crit;
events { worker_connections 64; }
http {
  access_log off;
  ${temp_paths}
  lua_package_path "${pwd}/lua/?.lua;${pwd}/lua/?/init.lua;${pwd}/?.lua;;";
  lua_package_cpath "${pwd}/build/luajit/?.so;;";
  lua_shared_dict peer 16m;
  init_by_lua_block {
    lines = {}
    print = function(line) lines[#lines + 1] = line end
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      content_by_lua_block {
        require "bench.shared"
        ngx.say(table.concat(lines, "\n"))
      }
    }
  }
}
]]

-- Runs inside of it.
local function against_dict(dict, bytes)
  local keys, values = keys_and_values(1000, bytes)
  local c = assert(cache.new { region = r, name = "dict" })
  for i, key in ipairs(keys) do
    assert(c:set(key, values[i]))
    assert(dict:set(key, values[i]))
  end
  local lru = assert(require "resty.lrucache".new(2000))
  for i, key in ipairs(keys) do lru:set(key, values[i]) end
  local function race(method, ...)
    local ns = measure.race(("in nginx, %s of 2 KB, keys of %d bytes"):format(method, bytes), {
      { name = "unbusy, shared", run = turns(c, method, keys, ...) },
      { name = "ngx.shared.DICT", run = turns(dict, method, keys, ...) },
      { name = "lua-resty-lrucache", run = turns(lru, method, keys, ...) },
    })
    local ratio = ns["unbusy, shared"] / ns["ngx.shared.DICT"]
    measure.goal(("%s under %d bytes, of what DICT takes"):format(method, bytes), ratio, 1.5,
      "times")
    local what = ("%s of 2 KB in shared memory, keys of %d bytes"):format(method, bytes)
    measure.peer("ngx.shared.DICT", what, ratio)
    measure.peer("lua-resty-lrucache", what, ns["unbusy, shared"] / ns["lua-resty-lrucache"])
  end
  race "get"
  race("set", values)
end

local function in_nginx()
  local launcher = require "spec.support.launcher"
  local server = launcher.start { config = CONFIG, values = { pwd = os.getenv "PWD" } }
  local said = files.output(("curl -sS http://127.0.0.1:%d/"):format(server.port))
  server:stop()
  io.write(said)
end

-- }========================================================================

local ngx = rawget(_G, "ngx")
if ngx then
  against_dict(ngx.shared.peer, 32)
  against_dict(ngx.shared.peer, 1024)
else
  private_and_shared()
  if rawget(_G, "jit") then in_nginx() end
end
