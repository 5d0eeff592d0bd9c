-- A call that another model or pool has answered has the code of what failed before. On the status
-- page, and in `unbusy top`, it was a call without an answer: with a reserve behind it, an outage
-- that no caller saw was an hour of nothing but failures. The log, which says "who answered, or
-- failed last", had nobody where a text stood in.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${main}/v1", key = "sk-main", models = { default = "m" } },
    { name = "spare", url = "${spare}/v1", key = "sk-spare", models = { default = "m" },
      pool = "spare", reserve = true } },
  retry = false, breaker = false, limiter = false, fallback = ${fallback},
}]]

describe("a call that somebody else has answered", function()
  local main, spare, g

  setup(function()
    main = busyd.start { workers = 1, programme = { capacity = 0 } }
    spare = busyd.start { workers = 1 }
  end)
  teardown(function()
    if main then main:stop() end
    if spare then spare:stop() end
  end)
  after_each(function() g:stop() end)

  local function start(fallback)
    spare:programme { reset = true }
    g = gateways.start { config = CONFIG, values = { main = main.url, spare = spare.url,
      fallback = fallback } }
  end

  local function ask(more)
    return g:ask("/v1/chat/completions", { body = '{"messages":[{"role":"user","content":"hi"}]'
      .. (more or "") .. "}" })
  end

  -- How many answers of each source the last hour has had.
  local function hour()
    local out = {}
    for name, list in pairs(json.decode(g:ask("/status.json").body).hour.answers) do
      for _, n in ipairs(list) do
        if n > 0 then out[name] = (out[name] or 0) + n end
      end
    end
    return out
  end

  it("has got an answer, whole or as a stream", function()
    start '{ { pool = "spare" } }'
    local answer = ask()
    assert.same({ 200, "upstream", "pool", "busy" }, { answer.status,
      answer.headers["x-unbusy-source"], answer.headers["x-unbusy-fallback"],
      answer.headers["x-unbusy-code"] })
    assert.equal(200, ask(',"stream":true').status)
    assert.same({ upstream = 2 }, hour())
  end)

  it("has got none where that one breaks off", function()
    start '{ { pool = "spare" } }'
    spare:programme { reset = true,
      faults = { { share = 1, answer = { preset = "cut_stream", after = 2 } } } }
    assert.is_nil(ask(',"stream":true').body:find("[DONE]", 1, true))
    assert.same({ failed = 1 }, hour())
  end)

  it("stands in the log with who has failed, where a text has stood in", function()
    start '"later"'
    assert.equal("fallback", ask().headers["x-unbusy-source"])
    local line = g:log(1)
    assert.same({ "fallback", "main", "busy", 1 }, { line.source, line.target, line.code,
      line.tries })
    assert.same({ fallback = 1 }, hour())
  end)
end)
