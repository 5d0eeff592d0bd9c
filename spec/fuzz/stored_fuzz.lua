--- Any bytes where a kept answer is expected, as Redis or a file may give them: the question is
--- asked, or what was kept is an answer, or it is a cut; read whole and as a stream.
local contract = require "spec.fuzz.contract"
local json = require "unbusy.json"
local stored = require "unbusy.caching.stored"
local world = require "spec.support.world"

local target = {}

target.words = { "\1", "\1000000000300000", "000000000000", "000000000001", "000000000100", "a\n",
  "\n", "{", "}", '{"choices":[{"index":0,"message":{"role":"assistant","content":"x"},'
    .. '"finish_reason":"stop"}]}', '"choices":[]', '"delta":{"content":"x"}', '"error":{}',
  '"finish_reason":null', "data: [DONE]\n\n", "99999999999999999999", "-1", "nan", "0x10", "1e9",
  "\0", "\255", "null", " ", ":" }

local ROUNDS = 500 -- of one client: what it has seen is kept

local w, level, rounds

local function begin()
  w = world.new { script = { a = function(request)
    return request.body:find('"stream":true', 1, true) and world.words { "one" } or world.good()
  end }, options = { cache = true, retry = false } }
  level, rounds = {}, 0
  function w.client.cache.get() return level.value, level.state, 1 end
  function w.client.cache.set() return true end
end

local function outcome(reply, message, code, detail)
  if not reply then
    assert(contract.failure(reply, message, code, detail) == "cut", message)
    return "cut"
  end
  assert(reply.text == nil or type(reply.text) == "string")
  assert(reply.raw or json.encode(reply.body), "an answer that cannot be passed on")
  return reply.source
end

function target.check(input)
  if not w or rounds >= ROUNDS then begin() end
  rounds = rounds + 1
  level.value, level.state = input, #input % 2 == 0 and "fresh" or "stale"
  local ttl = stored.ttl(input)
  assert(ttl == nil or type(ttl) == "number")
  local name, text, at = stored.unpack(input)
  assert(name == nil or #name + #text < #input and at <= #input + 1)
  local stream = assert(w:stream())
  local streamed = outcome(stream:reply())
  return ("%s %s %s"):format(outcome(w:chat()), streamed, stream.source) .. tostring(name ~= nil)
end

return target
