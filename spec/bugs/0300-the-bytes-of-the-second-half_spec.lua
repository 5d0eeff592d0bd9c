-- With `upstream_stream` and `resume`, a server may give the rest of an answer that broke off as a
-- whole answer of its own, and no stream. The reply's text was all of it, and its bytes (`raw`)
-- were those of the rest: so a gateway's client had the second half alone, and the cache kept that.
local json = require "unbusy.json"
local resumed = require "spec.support.resumed"

local TEXT, DONE, question = resumed.TEXT, resumed.DONE, resumed.question

-- A server that breaks off once, and then gives the rest as JSON.
local function build(options)
  options.upstream_stream = true
  local w = resumed.build { servers = { a = { cuts = { DONE } } }, options = options }
  local a = w.servers.a
  w.script.a = function(request, n)
    if n == 1 then return a:answer(request, n) end
    local body = json.decode(request.body)
    a.asked[n] = body
    return { status = 200, body = json.encode { id = "rest", object = "chat.completion",
      model = "m", choices = { { index = 0, finish_reason = "stop",
        message = { role = "assistant", content = a:rest(body) } } },
      usage = { prompt_tokens = 10, completion_tokens = 5, total_tokens = 15 } } }
  end
  return w
end

local function said(bytes)
  return json.decode(bytes).choices[1].message.content
end

describe("an answer whose rest came whole", function()
  it("has no bytes but its own", function()
    local w = build {}
    local reply = assert(w.client:chat(question()))
    assert.same({ TEXT, 1, 2 }, { reply.text, reply.resumed, reply.tries })
    assert.equal(TEXT, said(reply.raw or json.encode(reply.body)))
    resumed.finish(w)
  end)

  it("is kept as a whole", function()
    local w = build { cache = { ttl = 60 } }
    local request = question { temperature = 0 }
    assert.equal(TEXT, assert(w.client:chat(request)).text)
    local kept = assert(w.client:chat(request))
    assert.same({ "cache", TEXT }, { kept.source, kept.text })
    resumed.finish(w)
  end)
end)
