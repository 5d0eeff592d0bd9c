-- Whole answers that are asked as streams: the rest is asked for where somebody can go on, else all
-- of it; what comes is the whole text in any case.
local resumed = require "spec.support.resumed"

local TEXT, DONE = resumed.TEXT, resumed.DONE
local question, finish = resumed.question, resumed.finish

local function build(o)
  o.options = o.options or {}
  o.options.upstream_stream = true
  return resumed.build(o)
end

-- The messages of what a server was asked last.
local function last_messages(server)
  return server.asked[#server.asked].messages
end

describe("a whole answer that breaks off upstream", function()
  it("is gone on with, and tells what all of it has taken", function()
    local price = { input = 1, output = 2 }
    local w = build { servers = { a = { cuts = { DONE } } },
      targets = { a = { prefix = "flag", price = price } } }
    local reply = assert(w.client:chat(question { max_tokens = 100 }))
    assert.same({ TEXT, TEXT, 1, 2, "answer-1" }, { reply.text,
      reply.body.choices[1].message.content, reply.resumed, reply.tries, reply.body.id })
    local messages = last_messages(w.servers.a)
    assert.is_true(messages[2].prefix)
    assert.is_true(w.servers.a.asked[2].max_tokens < 100)
    local u = reply.usage
    assert.is_true(u.estimated_tokens > 0 and u.total_tokens == 15 + u.estimated_tokens)
    assert.near((u.prompt_tokens + 2 * u.completion_tokens) / 1e6, reply.cost, 1e-12)
    assert.same({ 1, 1 }, { #w:seen "resume", w.client:status().resumed })
    finish(w)
  end)

  it("is asked anew of a target that cannot go on", function()
    local w = build { servers = { a = { cuts = { DONE } }, b = { cuts = { 700 } } },
      order = { "a", "b" }, targets = { b = {} } }
    local reply = assert(w.client:chat(question()))
    assert.equal(TEXT, reply.text)
    assert.equal(1, #w.servers.b.asked[1].messages)
    assert.is_true(last_messages(w.servers.a)[2].prefix) -- what a had said is not forgotten
    assert.same({ 3, 1 }, { reply.tries, reply.resumed })
    finish(w)
  end)

  it("is asked anew where the rest does not take up the thread", function()
    local w = build { servers = { a = { cuts = { DONE }, repeats = 0, lead = "Sure: " } },
      targets = { a = {} }, options = { resume = "prompt" } }
    local reply = assert(w.client:chat(question()))
    assert.same({ TEXT, 0, 3 }, { reply.text, reply.resumed, reply.tries })
    assert.same({ 1, 3, 1 }, { #w.servers.a.asked[1].messages, #w.servers.a.asked[2].messages,
      #w.servers.a.asked[3].messages })
    finish(w)
  end)

  it("is asked anew where there is no room for more, or may not be gone on with", function()
    for _, more in ipairs { { max_tokens = 2 }, { n = 2 }, { tools = { { type = "function" } } },
      { response_format = { type = "json_object" } } } do
      local w = build { servers = { a = { cuts = { DONE } } } }
      local reply = assert(w.client:chat(question(more)))
      assert.same({ TEXT, 0, 2 }, { reply.text, reply.resumed, reply.tries })
      assert.equal(1, #last_messages(w.servers.a))
      finish(w)
    end
  end)

  it("stops where a stop sequence spans the seam", function()
    local first = build { servers = { a = { cuts = { DONE } } }, options = { resume = false } }
    local stream = assert(first.client:stream(question()))
    local said = resumed.drain(stream)
    finish(first)
    local w = build { servers = { a = { cuts = { DONE } } } }
    local reply = assert(w.client:chat(question { stop = TEXT:sub(#said - 1, #said + 2) }))
    assert.same({ said, "stop", 1 }, { reply.text, reply.finish_reason, reply.resumed })
    finish(w)
  end)

  it("is as ever without the option, and where a policy forbids it", function()
    for _, options in ipairs { { resume = false },
      { policy = { resume = function() return false end } } } do
      local w = build { servers = { a = { cuts = { DONE } } }, options = options }
      local reply = assert(w.client:chat(question()))
      assert.same({ TEXT, 0, 2 }, { reply.text, reply.resumed, reply.tries })
      assert.equal(1, #last_messages(w.servers.a))
      finish(w)
    end
  end)

  it("is forgotten where another model stands in", function()
    local busy = { status = 503, body = "" }
    local w = build { servers = { a = { cuts = { DONE }, fails = { [2] = busy } } },
      options = { retry = { attempts = 2, base = 0.1, jitter = 0 },
        fallback = { { model = "other" } } } }
    local reply = assert(w.client:chat(question()))
    assert.same({ TEXT, "model", 0 }, { reply.text, reply.fallback.kind, reply.resumed })
    assert.same({ 2, 1, "other" }, { #w.servers.a.asked[2].messages,
      #w.servers.a.asked[3].messages, w.servers.a.asked[3].model })
    finish(w)
  end)
end)
