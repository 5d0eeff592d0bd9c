local access_log = require "unbusy.simulate.access_log"
local log = require "unbusy.gateway.log"
local simulate = require "unbusy.simulate"
local trace = require "unbusy.simulate.trace"

-- A line as the gateway writes it.
local function line(fields)
  local record = log.record()
  record.time, record.id = fields.time or "2026-01-31T12:00:10+00:00", "x"
  record.kind = "chat"
  for name, value in pairs(fields) do record[name] = value end
  return log.line(record) .. "\n"
end

local function read(text, given)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  local t, header = access_log.read(path, given or {})
  os.remove(path)
  if not t then return nil, (header:gsub(path:gsub("%p", "%%%0"), "FILE")) end
  return t, header
end

-- The rows as text, without the times' zero.
local function rows(t)
  local parts = {}
  trace.write(t, {}, function(text) parts[#parts + 1] = text end)
  local out = {}
  for row in table.concat(parts):gmatch "[^\n]+" do
    if row:find "^%d" then out[#out + 1] = row end
  end
  return out
end

describe("a trace out of a gateway's log", function()
  it("has a call when it came, and what its target answered", function()
    local t = assert(read(line { source = "upstream", target = "a", tries = 1, status = 200,
      queued = 0, start = 0.5, seconds = 2.5 }))
    assert.same({ "0,a,1,200,2.5" }, rows(t))
  end)

  it("tells load and observation apart where a call waited or was tried again", function()
    local t = assert(read(line { source = "upstream", target = "a", tries = 1, queued = 1,
      seconds = 3 }))
    assert.same({ "0,a,1,,", "1,a,0,200,2" }, rows(t))
    t = assert(read(line { source = "upstream", target = "a", tries = 3, queued = 0, start = 2,
      seconds = 5 }))
    assert.same({ "0,a,1,,", "0,a,0,503,0", "1.5,a,0,503,0", "3,a,0,200,2" }, rows(t))
  end)

  it("has no refusal of a try that was made beside another one", function()
    local t = assert(read(line { source = "upstream", target = "a", tries = 2, hedged = "won",
      queued = 0, start = 2, seconds = 5 }))
    assert.same({ "0,a,1,,", "0,a,0,200,5" }, rows(t))
  end)

  it("stands in the order of arrival, with the time of its beginning", function()
    local t, header = read(line { source = "upstream", target = "a", tries = 1, seconds = 1 }
      .. line { source = "upstream", target = "a", tries = 1, seconds = 9,
        time = "2026-01-31T13:00:11+01:00" }, { seed = 5, deadline = 20 })
    assert.same({ "0,a,1,200,9", "7,a,1,200,1" }, rows(t))
    assert.same({ '{"trace":{"seed":5,"start":1769860802}}', '{"calls":{"deadline":20}}' }, header)
  end)

  local statuses = { busy = 503, limited = 429, quota = 402, auth = 401, timeout = 0, network = 0,
    cut = 502, upstream = 502 }
  for code, status in pairs(statuses) do
    it("says what a failure was: " .. code, function()
      local t = assert(read(line { target = "a", tries = 1, code = code, status = 503,
        seconds = 1 }))
      assert.same({ ("0,a,1,%d,1"):format(status) }, rows(t))
    end)
  end

  it("takes our own refusals, and answers of our own, as load and no more", function()
    local text = line { source = "cache", target = "b", tries = 0, seconds = 0 }
      .. line { target = "a", tries = 0, code = "open", seconds = 0 }
      .. line { tries = 0, code = "full", seconds = 0 }
      .. line { source = "fallback", target = "a", tries = 2, code = "busy", seconds = 4 }
    local t = assert(read(text))
    assert.equal(4, t.asked)
    -- of "b" nothing is known but that it was asked once
    assert.same({ "0,a,1,,", "2,a,0,503,2", "4,,1,,", "4,a,1,,", "4,,1,," }, rows(t))
  end)

  it("does not guess whom earlier tries have asked, where there are several", function()
    local t = assert(read(line { source = "upstream", target = "a", tries = 2, seconds = 2 }
      .. line { source = "upstream", target = "b", tries = 1, seconds = 1 }))
    assert.same({ "0,a,1,,", "1,a,0,200,1", "1,b,1,200,1" }, rows(t))
  end)

  it("leaves out what is no call, and says so", function()
    local good = line { source = "upstream", target = "a", tries = 1, seconds = 1 }
    local t = assert(read(good .. line { kind = "models", seconds = 1 } .. line { kind = false,
      path = "/healthz" } .. line { status = 401, seconds = 0 } .. "\n" .. good))
    assert.equal(2, t.asked)
    assert.same({ "2 calls of a gateway's log", "3 lines were no calls and are left out" },
      t.remarks)
  end)

  it("bears a last line that is being written, without a word", function()
    local good = line { source = "upstream", target = "a", tries = 1, seconds = 1 }
    local t = assert(read(good .. '{"time":"20'))
    assert.same({ 1, nil }, { t.asked, t.damage })
  end)

  local wrong = {
    { line { target = "a", tries = 0, code = "open", seconds = 1 },
      "FILE: no target has answered" },
    { "", "FILE: no call" }, { "garbage\n", "FILE:1: not JSON" },
    { "7\n", "FILE:1: a JSON object" },
    { "[]\n", "FILE:1: a JSON object" }, { "{}\n", "FILE:1: time" },
    { line { time = "yesterday" }, "FILE:1: time" },
    { '{"time":"2026-01-31T12:00:10+00:00","kind":"chat"}\n', "FILE:1: seconds" },
    { line { seconds = -1 }, "FILE:1: seconds" }, { line { seconds = 1e300 }, "FILE:1: seconds" },
    { line { seconds = 1, target = "a\nb" }, "FILE:1: target" },
    { line { seconds = 1, target = ("a"):rep(65) }, "FILE:1: target" },
    { line { seconds = 1, tries = 1.5 }, "FILE:1: tries" },
    { line { seconds = 1, tries = 1e6 }, "FILE:1: tries" },
    { line { seconds = 1, tries = 1, target = "a" }
      .. line { seconds = 1, tries = 1, target = "a", time = "2027-01-31T12:00:10+00:00" },
      "FILE: more than 10000000 seconds" },
  }
  for i, case in ipairs(wrong) do
    it(("is turned down (%d): %s"):format(i, case[2]), function()
      local t, message = read(case[1])
      assert.is_nil(t)
      assert.matches("^" .. case[2], message)
    end)
  end

  -- A client under way in simulated time is a gateway: its log leads back to what it met.
  it("shows an outage again that a gateway went through", function()
    local t = assert(simulate.read "examples/traces/outage.csv")
    local run, setup = require "unbusy.simulate.run", require "unbusy.simulate.setup"
    local calls, lines = run.calls(t, 1), {}
    local record = assert(run.meet(t, { name = "none" }, assert(setup.options(t)), { seed = 1,
      calls = calls, ended = function(i, reply, code, detail)
        lines[i] = reply and { source = reply.source, target = reply.target, tries = reply.tries,
          queued = reply.times.queued, start = reply.times.start }
          or { code = code, target = detail.target, tries = detail.tries }
      end }))
    for i, fields in ipairs(lines) do
      local ended = calls.at[i] + record.totals[i]
      fields.seconds = record.totals[i]
      fields.time = os.date("!%Y-%m-%dT%H:%M:%S+00:00", 1769860800 + math.floor(ended))
      lines[i] = line(fields)
    end
    local again = assert(read(table.concat(lines)))
    assert.equal(t.asked, again.asked)
    local r = simulate.compare(again, {})
    assert.near(84, r.trouble.from, 10)
    assert.near(210, r.trouble.to, 45) -- the gateway's own line has drawn it out
    -- 0.71 in the trace itself: a gateway that asks no more than it may has seen less of an outage.
    assert.near(0.8, r.clients[1].availability, 0.12)
  end)
end)
