-- The event that tells of a broken response had no `sequence_number`, which each event of the
-- Responses API has. The AI SDK took it for no event at all, and in place of what had gone wrong
-- showed twenty kilobytes of what its types had expected.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local QUESTION = '{"stream":true,"model":"m","input":"hi"}'

local function event(kind, more)
  return ('event: %s\ndata: {"type":"%s"%s}\n\n'):format(kind, kind, more)
end

local function delta(number, text)
  return event("response.output_text.delta",
    (',%s"delta":"%s"'):format(number and ('"sequence_number":%s,'):format(number) or "", text))
end

describe("the event that tells of a broken response", function()
  local up, g

  setup(function()
    up = busyd.start { workers = 1 }
    g = gateways.start { values = { url = up.url }, config = [[return { breaker = false,
      targets = { { name = "up", url = "${url}/v1" } }, gateway = { ping = 1 },
      retry = { attempts = 2, base = 1.2, jitter = 0 }, budget = false, limiter = false,
    }]] }
  end)

  teardown(function()
    if g then g:stop() end
    if up then up:stop() end
  end)

  local function told(spec)
    up:programme { faults = { { share = 1, answer = spec } } }
    local answer = g:ask("/v1/responses", { body = QUESTION })
    assert.equal(200, answer.status)
    return json.decode(answer.body:match 'event: error\ndata: ({.-})\n\n$')
  end

  local function number_behind(body)
    local e = told { body = body, headers = { ["content-type"] = "text/event-stream" } }
    assert.same({ "error", "cut" }, { e.type, e.code })
    return e.sequence_number
  end

  it("has the next number", function()
    local created = event("response.created", ',"sequence_number":0,"response":{"id":"r"}')
    assert.equal(2, number_behind(created .. delta(1, "hi")))
    assert.equal(42, number_behind(created .. delta(" 41", [[\"sequence_number\":7]])))
  end)

  it("has the first one where there was none", function()
    local created = event("response.created", ',"response":{"id":"r"}')
    assert.equal(0, number_behind(created .. delta(nil, [[\"sequence_number\":7]])))
    assert.equal(0, number_behind(created .. delta(("9"):rep(400), "hi")))
    local e = told { preset = "busy_503" }
    assert.same({ "error", "busy", 0 }, { e.type, e.code, e.sequence_number })
  end)
end)
