-- A flight whose call went in a batch ended with the time of those who were there when the batch
-- was sent: who had joined since, and had more time, had the same asked once more, just before the
-- answer was there.
local coalesced = require "spec.support.coalesced"
local json = require "unbusy.json"

describe("a batch that a flight's call is in", function()
  local function vectors(request)
    local texts, data = json.decode(request.body).input, {}
    for i, text in ipairs(type(texts) == "table" and texts or { texts }) do
      data[i] = { index = i - 1, embedding = { #text } }
    end
    return { status = 200, after = 5, body = json.encode { object = "list", model = "m",
      data = data } }
  end

  -- "x" for 2 s and "yy" for 2 s, and a second later "x" once more, for longer.
  local function ask(longer, options)
    local o = { breaker = false, batch = { rule = "embeddings", window = 0.1 } }
    for k, v in pairs(options or {}) do o[k] = v end
    local w = coalesced.world(vectors, o)
    local function asked(text, deadline, after)
      return { kind = "embed", request = { model = "m", input = text },
        given = { deadline = deadline }, after = after }
    end
    local out = coalesced.ask(w, { asked("x", 2), asked("yy", 2), asked("x", longer, 1) })
    coalesced.assert_idle(w)
    assert.equal("timeout", out[1].code)
    assert.equal("timeout", out[2].code)
    assert.near(2, out[2].at, 0.2)
    return out[3], w
  end

  it("lasts as long as the one may wait who has joined it", function()
    local out, w = ask(100)
    assert.same({ 1 }, out.reply.body.data[1].embedding)
    assert.near(5.1, out.at, 1e-6)
    assert.equal(1, #w.log)
  end)

  it("does not last longer", function()
    local out, w = ask(3)
    assert.equal("timeout", out.code)
    assert.near(4, out.at, 0.2)
    assert.equal(1, #w.log)
  end)
end)
