-- /status in Chromium: what it shows while a target is made busy and well again, without a reload;
-- with keys alone, on a phone, dark and light; and what a stranger sees. Run by `tools/test.sh
-- third`. UNBUSY_SHOTS=DIR keeps pictures.
local busyd = require "spec.support.busyd"
local served = require "spec.support.served"
local third_party = require "spec.support.third_party"

local HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"

local CONFIG = [[return {
  targets = { { name = "up", url = "%s/v1", models = { default = "m" } },
    { name = "spare", url = "%s/v1", account = "other", models = { default = "m" } } },
  route = { balance = "order" }, retry = { base = 0.01, attempts = 3 },
  breaker = { min_calls = 4, open_for = 4, window = 2 },
  cache = { top = { show = true }, entries = 100, bytes = 1000000 }, gateway = { status = %s },
}]]

describe("the page of /status", function()
  local up, spare, place, open, shut, seen

  setup(function()
    up, spare = busyd.start { workers = 1 }, busyd.start { workers = 1 }
    place = served.place()
    local function serve(name, status)
      return served.start(place, { place:write(name, CONFIG:format(up.url, spare.url, status)) })
    end
    open, shut = serve("open.lua", "true"), serve("shut.lua", '{ token = "let-me-see" }')
    seen = third_party.browser("status", { url = open.url, up = up.url, hostile = HOSTILE,
      shots = os.getenv "UNBUSY_SHOTS", token = { url = shut.url, token = "let-me-see" } })
  end)

  teardown(function()
    if place then place:remove() end
    if up then up:stop() end
    if spare then spare:stop() end
  end)

  it("runs to its end without a word of complaint, and asks nobody but its gateway", function()
    assert.is_nil(seen.broke)
    assert.same({}, seen.faults)
    table.sort(seen.origins)
    local own = { open.url, shut.url }
    table.sort(own)
    assert.same(own, seen.origins)
  end)

  it("comes with a policy that lets nothing else in", function()
    local policy = seen.header["content-security-policy"]
    local nonce = policy:match "script%-src 'nonce%-(%x+)'"
    assert.equal(32, #nonce)
    assert.equal("default-src 'none'; style-src 'nonce-" .. nonce .. "'; script-src 'nonce-"
      .. nonce .. "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
      .. "frame-ancestors 'none'", policy)
    assert.same({ "no-store", "nosniff", "no-referrer" }, { seen.header["cache-control"],
      seen.header["x-content-type-options"], seen.header["referrer-policy"] })
  end)

  it("shows that all is well, and where answers have come from", function()
    assert.equal("All 2 targets answer – unbusy", seen.title)
    assert.same({ "from a target\t12\t80.0 %", "from the cache\t3\t20.0 %" },
      { seen.sources[1], seen.sources[2] })
    assert.is_true(seen.bars >= 2)
  end)

  it("shows without a reload that a target is busy", function()
    local busy = seen.busy
    assert.same({ "open – left alone", "bad", "! 1 of 2 targets is out – unbusy" },
      { busy.state, busy.tone, busy.title })
    assert.equal(1, #busy.failures)
    local target, what, times = busy.failures[1]:match "^(%w+)\t(%a+): .*\t(%d+)\t"
    assert.same({ "up", "busy" }, { target, what })
    assert.is_true(tonumber(times) >= 4)
  end)

  it("shows that it is well again, and lists what has changed, the last first", function()
    assert.matches("up: closed – answers$", seen.changes[1])
    assert.matches("up: open – left alone", table.concat(seen.changes, "\n", 2))
  end)

  it("shows a hostile question as what it is, a text", function()
    assert.same({ HOSTILE, 0 }, { seen.question, seen.markup })
  end)

  it("is used with keys alone, and asks nothing while it pauses", function()
    local reached = {}
    for _, name in ipairs(seen.keys.reached) do reached[name] = true end
    for _, name in ipairs { "pause", "failures-table", "log", "show", "questions-table", "A" } do
      assert.is_true(reached[name], name)
    end
    assert.same({ "true", 0 }, { seen.keys.pressed, seen.keys.asked })
  end)

  it("has nothing that axe holds against it, fits a phone, is dark where that is wanted", function()
    assert.is_true(seen.rules > 30)
    for _, name in ipairs { "light wide", "light phone", "dark wide", "dark phone" } do
      local look = seen.looks[name]
      assert.same({ name, {} }, { name, look.faults })
      assert.is_true(look.over <= 0, name)
      local red = tonumber(look.ground:match "rgb%((%d+)")
      assert.equal(name:match "%a+", red > 128 and "light" or "dark")
    end
  end)

  it("says so where it is told what it does not know, and breaks at nothing", function()
    local strange = "The gateway tells what this page does not know"
    assert.same({ "The gateway says 500", strange, strange, strange, strange,
      "The token is not accepted any more: load the page again" },
      { (table.unpack or unpack)(seen.strange, 1, 6) }) -- luacheck: ignore
    assert.same({}, seen.thrown)
  end)

  it("shows two hundred targets with long names on a phone", function()
    assert.same({ 200, 0 }, { seen.crowd.cards, seen.crowd.bold })
    assert.is_true(seen.crowd.over <= 0)
  end)

  it("says when its gateway is gone, and goes on when that is back", function()
    assert.equal("bad", seen.lost)
  end)

  it("is for whoever has the token, which the browser asks for", function()
    assert.same({ 401, 'Basic realm="unbusy", charset="UTF-8"', 200 },
      { seen.token.stranger, seen.token.asks, seen.token.own })
  end)
end)
