-- Weak answers of an edge, as the gateway's clients see what became of them; and four workers that
-- bound and count them as one.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "near", url = "${edge}/v1", key = "k", pool = "edge",
      price = { input = 1000000, output = 1000000 } },
    { name = "far", url = "${centre}/v1", key = "k", pool = "centre",
      price = { input = 1000000, output = 1000000 } } },
  retry = false, clocks = { total = 30 }, ${more}
}]]

local SERVER = [[
  location = /__escalate {
    access_log off;
    content_by_lua_block {
      local json = require "unbusy.json"
      ngx.print(ngx.worker.id(), " ", json.encode(gateway.client:status().escalate or {}))
    }
  }
]]

local REFUSAL = "I don't know."

describe("the gateway, where an answer is weak,", function()
  local edge, centre, g

  setup(function()
    edge, centre = busyd.start { workers = 1 }, busyd.start { workers = 1 }
  end)
  teardown(function()
    edge:stop()
    centre:stop()
  end)
  before_each(function()
    edge:programme { reset = true, answer = { text = REFUSAL } }
    centre:programme { reset = true }
  end)

  local function start(more, workers)
    g = gateways.start { config = CONFIG, server = SERVER, workers = workers,
      values = { edge = edge.url, centre = centre.url, more = more or "escalate = true" } }
  end

  after_each(function()
    g:settle()
    assert.is_nil(g:errors():find("[error]", 1, true))
    g:stop()
  end)

  local function ask(streaming)
    local body = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    if streaming then body = body:gsub("}$", ',"stream":true}') end
    return g:ask("/v1/chat/completions", { body = body })
  end

  -- What headers and the log say.
  local function told(answer)
    local h, line = answer.headers, g:log(1)
    return { h["x-unbusy-target"], h["x-unbusy-tries"], h["x-unbusy-escalated"],
      h["x-unbusy-weak"], h["x-unbusy-code"], line.escalated, line.weak }
  end

  local function text_of(answer)
    local out = {}
    for data in answer.body:gmatch "data: (%b{})\n\n" do
      local choice = json.decode(data).choices[1]
      out[#out + 1] = choice and choice.delta.content ~= json.null and choice.delta.content or nil
    end
    return table.concat(out)
  end

  it("passes the centre's bytes on, and says whose place they take", function()
    start()
    local answer = ask()
    assert.equal("echo: hi", json.decode(answer.body).choices[1].message.content)
    assert.same({ "far", "2", "refused", nil, nil, "refused", nil }, told(answer))
    local body, line = json.decode(answer.body), g:log(1)
    assert.is_true(line.prompt_tokens > body.usage.prompt_tokens)
    assert.equal(line.prompt_tokens + line.completion_tokens, line.cost)
    assert.same({ 1, 1 }, { edge:counts().received, centre:counts().received })
  end)

  it("passes the weak one on where the centre fails, and says so", function()
    start()
    centre:programme { reset = true, capacity = 0 }
    local answer = ask()
    assert.equal(REFUSAL, json.decode(answer.body).choices[1].message.content)
    assert.equal(200, answer.status)
    assert.same({ "near", "2", nil, "refused", "busy", nil, "refused" }, told(answer))
  end)

  it("marks a stream in the log, whose header is out", function()
    start()
    local answer = ask(true)
    assert.equal(REFUSAL, text_of(answer))
    assert.same({ "near", "1", nil, nil, nil, nil, "refused" }, told(answer))
  end)

  it("streams the centre's answer where the edge's is held back", function()
    start "escalate = { hold = true }"
    local answer = ask(true)
    assert.equal("echo: hi", text_of(answer))
    assert.same({ "far", "2", "refused", nil, nil, "refused", nil }, told(answer))
    assert.truthy(answer.body:find "data: %[DONE%]\n\n$")
    edge:programme { reset = true }
    answer = ask(true)
    assert.equal("echo: hi", text_of(answer))
    assert.same({ "near", "1" }, { told(answer)[1], told(answer)[2] })
    assert.truthy(answer.body:find "data: %[DONE%]\n\n$")
  end)

  it("bounds and counts them in four workers as in one", function()
    -- (All of them find room at the edge, however many come at the same moment.)
    start("escalate = { most = 0, floor = 7 }, limiter = { kind = 'fixed', initial = 100 },", 4)
    local command = g:command("/v1/chat/completions", { options = "-o /dev/null",
      body = '{"messages":[{"role":"user","content":"hi"}]}' })
    os.execute(("(for i in $(seq 40); do (%s) & done; wait) >/dev/null 2>&1"):format(command))
    assert.same({ 40, 7 }, { edge:counts().received, centre:counts().received })
    local seen, count = {}, 0
    gateways.eventually(function()
      local id, text = g:ask("/__escalate").body:match "^(%d) (.*)$"
      if not seen[id] then seen[id], count = json.decode(text), count + 1 end
      return count == 4
    end)
    for id, status in pairs(seen) do
      assert.same({ id, 40, 40, 7, 7, 33, 40 }, { id, status.judged, status.weak.refused,
        status.asked, status.replaced, status.kept.share, status.answers.near })
    end
  end)
end)
