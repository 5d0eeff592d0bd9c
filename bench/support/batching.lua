--- Many callers ask small questions, one by one or by a rule of batches, at the busy upstream. It
--- serves so many requests at a time, takes 50 ms for one, and a share of that more for each
--- further item of a batch. Bytes are those that it has read and written, with all headers, as
--- HTTP/1.1 has them; TCP's own are not in them.
--
--     local t = batching.turn(up, "endpoint", "endpoint", 4096, { share = 0.1, length = 30 })
--     t.rate (calls a second)  t.requests (for 1000 calls)  t.bytes, t.cpu (us) of a call
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local unbusy = require "unbusy"

local batching = {}

--- Requests that the upstream serves at a time; the seconds that one takes; callers that have a
--- question at any moment.
batching.PLACES, batching.LATENCY, batching.CALLERS = 8, 0.05, 256

local function question(i, length)
  local text = ("%d: what is the weather like in Shanghai today, and tomorrow? "):format(i)
  return text:rep(math.ceil(length / #text)):sub(1, length)
end

local kinds = {
  endpoint = { call = "chat", request = function(text)
    return { model = "m", temperature = 0, messages = { { role = "user", content = text } } }
  end, said = function(reply) return reply.text end },
  completions = { call = "complete", request = function(text)
    return { model = "m", temperature = 0, prompt = text }
  end, said = function(reply) return reply.text end },
  embeddings = { call = "embed", request = function(text)
    return { model = "m", input = text }
  end, said = function(reply) return reply.body.data[1].embedding[1] end },
}

local function expected(kind, text)
  if kind == kinds.embeddings then return busyd.embedding(text)[1] end
  return busyd.expected(text)
end

local function new_client(up, rule)
  return unbusy.new { targets = { { name = "a", url = up.url .. "/v1", key = "key-1",
    batch = "/api/v1/batch" } }, batch = rule,
    limiter = { kind = "fixed", initial = batching.PLACES } }
end

-- `count` calls by so many callers, each with its next question as soon as it has its answer.
local function run(client, kind, count, length)
  local next_one = 0
  local function caller()
    while next_one < count do
      next_one = next_one + 1
      local text = question(next_one, length)
      local reply, message = client[kind.call](client, kind.request(text))
      if not reply then error(message, 0) end
      if kind.said(reply) ~= expected(kind, text) then error("another's answer", 0) end
    end
  end
  unbusy.run(function()
    for _ = 1, batching.CALLERS do unbusy.spawn(caller) end
  end)
end

-- What the upstream has counted, once it has counted the last byte.
local function counts(up)
  while true do
    local c = up:counts()
    if c.bytes_counted == c.received then return c end
    os.execute "sleep 0.02"
  end
end

--- One turn of so many calls.
---@param up table a busyd of its own
---@param rule string|false of batches
---@param name "endpoint"|"completions"|"embeddings" the kind of the calls
---@param count integer
---@param o table { share = of the latency that a further item takes, length = bytes of a question }
---@return table { rate =, requests =, bytes =, cpu = }
function batching.turn(up, rule, name, count, o)
  local client = new_client(up, rule)
  up:programme { capacity = batching.PLACES, queue = batching.CALLERS, latency = batching.LATENCY,
    latency_per_item = batching.LATENCY * o.share, reset = true }
  collectgarbage()
  local began, cpu = core.now(), os.clock()
  run(client, kinds[name], count, o.length)
  local seconds = core.now() - began
  cpu = os.clock() - cpu
  client:close()
  local c = counts(up)
  return { rate = count / seconds, requests = c.received / count * 1000,
    bytes = (c.bytes_received + c.bytes_sent) / count, cpu = cpu / count * 1e6 }
end

--- How much less of something a batched call takes, in percent.
function batching.saved(single, batched, what)
  return (1 - batched[what] / single[what]) * 100
end

return batching
