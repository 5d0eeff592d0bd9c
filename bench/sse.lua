-- The SSE parser against the quickest ones in plain Lua, and the core's alone against a plain scan
-- for lines in C (bench/c/sse_scan.c).
--
-- The streams are chat answers as OpenAI's protocol sends them: events of 100 to 300 bytes, alike
-- but for their text. They come in chunks of 16 KB and of one event each. An operation is one
-- event. The floor makes the tables and strings of the events, whose places it knows, and parses
-- nothing: where the quickest parser in plain Lua takes less than 2.5 floors, none that gives the
-- same can be 2.5 times as quick.
local measure = require "bench.support.measure"
local peers = require "bench.support.sse_peers"
local sse = require "unbusy.sse"

local EVENTS, CHUNK = 8192, 16384

-- {== Streams =============================================================

local words = { " the", " rain", " stays", "\\u4eca\\u5929", ".", " unbelievable", "\\n", " 17" }
local tails = { "", ',"usage":null',
  ',"system_fingerprint":"fp_3a5770e1b4_prod0425fp8","logprobs":null' }

-- One answer of some 200 pieces: all of them have its id in common.
local function event(i)
  return ('data: {"id":"chatcmpl-%06x","object":"chat.completion.chunk","created":%d,'
    .. '"choices":[{"index":0,"delta":{"content":"%s%s"}}]%s}\n\n')
    :format(math.floor(i / 200) * 7919, 1760000000 + math.floor(i / 200), words[i % #words + 1],
      words[i * 7 % 5 + 1] .. i % 89, tails[math.floor(i / 200) % #tails + 1])
end

local function all_events()
  local list = {}
  for i = 1, EVENTS do list[i] = event(i) end
  return list
end

local function chunks(list)
  local text, out = table.concat(list), {}
  for at = 1, #text, CHUNK do out[#out + 1] = text:sub(at, at + CHUNK - 1) end
  return out
end

-- }========================================================================

-- Feeds the stream, again and again, until n events came out.
local function reader(feed, stream)
  local i = 0
  return function(n)
    local seen = 0
    while seen < n do
      i = i % #stream + 1
      seen = seen + #feed(stream[i])
    end
  end
end

-- The least that any reader does who gives the same: a list a chunk, a table and a string an event.
local function floor(places, stream)
  local sub, i = string.sub, 0
  local function rest(out, chunk, from)
    local n = 1
    for k = 3, #from, 2 do
      n = n + 1
      out[n] = { data = sub(chunk, from[k], from[k + 1]) }
    end
  end
  return function(n)
    local seen = 0
    while seen < n do
      i = i % #stream + 1
      local chunk, from = stream[i], places[i]
      local out = { { data = sub(chunk, from[1], from[2]) } }
      if from[3] then rest(out, chunk, from) end
      seen = seen + #out
    end
  end
end

-- Where the data of the events lies that are whole within their chunk.
local function places_of(stream)
  local places = {}
  for i, chunk in ipairs(stream) do
    local list, at = {}, 1
    while true do
      local from, to = chunk:find("data: [^\n]*\n\n", at)
      if not from then break end
      list[#list + 1] = from + 6
      list[#list + 1] = to - 2
      at = to + 1
    end
    places[i] = list
  end
  return places
end

-- The same for a parser of ours.
local function our_reader(stream)
  local p, i = sse.new {}, 0
  return function(n)
    local seen = 0
    while seen < n do
      i = i % #stream + 1
      seen = seen + #p:feed(stream[i])
    end
  end
end

-- All of them must find the same events, before they may run.
local function check(feed, stream)
  local n = 0
  for _, chunk in ipairs(stream) do
    for _, found in ipairs(feed(chunk)) do
      n = n + 1
      assert(found.data == event(n):sub(7, -3))
    end
  end
  assert(n == EVENTS)
end

local function race(title, stream)
  local p = sse.new {}
  local lines, events, pattern = peers.by_lines(), peers.by_events(), peers.by_pattern()
  for _, feed in ipairs { function(bytes) return p:feed(bytes) end, lines, events, pattern } do
    check(feed, stream)
  end
  local ns = measure.race(title, {
    { name = "unbusy", run = our_reader(stream) },
    { name = "plain Lua, line by line", run = reader(lines, stream) },
    { name = "plain Lua, event by event", run = reader(events, stream) },
    { name = "plain Lua, a pattern an event", run = reader(pattern, stream) },
    { name = "floor: the tables and strings", run = floor(places_of(stream), stream) },
  })
  local peer = math.min(ns["plain Lua, line by line"], ns["plain Lua, event by event"],
    ns["plain Lua, a pattern an event"])
  measure.goal("quicker than the quickest in plain Lua", peer / ns.unbusy, 2.5, "times", true)
  measure.goal("near the floor", ns.unbusy / ns["floor: the tables and strings"], 1.25, "times")
end

-- The core's parser alone: half as quick as a scan that knows only "\n" and "data: ".
local function race_in_c()
  local pipe = io.popen(os.getenv "UNBUSY_BENCH_DIR" .. "/sse_scan")
  for line in pipe:lines() do
    local name, scan, parser = line:match "^(.-)\t(%d+)\t(%d+)$"
    print(("SSE in C, %s: scan %s MB/s, parser %s MB/s"):format(name, scan, parser))
    measure.goal("as quick as the scan", parser / scan, 0.5, "times", true)
  end
  pipe:close()
end

local list = all_events()
race("SSE, chunks of 16 KB", chunks(list))
race("SSE, chunks of an event", list)
race_in_c()
