-- What an open stream costs in memory: 1,000 at once, each with a task that waits for its next
-- piece, beside 1,000 open transfers of bare libcurl (bench/c/streams_bare.c). The server has sent
-- each one event and sends nothing more. All figures are bytes for one stream.
--
--   bare libcurl     resident memory of the program in C
--   the engine       the same transfers driven by hand: no task, no parser, no stages
--   client:stream    every stage on, and a task that reads
--
-- Each runs in a process of its own: `memory.lua NAME URL [STREAMS]` is one of them. How it grows
-- with the streams is in bench/streams.lua.
local core = require "unbusy.core"
local json = require "unbusy.json"
local measure = require "bench.support.measure"
local nginx = require "bench.support.nginx"
local tasks = require "unbusy.loops.tasks"
local unbusy = require "unbusy"

local STREAMS = tonumber(arg[3]) or 1000
local MOST = 30 * 1024 -- bytes of one, beside libcurl's own
local PROGRAM = (os.getenv "UNBUSY_BENCH_DIR" or "build/bench") .. "/streams_bare"

local question = { model = "m", messages = { { role = "user", content = ("word "):rep(80) } } }
local streaming = { model = "m", stream = true, messages = question.messages }
local headers = { "Authorization: Bearer key-1", "content-type: application/json",
  "accept: text/event-stream", "user-agent: unbusy" }

-- {== What this process holds =============================================

local function collect()
  collectgarbage()
  collectgarbage()
end

local function resident_bytes()
  local file = assert(io.open("/proc/self/status"))
  local kilobytes = file:read("*a"):match "VmRSS:%s+(%d+)"
  file:close()
  return tonumber(kilobytes) * 1024
end

local function look()
  collect()
  return { resident = resident_bytes(), lua = collectgarbage "count" * 1024,
    blocks = core.stats().blocks }
end

local function cost(before, now)
  local of_one = {}
  for name, value in pairs(now) do of_one[name] = (value - before[name]) / STREAMS end
  return of_one
end

-- }========================================================================

-- {== Contestants =========================================================

-- So many transfers that have had their first event; gives their ids.
local function open_by_hand(e, base, n)
  local ids, waiting = {}, n
  local request = { url = base .. "/chat/completions", method = "POST", headers = headers,
    body = json.encode(streaming), streams = true, connect = 5 }
  for i = 1, n do ids[i] = assert(e:submit(request)) end
  while waiting > 0 do
    for id in e.next, e do
      local kind, a
      repeat
        kind, a = e:take(id)
        if kind == "data" then waiting = waiting - 1 end
        if kind == "end" then error(a) end
      until not kind
    end
    e:wait(0.1)
    e:step()
  end
  return ids
end

local function by_hand(base)
  local e = assert(core.engine())
  open_by_hand(e, base, 1)
  local before = look()
  open_by_hand(e, base, STREAMS)
  local of_one = cost(before, look())
  e:close()
  return of_one
end

-- Opens streams, each read by a task of its own; gives them once each has had its first piece.
local function open_streams(loop, client, n)
  local streams, waiting = {}, n
  for i = 1, n do
    loop.spawn(function()
      streams[i] = assert(client:stream(question))
      assert(streams[i]:read())
      waiting = waiting - 1
      streams[i]:read()
    end)
  end
  while waiting > 0 do loop.sleep(0.01) end
  return streams
end

local function close(streams)
  for _, stream in ipairs(streams) do stream:close() end
end

local function through_client(base)
  local client = unbusy.new { targets = { { name = "a", url = base, key = "key-1" } },
    limiter = { initial = 2 * STREAMS }, clocks = { total = 600, token = 600 } }
  local of_one
  tasks.enter(function(loop)
    close(open_streams(loop, client, 1))
    local before = look()
    local streams = open_streams(loop, client, STREAMS)
    of_one = cost(before, look())
    close(streams)
  end)
  return of_one
end

local contestants = { engine = by_hand, client = through_client }

if arg[1] then
  local of_one = contestants[arg[1]](arg[2])
  print(of_one.resident, of_one.lua, of_one.blocks)
  return
end

-- }========================================================================

local function numbers_of(words)
  local pipe = io.popen(table.concat(words, " "))
  local a, b, c = pipe:read("*n", "*n", "*n")
  pipe:close()
  return assert(a, "a contestant failed"), b, c
end

local function bare(base)
  local words = { PROGRAM, base .. "/chat/completions", STREAMS,
    "'" .. json.encode(streaming) .. "'" }
  for _, line in ipairs(headers) do words[#words + 1] = "'" .. line .. "'" end
  local resident, allocated = numbers_of(words)
  return { resident = resident, allocated = allocated }
end

local function apart(name, base)
  local resident, heap, blocks = numbers_of { arg[-1], "bench/memory.lua", name, base }
  return { resident = resident, lua = heap, blocks = blocks }
end

local function show(name, of_one, floor)
  local function bytes(n) return n and ("%9.0f"):format(n) or "        -" end
  print(("  %-16s %s %s %s %8s %s"):format(name, bytes(of_one.resident),
    bytes(of_one.resident - floor.resident), bytes(of_one.lua),
    of_one.blocks and ("%.2f"):format(of_one.blocks) or "-", bytes(of_one.allocated)))
end

local server = nginx.start()
local base = server.url .. "/hold/v1"
local lua = jit and jit.version or _VERSION -- luacheck: ignore 113
print(("bytes of one of %d open streams (%s)"):format(STREAMS, lua))
print "                    resident beside it  Lua heap   blocks    malloc"
local floor, through = bare(base), apart("client", base)
show("bare libcurl", floor, floor)
show("the engine", apart("engine", base), floor)
show("client:stream", through, floor)
measure.goal("a stream, beside libcurl's own", through.resident - floor.resident, MOST, "bytes")
server:stop()
