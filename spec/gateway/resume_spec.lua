-- Streams of the gateway that break off upstream and are gone on with: its clients see one answer.
local busyd = require "spec.support.busyd"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k", prefix = "flag" } },
  retry = { attempts = ${attempts}, base = 0.01, jitter = 0 }, resume = "prefix", ${more}
}]]

local STREAM = '{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
local TEXT = "哈哈 \"ha ha ha ha\"\\n\n\n  天气/é 😀\t ha ha ha\n"

describe("a stream of the gateway that breaks off upstream", function()
  local up, g

  local function start(more, workers, attempts)
    g = gateways.start { config = CONFIG, workers = workers,
      values = { url = up.url, more = more or "", attempts = tostring(attempts or 4) } }
  end

  local function programme(script, more)
    local p = { reset = true, answer = { text = TEXT, chunks = 20, continues = true },
      script = script }
    for name, value in pairs(more or {}) do p[name] = value end
    up:programme(p)
  end

  setup(function() up = busyd.start { workers = 2 } end)
  teardown(function() if up then up:stop() end end)

  after_each(function()
    g:settle()
    assert.is_nil(g:errors():find("[error]", 1, true))
    g:stop()
  end)

  local function ask(body, path)
    return g:ask(path or "/v1/chat/completions", { body = body or STREAM })
  end

  -- The text of its events, how many answers they are of, and what else is in them.
  local function read(answer)
    local out, ids, count, last = {}, {}, 0, nil
    for data in answer.body:gmatch "data: ([^\n]*)\n" do
      local chunk = data:find "^{" and json.decode(data)
      if chunk and chunk.choices then
        local seen = ("%s %s %s"):format(chunk.id, chunk.created, chunk.model)
        if not ids[seen] then ids[seen], count = true, count + 1 end
        local choice = chunk.choices[1]
        out[#out + 1] = choice and (choice.text or choice.delta and choice.delta.content)
      elseif not chunk then
        last = data
      end
    end
    return table.concat(out), count, last
  end

  it("is one answer, whose log line says how often it was gone on with", function()
    start()
    for after = 1, 19, 6 do
      programme { { preset = "cut_stream", after = after }, { preset = "reset_stream", after = 1 } }
      assert.same({ TEXT, 1, "[DONE]" }, { read(ask()) })
    end
    local line = g:log(1)
    assert.same({ 2, 3, 200, "main" }, { line.resumed, line.tries, line.status, line.target })
    assert.is_nil(line.code)
    programme {}
    ask()
    assert.is_nil(g:log(5).resumed)
  end)

  it("is a completion, too", function()
    start()
    programme { { preset = "cut_stream", after = 7 } }
    local text = read(ask('{"model":"m","stream":true,"prompt":"Say: "}', "/v1/completions"))
    assert.equal(TEXT, text)
  end)

  it("keeps the client's connection alive meanwhile", function()
    start "gateway = { ping = 1 }"
    programme { { preset = "cut_stream", after = 7 },
      { preset = "stall_headers", seconds = 2.5, ending = "close" } }
    local answer = ask()
    assert.same({ TEXT, 1, "[DONE]" }, { read(answer) })
    local _, pings = answer.body:gsub(": ping\n\n", "")
    assert.is_true(pings >= 2, pings) -- more, where the machine is slow
    assert.equal(1, g:log(1).resumed)
  end)

  it("is told to be cut where nobody goes on with it", function()
    start()
    programme { { preset = "cut_stream", after = 7 }, { preset = "busy_503" },
      { preset = "busy_503" }, { preset = "busy_503" } }
    local answer = ask()
    local text, _, last = read(answer)
    assert.equal(TEXT:sub(1, #text), text)
    assert.is_nil(last)
    assert.is_truthy(answer.body:find("not continued: main: 503", 1, true))
    local line = g:log(1)
    assert.same({ "cut", 4, 200 }, { line.code, line.tries, line.status })
  end)

  it("lets go of everything when its client leaves meanwhile", function()
    start()
    programme({ { preset = "cut_stream", after = 7 },
      { preset = "stall_headers", seconds = 30 } })
    local s = g:connect()
    s:write(("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s")
      :format(#STREAM, STREAM))
    s:flush()
    gateways.eventually(function() return up:counts().received == 2 end)
    s:close()
    gateways.eventually(function() return up:counts().in_service == 0 end)
    assert.equal(499, g:log(1).status)
  end)

  it("is whole among many, with several workers and one budget", function()
    start("budget = { floor = 1000, tokens = 100000 }, breaker = false, "
      .. "limiter = { initial = 200, max = 200 }", 3, 30)
    programme({}, { faults = { { share = 0.5, answer = { preset = "cut_stream", after = 9 } } },
      token_interval = 0.002 })
    local command = g:command("/v1/chat/completions", { body = STREAM })
    local path = os.tmpname()
    os.execute(("(for i in $(seq 60); do (%s > %s.$i) & done; wait)"):format(command, path))
    local resumed = 0
    for i = 1, 60 do
      local file = assert(io.open(path .. "." .. i, "rb"))
      local body = file:read "*a"
      file:close()
      os.remove(path .. "." .. i)
      assert.is_truthy(body:find("[DONE]", 1, true), body)
      assert.same({ TEXT, 1, "[DONE]" }, { read { body = body } })
    end
    os.remove(path)
    for i = 1, 60 do resumed = resumed + (g:log(i).resumed or 0) end
    local counts = up:counts()
    assert.equal(60 + resumed, counts.received)
    assert.equal(counts.received, counts.completed + counts.faulted)
    assert.is_true(resumed > 10, resumed)
  end)
end)
