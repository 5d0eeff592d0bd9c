-- How a call's cost grows with its bodies, from 1 KB to 16 MB: requests (whose answers have 700
-- bytes), and answers (to requests of 500). CPU of this process, calls one after the other on a
-- kept connection to an nginx of this machine; and, on LuaJIT, CPU of the gateway's worker for
-- requests that are passed on, beside nginx's proxy_pass and a cosocket proxy.
--
--   bare libcurl   bench/c/http_bare.c: every option set once, no Lua
--   client:post    every stage on; bodies are text: no JSON
--   client:chat    the same with JSON in and out
local json = require "unbusy.json"
local load = require "bench.support.load"
local measure = require "bench.support.measure"
local nginx = require "bench.support.nginx"
local sites = require "bench.support.sites"
local unbusy = require "unbusy"

local TURNS = math.min(5, tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 5)
local PROGRAM = (os.getenv "UNBUSY_BENCH_DIR" or "build/bench") .. "/http_bare"
local KB, MB = 1024, 1024 * 1024
local SIZES = { KB, 4 * KB, 16 * KB, 64 * KB, 256 * KB, MB, 4 * MB, 16 * MB - KB }
local PIECE = "a word of some length, "
local LINES = { "bare libcurl", "client:post", "client:chat" }

local server = nginx.start()
local path = os.tmpname()

local function write(text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function question(bytes)
  local content = PIECE:rep(math.ceil(bytes / #PIECE)):sub(1, bytes - 55)
  return { model = "m", messages = { { role = "user", content = content } } }
end

-- So few that a turn moves 32 MB at most.
local function count_of(bytes) return math.max(4, math.min(256, math.floor(32 * MB / bytes))) end

-- {== Contestants ==========================================================

local function bare(url, n)
  local pipe = io.popen(("%s %s %d 1 @%s 'content-type: application/json' 'Expect:'"):format(
    PROGRAM, url, n, path))
  local us = tonumber((pipe:read "*l"))
  pipe:close()
  return us or error "http_bare failed"
end

local function timed(n, ask)
  unbusy.run(ask) -- warm
  collectgarbage()
  local began = os.clock()
  unbusy.run(function()
    for _ = 1, n do ask() end
  end)
  return (os.clock() - began) / n * 1e6
end

-- Microseconds of CPU of one call of each, whose answers come from `at`.
local function race(at, request, n)
  local base, body = server.url .. at .. "/v1", json.encode(request)
  local client = unbusy.new { targets = { { name = "a", url = base } } }
  write(body)
  local function post() assert(client:post("/chat/completions", body)) end
  local function chat() assert(client:chat(request)) end
  local best = {}
  for _ = 1, TURNS do
    for name, us in pairs { ["bare libcurl"] = bare(base .. "/chat/completions", n),
      ["client:post"] = timed(n, post), ["client:chat"] = timed(n, chat) } do
      best[name] = math.min(best[name] or math.huge, us)
    end
  end
  client:close()
  return best
end

-- }=========================================================================

-- `of(bytes)` gives a request and where its answer comes from. Gives what client:post takes of a
-- bare call where they are largest.
local function grows(title, of)
  local point, ratio = measure.curve(title, "bytes", "us"), nil
  for _, bytes in ipairs(SIZES) do
    local request, at = of(bytes)
    local us = race(at, request, count_of(bytes))
    for _, name in ipairs(LINES) do point(name, bytes, us[name]) end
    ratio = us["client:post"] / us["bare libcurl"]
  end
  return ratio
end

measure.peer("bare libcurl", "client:post, a request of 16 MB",
  grows("CPU of a call by the size of its request", function(bytes)
    return question(bytes), "/ok"
  end))
measure.peer("bare libcurl", "client:post, an answer of 16 MB",
  grows("CPU of a call by the size of its answer", function(bytes)
    return question(500), "/size/" .. bytes
  end))

-- {== Through a gateway ====================================================

local WAYS = { "proxy_pass", "cosocket", "unbusy" }

local function through_gateways()
  local point, list = measure.curve("CPU of a gateway's worker by the size of a request", "bytes",
    "us"), {}
  for i, name in ipairs(WAYS) do list[i] = sites[name](server, "/ok") end
  for _, bytes in ipairs(SIZES) do
    write(json.encode(question(bytes)))
    local is_large = bytes > MB
    local given = { connections = is_large and 1 or 4, seconds = is_large and 3 or 1, file = path }
    for _, site in ipairs(list) do
      local best = math.huge
      for _ = 1, math.min(2, TURNS) do
        best = math.min(best, load.run(site, given).cpu)
      end
      point(site.name, bytes, best)
    end
  end
  for _, site in ipairs(list) do site.stop() end
end

if rawget(_G, "jit") then through_gateways() end -- nginx's Lua is LuaJIT: measured there

-- }=========================================================================

os.remove(path)
server:stop()
