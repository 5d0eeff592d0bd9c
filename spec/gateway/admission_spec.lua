-- Four workers of nginx before one account: priorities, limits per minute, keys, and what they say
-- to those they turn away.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local gateways = require "spec.support.gateways"

local CONFIG = [[return {
  targets = { { name = "up", url = "${url}/v1", ${target} } }, retry = ${retry},
  clocks = { total = 60 }, ${more}
}]]

local BODY = '{"model":"m","messages":[{"role":"user","content":"x"}]}'

describe("the gateway's workers, in admission,", function()
  local up, g

  local function start(values, programme, http)
    up = not http and busyd.start { workers = 1, programme = programme } or nil
    g = gateways.start { workers = 4, config = CONFIG, http = http, values = {
      url = up and up.url or "http://127.0.0.1:${port2}", more = values.more or "",
      target = values.target or "key = 'k'", retry = values.retry or "false" } }
  end

  after_each(function()
    if g then g:stop() end
    if up then up:stop() end
    up, g = nil, nil
  end)

  local function command(headers)
    return g:command("/v1/chat/completions", { body = BODY, headers = headers })
  end

  it("let the urgent go first, of all of them, and nobody wait for ever", function()
    local slow = { latency = 6 } -- the first four hold all places until the others have come
    start({ more = "limiter = { kind = 'fixed', initial = 4 }," },
      { capacity = 4, latency = 0.1, script = { slow, slow, slow, slow } })
    local show = " | tail -1 >/dev/null; date +%%s.%%N | sed 's/^/%s /'"
    local batch = command { "x-unbusy-priority: batch" } .. show:format "batch"
    local urgent = command { "x-unbusy-priority: interactive" } .. show:format "urgent"
    -- Calls that are not urgent wait in all workers; then as many urgent ones come.
    local out = files.output(([[
      for i in $(seq 30); do (%s) & done; sleep 2; for i in $(seq 26); do (%s) & done; wait
    ]]):format(batch, urgent))
    local ends = {}
    for kind, at in out:gmatch "(%a+) ([%d.]+)" do
      ends[#ends + 1] = { kind = kind, at = tonumber(at) }
    end
    assert.equal(56, #ends)
    table.sort(ends, function(a, b) return a.at < b.at end)
    local urgent_soon, batch_soon = 0, 0 -- of the 26 behind the four slow ones
    for i = 5, 30 do
      urgent_soon = urgent_soon + (ends[i].kind == "urgent" and 1 or 0)
      batch_soon = batch_soon + (ends[i].kind == "batch" and 1 or 0)
    end
    assert.is_true(urgent_soon >= 20, urgent_soon .. " urgent ones among the first 26")
    assert.is_true(batch_soon >= 1, "the batch calls waited for all others")
    assert.equal(56, up:counts().received) -- waiting costs nothing
  end)

  it("keep one limit per minute together, and tell when to come again", function()
    start { target = "key = 'k', limits = { requests_per_minute = 100 }",
      more = "queue = { max_wait = 0.2 }," }
    local quiet = command():gsub("%-i ",
      "-o /dev/null -w '%%{http_code} %%header{retry-after}\\n' ")
    local out = files.output(("for i in $(seq 30); do (%s) & done; wait"):format(quiet))
    local ok, refused = 0, 0
    for status, seconds in out:gmatch "(%d+) (%d*)\n" do
      if status == "200" then ok = ok + 1 end
      if status == "503" then
        refused = refused + 1
        assert.is_true(tonumber(seconds) >= 1 and tonumber(seconds) <= 20, seconds)
      end
    end
    assert.equal(30, ok + refused, out)
    assert.is_true(ok >= 10 and ok <= 16, ok) -- a tenth at once, one each 0.66 s, and no fourfold
    assert.equal(ok, up:counts().received)
  end)

  it("turn away who would wait in vain, with an honest retry-after", function()
    start({ more = "limiter = { kind = 'fixed', initial = 2 }, queue = { max_wait = 20 }," },
      { capacity = 2, latency = 0.2 }) -- ten a second
    os.execute(("for i in $(seq 150); do (%s) >/dev/null & done"):format(command()))
    gateways.eventually(function() return up:counts().completed >= 40 end)
    local answer
    gateways.eventually(function() -- (the line is there when enough of them have started)
      answer = g:ask("/v1/chat/completions", { body = BODY,
        headers = { "x-unbusy-deadline: 0.5" } })
      return answer.status ~= 504
    end)
    assert.equal(503, answer.status)
    assert.is_truthy(answer.body:find("a place would take", 1, true))
    assert.equal("full", answer.headers["x-unbusy-code"])
    local seconds = tonumber(answer.headers["retry-after"])
    assert.is_true(seconds >= 1 and seconds <= 120, tostring(seconds))
  end)

  it("set a dead key aside together", function()
    start({ target = "keys = { 'dead', 'alive' }", retry = "{ base = 0.01 }" }, nil, [[server {
      listen 127.0.0.1:${port2};
      access_log off;
      default_type application/json;
      location / {
        if ($http_authorization = "Bearer dead") { return 401 '{}'; }
        return 200 '{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}';
      }
    }]])
    local tries = 0
    for i = 1, 20 do
      local answer = g:ask("/v1/chat/completions", { body = BODY })
      assert.equal(200, answer.status)
      tries = tries + tonumber(answer.headers["x-unbusy-tries"])
      if i == 1 then os.execute "sleep 0.1" end -- the others hear of it within 50 ms
    end
    assert.equal(21, tries) -- the dead key was tried once, by one worker
  end)
end)
