-- /status in Chromium: what it shows while a target is made busy and well again, without a reload;
-- with keys alone, on a phone, dark and light; and what a stranger sees. Run by `tools/test.sh
-- third`. UNBUSY_SHOTS=DIR keeps pictures.
local busyd = require "spec.support.busyd"
local json = require "unbusy.json"
local served = require "spec.support.served"
local third_party = require "spec.support.third_party"

local HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"

local CONFIG = [[return {
  targets = { { name = "up", url = "%s/v1", models = { default = "m" } },
    { name = "spare", url = "%s/v1", account = "other", models = { default = "m" } } },
  route = { balance = "order" }, retry = { base = 0.01, attempts = 3 },
  breaker = { min_calls = 4, open_for = 2, window = 2 },
  cache = { top = { show = true }, entries = 100, bytes = 1000000 }, gateway = { status = %s },
}]]

describe("the page of /status", function()
  local up, spare, place, seen

  setup(function()
    up, spare = busyd.start { workers = 1 }, busyd.start { workers = 1 }
    place = served.place()
    local function serve(name, status)
      return served.start(place, { place:write(name, CONFIG:format(up.url, spare.url, status)) })
    end
    local open, shut = serve("open.lua", "true"), serve("shut.lua", '{ token = "let-me-see" }')
    seen = third_party.browser("status", { url = open.url, up = up.url, hostile = HOSTILE,
      shots = os.getenv "UNBUSY_SHOTS", token = { url = shut.url, token = "let-me-see" } })
  end)

  teardown(function()
    if place then place:remove() end
    if up then up:stop() end
    if spare then spare:stop() end
  end)

  it("was looked at to the end", function()
    assert.is_nil(seen.broke)
    print(json.encode(seen))
  end)
end)
