-- A stream that is read by several breaks off, and others are asked to go on with it. Who had an
-- end of its own meanwhile (its deadline) was never told that the wait is over: the gateway went on
-- with its pings behind the error event, and the request never ended.
local busyd = require "spec.support.busyd"
local coalesced = require "spec.support.coalesced"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"
local world = require "spec.support.world"

local chunk = world.chunk

local CONFIG = [[return {
  targets = { { name = "main", url = "${url}/v1", key = "k", prefix = "flag" } }, cache = true,
  retry = { attempts = 4, base = 0.01 }, resume = "prefix", gateway = { ping = 1 },
}]]

describe("a shared stream that is gone on with", function()
  -- A reader that notes what it is told, and reads to the end.
  local function heard_by(heard, given, read)
    return { kind = "stream", given = given, read = function(s, w)
      function s.on_resume(begins) heard[#heard + 1] = begins end
      if read then return read(s, w) end
      return s:reply()
    end }
  end

  it("tells each reader when the wait is over for it", function()
    local w = coalesced.world({ world.streamed({ { 0, chunk { content = "one" } } },
      { fail = "network", message = "reset" }), world.words({ "two" }, 10) },
      { retry = { attempts = 3, base = 0.1 }, resume = "prefix" }, { a = { prefix = "flag" } })
    local short, long, left, cancelled = {}, {}, {}, {}
    local out = coalesced.ask(w, { heard_by(short, { deadline = 3 }),
      heard_by(long, { deadline = 30 }),
      heard_by(left, nil, function(s)
        w.loop.spawn(function() w.loop.sleep(2) s:close() end)
        return s:reply()
      end),
      heard_by(cancelled, nil, function(s)
        local task = w.loop.spawn(function() return s:reply() end)
        w.loop.sleep(2)
        w.loop.cancel(task)
      end) })
    assert.equal("timeout", out[1].code)
    assert.is_true(out[1].at < 4)
    assert.equal("onetwo", out[2].reply.text)
    for _, heard in ipairs { short, long, left, cancelled } do
      assert.same({ true, false }, heard)
    end
    coalesced.assert_idle(w)
  end)

  it("ends the gateway's pings with the error event", function()
    local up = busyd.start { workers = 1 }
    local g = gateways.start { config = CONFIG, values = { url = up.url } }
    up:programme { answer = { chunks = 10, continues = true }, token_interval = 0.05,
      script = { { preset = "cut_stream", after = 4 }, { preset = "stall_headers", seconds = 6 } } }
    local function command(deadline)
      return g:command("/v1/chat/completions", {
        body = '{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}',
        headers = { "x-unbusy-deadline: " .. deadline } })
    end
    os.execute(("(%s >/dev/null) & sleep 0.1"):format(command(30)))
    local body = files.output(command(2.5))
    local errors = g:errors()
    g:stop()
    up:stop()
    local told = body:match 'data: {"error".*'
    assert.is_truthy(body:find(": ping", 1, true))
    assert.is_truthy(told:find('"code":"timeout"', 1, true))
    assert.is_nil(told:find(": ping", 1, true))
    assert.is_nil(errors:find("[error]", 1, true))
  end)
end)
