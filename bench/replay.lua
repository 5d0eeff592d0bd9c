-- Streams out of the cache: what it costs to note a piece as it comes and to give it again, against
-- reading it off the wire (SSE and assembler), and how much room pieces take.
--
-- An operation is one piece of an answer of 500 chunks, as OpenAI's protocol sends them.
local assembler = require "unbusy.providers.assembler"
local measure = require "bench.support.measure"
local recording = require "unbusy.caching.recording"
local sse = require "unbusy.sse"

local PIECES, GOAL = 500, 5

local words = { " the", " rain", " stays", "\\u4eca\\u5929", ".", " unbelievable", "\\n", " 17" }

local function data_of(i)
  return ('{"id":"chatcmpl-9f3a5770e1","object":"chat.completion.chunk","created":1760000000,'
    .. '"model":"m","system_fingerprint":"fp_3a5770e1b4","choices":[{"index":0,"delta":{'
    .. '"content":"%s"},"logprobs":null,"finish_reason":null}]}'):format(words[i % #words + 1])
end

local events, wire, bytes = {}, {}, 0
for i = 1, PIECES do
  events[i] = { data = data_of(i) }
  wire[i] = "data: " .. events[i].data .. "\n\n"
  bytes = bytes + #events[i].data
end

local loop = { now = function() return 0 end }
local call = { loop = loop, kind = "chat", request = {}, deadline = math.huge }

local function record()
  local r = recording.new(call, 1e9)
  for i = 1, PIECES do r:add(events[i]) end
  return r:bytes()
end

local kept = record()

-- All pieces, as often as makes n of them.
local function each_answer(f)
  return function(n)
    for _ = 1, n, PIECES do f() end
  end
end

local function read_wire()
  local parser, a = sse.new {}, assembler.new "chat"
  for i = 1, PIECES do
    for _, event in ipairs(parser:feed(wire[i])) do
      if not a:feed(event) then error "no piece" end
    end
  end
end

local function replay()
  local pieces = recording.pieces(call, kept, 1, {}, true)
  for _ = 1, PIECES do
    if not pieces:read(math.huge) then error "no piece" end
  end
end

local ns = measure.race("one piece of a stream", {
  { name = "read off the wire", run = each_answer(read_wire) },
  { name = "noted, while it is read", run = each_answer(record) },
  { name = "given again", run = each_answer(replay) },
})

print(("  kept: %.1f bytes a piece, of %.1f"):format(#kept / PIECES, bytes / PIECES))
measure.goal("room that pieces take, of their own", #kept / bytes * 100, 100 / GOAL, "%")
measure.goal("noting a piece, of reading it", ns["noted, while it is read"]
  / ns["read off the wire"], 1, "times")
