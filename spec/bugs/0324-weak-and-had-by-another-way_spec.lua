-- A call that wants its answer whole may have that of a stream which is asked the same just then.
-- Such a stream is judged at its end, when it is too late to ask somebody else for who has read it.
-- But it was taken for too late for the call, too: it had the weak answer of the edge, and nobody
-- asked the centre, as it would have had it come a moment sooner or later.
local coalesced = require "spec.support.coalesced"
local json = require "unbusy.json"
local world = require "spec.support.world"

local NO = "I don't know."

local function said_no()
  local made = world.words({ "I don't ", "know." }, 1)
  table.insert(made.steps, #made.steps, { 0, "data: " .. json.encode { choices = json.array {},
    usage = { prompt_tokens = 7, completion_tokens = 0, total_tokens = 7 } } .. "\n\n" })
  return made
end

-- Both pools, and those who ask: a stream, and two calls in the midst of it.
local function ask(centre, list, options)
  local o = { cache = true, escalate = true, retry = false }
  for name, value in pairs(options or {}) do o[name] = value end
  local w = world.new { order = { "edge", "centre" }, options = o, targets = {
      edge = { pool = "edge", price = { input = 1e6, output = 1e6 }, priority = 1 },
      centre = { pool = "centre", price = { input = 1e6, output = 1e6 }, priority = 2 } },
    script = { centre = { centre }, edge = function(request)
      local streams = request.body:find('"stream":true', 1, true)
      return streams and said_no() or world.good(NO)
    end } }
  local out = coalesced.ask(w, list or { { kind = "stream" }, { after = 0.5 }, { after = 0.7 } })
  w:assert_clean()
  return out, w
end

local function shown(o)
  local r = o.reply
  return r.text, r.source, r.target, r.tries, r.weak or false
end

describe("a call that waits for the end of a stream", function()
  it("has the answer in place of a weak one, and shares that with others", function()
    local out, w = ask(world.good "from the centre")
    assert.same({ NO, "upstream", "edge", 1, "refused" }, { shown(out[1]) })
    assert.same({ "from the centre", "upstream", "centre", 2, false }, { shown(out[2]) })
    assert.same({ "from the centre", "coalesced", "centre", 2, false }, { shown(out[3]) })
    local mark = out[2].reply.escalated
    assert.same({ "refused", "edge", 7, 15, 0 },
      { mark.reason, mark.target, out[1].reply.cost, out[2].reply.cost, out[3].reply.cost })
    assert.same({ edge = 1, centre = 1 }, w.sent)
    local told = w.client:status().escalate
    assert.same({ 1, { refused = 1 }, 1, 1, { stream = 1 } },
      { told.judged, told.weak, told.asked, told.replaced, told.kept })
    assert.equal("cache", w.client:chat(coalesced.request()).source)
  end)

  it("has the weak one where nobody else answers", function()
    local out, w = ask(world.status(503))
    for i = 2, 3 do
      assert.same({ NO, "coalesced", "edge", 2, "refused" }, { shown(out[i]) })
      assert.same({ "busy", 0 }, { out[i].reply.failure.code, out[i].reply.cost })
    end
    assert.same({ failed = 1, stream = 1 }, w.client:status().escalate.kept)
  end)

  it("has it where nobody else is to be asked", function()
    local out, w = ask(world.good "from the centre",
      { { kind = "stream", given = { escalate = false } }, { after = 0.5,
        given = { escalate = false } } })
    assert.same({ NO, "coalesced", "edge", 1, false }, { shown(out[2]) })
    assert.same({ edge = 1 }, w.sent)
    out, w = ask(world.good "from the centre", nil, { escalate = { floor = 0, most = 0 } })
    assert.same({ NO, "coalesced", "edge", 1, "refused" }, { shown(out[3]) })
    assert.same({ { edge = 1 }, { share = 1, stream = 1 } },
      { w.sent, w.client:status().escalate.kept })
  end)

  it("shows what both have cost, where nobody has read the stream to its end", function()
    local out = ask(world.good "from the centre", { { kind = "stream", read = function(s)
      s:read()
      s:close()
    end }, { after = 0.5 } })
    assert.same({ "from the centre", "upstream", "centre", 2, false }, { shown(out[2]) })
    assert.same({ 7, 22 }, { out[2].reply.escalated.cost, out[2].reply.cost })
  end)
end)
