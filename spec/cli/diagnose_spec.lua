-- `unbusy diagnose` as a programme: a live look at targets, metrics of a server, and what is said
-- of wrong arguments. What it makes of a gateway's log: spec/gateway/diagnose_spec.lua.
local busyd = require "spec.support.busyd"
local json = require "unbusy.json"
local served = require "spec.support.served"

describe("unbusy diagnose", function()
  local up, place

  setup(function() up, place = busyd.start { workers = 1 }, served.place() end)
  teardown(function()
    up:stop()
    place:remove()
  end)

  local function diagnose(...)
    return place:run { "diagnose", ... }
  end

  local function probe(config, ...)
    local path = place:write("config.lua", "return { targets = { " .. config .. " } }")
    local r = diagnose("--probe", "--config", path, "--model", "m", "--json", ...)
    return r.out ~= "" and assert(json.decode(r.out)) or r, r
  end

  local function target(name, url)
    return ("{ name = %q, url = %q, key = 'k' },"):format(name, url or up.url .. "/v1")
  end

  describe("--probe", function()
    it("finds that all is well, past breakers and limits", function()
      up:programme { reset = true }
      local said, r = probe(target "a" .. target "b", "--at-once", "8")
      assert.same({ "none", 0, "" }, { said.cause, r.rc, r.err })
      assert.equal(22, up:counts().completed)
      assert.same({ "a", 3, 8, 8 }, { said.probes[1].name, #said.probes[1].took,
        said.probes[1].asked, said.probes[1].answered })
    end)

    it("finds who is dead, and who is not", function()
      up:programme { reset = true }
      local said, r = probe(target "a" .. target("b", "http://127.0.0.1:" .. served.free_port()))
      assert.same({ "dead", 3 }, { said.cause, r.rc })
      assert.matches("^b: 0 of 3 tries were answered %(3 network%)", said.causes[1].evidence[1])
    end)

    it("finds a key that is refused, and does not ask again", function()
      up:programme { reset = true,
        faults = { { share = 1, answer = { preset = "unauthorized" } } } }
      local said = probe(target "a")
      assert.equal("money", said.cause)
      assert.equal(1, up:counts().received)
    end)

    it("finds how much there is room for", function()
      up:programme { reset = true, capacity = 4, latency = 0.2,
        when_full = { preset = "rate_limited" } }
      local said = probe(target "a", "--at-once", "16")
      assert.equal("account", said.cause)
      assert.is_true(said.probes[1].answered >= 4 and said.probes[1].answered < 16)
    end)

    it("is told in words, too", function()
      up:programme { reset = true, capacity = 0 }
      local r = place:run { "diagnose", "--probe", "--url", up.url .. "/v1", "--model", "m" }
      assert.matches("^It is a burst over their capacity\n  100 %% of 3 calls went wrong\n", r.out)
      assert.matches("there is no quiet time to compare with", r.out)
      assert.matches("\n127.0.0.1:%d+: no answer %(.*503", r.out)
    end)
  end)

  it("says that nothing is wrong", function()
    local line = '{"time":"2026-01-31T12:00:%02d+00:00","kind":"chat","target":"a","tries":1,'
      .. '"source":"upstream","queued":0,"start":0.1,"seconds":0.2}\n'
    local lines = {}
    for i = 1, 40 do lines[i] = line:format(i) end
    local r = diagnose("--log", place:write("quiet.log", table.concat(lines)))
    assert.same({ "Nothing is wrong in it\n  0 % of 40 calls went wrong\n", "", 0 },
      { r.out, r.err, r.rc })
  end)

  it("asks a URL twice for its metrics", function()
    local r = diagnose("--metrics", up.url, "--for", "0.1")
    assert.matches("status 404 from gateway", r.err)
    assert.equal(1, r.rc)
    r = diagnose("--metrics", "http://127.0.0.1:" .. served.free_port())
    assert.equal(1, r.rc)
  end)

  it("reads metrics out of files", function()
    local before = place:write("before.txt", 'unbusy_calls_total{code=""} 333\n'
      .. 'unbusy_calls_total{code="upstream"} 1\nunbusy_queue_wait_seconds_sum 0\n')
    local now = place:write("now.txt", 'unbusy_calls_total{code=""} 421\n'
      .. 'unbusy_calls_total{code="upstream"} 1\nunbusy_calls_total{code="full"} 12\n'
      .. 'unbusy_tries_total{target="a",code=""} 421\nunbusy_queue_wait_seconds_sum 3\n')
    local r = diagnose("--metrics", now, "--before", before)
    assert.matches("^It is our own pool or line\n  12 %% of 100 calls went wrong; 0.3 %% of 334 in "
      .. "the quiet time\n", r.out)
    assert.equal(3, r.rc)
  end)

  it("says which file cannot be read", function()
    for _, name in ipairs { "--log", "--metrics" } do
      local r = diagnose(name, "/nowhere/at/all")
      assert.same({ "", "unbusy: /nowhere/at/all: No such file or directory\n", 1 },
        { r.out, r.err, r.rc })
    end
  end)

  it("says what is wrong with its arguments", function()
    for words, message in pairs {
      [{}] = "one of %-%-log, %-%-metrics and %-%-probe expected",
      [{ "--log", "x", "--probe" }] = "one of %-%-log, %-%-metrics and %-%-probe expected",
      [{ "--log", "x", "--at-once", "3" }] = "%-%-at%-once: with %-%-probe",
      [{ "--metrics", "ftp://x/" }] = "%-%-metrics: a file, or http://",
      [{ "--metrics", "http://x/", "--before", "y" }] = "%-%-before: with %-%-metrics FILE",
      [{ "--probe", "--url", "x" }] = "%-%-url: http:// or https://",
      [{ "--probe", "--config", "/nowhere/at/all" }] = "cannot read /nowhere/at/all",
      [{ "--probe", "--config", place:write("bad.lua", "return { targets = 7 }") }] = "targets: ",
      [{ "--probe", "--config", place:write("bad2.lua", "return { targets = { 7 } }") }] =
        "targets%[1%]",
    } do
      local r = diagnose((table.unpack or unpack)(words)) -- luacheck: ignore 143 113
      assert.matches(message, r.err)
      assert.same({ "", 2 }, { r.out, r.rc })
    end
  end)
end)
