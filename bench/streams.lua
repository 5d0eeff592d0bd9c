-- How the cost of a stream grows with their number, from 100 to 5,000 at once: its memory while it
-- is open and nothing comes (resident, beside bare libcurl's; see bench/memory.lua), and the CPU of
-- this process for one of three events that is read to its end, while so many are under way.
--
-- A number for which there are too few file descriptors (ulimit -n) is left out and said.
local json = require "unbusy.json"
local measure = require "bench.support.measure"
local nginx = require "bench.support.nginx"
local unbusy = require "unbusy"

local COUNTS = { 100, 200, 500, 1000, 2000, 5000 }
local TURNS = math.min(3, tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 3)
local DIR = os.getenv "UNBUSY_BENCH_DIR" or "build/bench"

-- Those for which there are descriptors.
local function possible()
  local pipe, list = assert(io.popen "ulimit -n"), {}
  local files = tonumber(pipe:read "*a") or math.huge -- "unlimited"
  pipe:close()
  for _, count in ipairs(COUNTS) do
    if count + 100 <= files then list[#list + 1] = count
    else print(("  %d streams: too few descriptors (ulimit -n)"):format(count)) end
  end
  return list
end

local counts, server = possible(), nginx.start()
local question = { model = "m", messages = { { role = "user", content = ("word "):rep(80) } } }
local streaming = json.encode { model = "m", stream = true, messages = question.messages }
local HEADERS = "'content-type: application/json' 'accept: text/event-stream'"

local function number_of(command, ...)
  local pipe = assert(io.popen(command:format(...)))
  local n = pipe:read "*n"
  pipe:close()
  return n or error("no figure: " .. command:format(...))
end

-- {== Memory ===============================================================

local function memory()
  local point = measure.curve("memory of an open stream", "streams", "KB")
  local base = server.url .. "/hold/v1"
  for _, count in ipairs(counts) do
    point("bare libcurl", count, number_of("%s/streams_bare %s/chat/completions %d '%s' %s", DIR,
      base, count, streaming, HEADERS) / 1024)
    for _, pair in ipairs { { "engine", "the engine" }, { "client", "client:stream" } } do
      point(pair[2], count, number_of("%s bench/memory.lua %s %s %d", arg[-1], pair[1], base,
        count) / 1024)
    end
  end
end

-- }=========================================================================

-- {== Work =================================================================

local function bare(count, n)
  return number_of("%s/http_bare %s/stream/v1/chat/completions %d %d '%s' %s", DIR, server.url, n,
    count, streaming, HEADERS)
end

local function read_one(client) assert(assert(client:stream(question)):reply()) end

-- `count` at once, n in all; microseconds of CPU of one.
local function through_client(count, n)
  local client = unbusy.new { targets = { { name = "a", url = server.url .. "/stream/v1" } },
    limiter = { kind = "fixed", initial = 2 * count }, clocks = { total = 600, token = 600 } }
  local left = n
  local function reader()
    while left > 0 do
      left = left - 1
      read_one(client)
    end
  end
  local began = os.clock()
  unbusy.run(function()
    for _ = 1, count do unbusy.spawn(reader) end
  end)
  local us = (os.clock() - began) / n * 1e6
  client:close()
  return us
end

local function work()
  local point, ratio = measure.curve("CPU of a stream of three events", "streams", "us"), nil
  for _, count in ipairs(counts) do
    local floor, ours = math.huge, math.huge
    for _ = 1, TURNS do
      local n = math.max(count, 1000)
      floor = math.min(floor, bare(count, n))
      ours = math.min(ours, through_client(count, n))
    end
    point("bare libcurl, nothing parsed", count, floor)
    point("client:stream", count, ours)
    ratio = ours / floor
  end
  measure.peer("bare libcurl", ("CPU of a stream, %d at once"):format(counts[#counts]), ratio)
end

-- }=========================================================================

memory()
work()
server:stop()
