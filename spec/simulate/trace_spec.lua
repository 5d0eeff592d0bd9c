local trace = require "unbusy.simulate.trace"

local function write(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

-- Reads a text as a trace; the file's name in messages is "FILE".
local function read(text)
  local path = write(text)
  local t, message = trace.read(path)
  os.remove(path)
  if message then
    local from, to = message:find(path, 1, true)
    message = from and message:sub(1, from - 1) .. "FILE" .. message:sub(to + 1) or message
  end
  return t, message
end

local HEAD = "time,target,arrival,status,latency\n"
local ROW = "0,a,1,200,1\n"

describe("a trace", function()
  it("is read: header, rows, remarks", function()
    local t = assert(read([[
# made by hand
#: {"trace":{"seed":9,"start":1767000000}}
#: {"calls":{"deadline":12,"stream":0.5}}
#: {"target":"a","capacity":20,"queue":3,"latency":{"kind":"lognormal","mean":1,"sigma":0.5}}
#: {"target":"a","at":60,"capacity":5}
#: {"target":"a","at":70,"capacity":null,"queue":null}
]] .. HEAD .. [[
0.5,a,1,200,1.25
# between rows
0.5,,3,,

1e1,b,0,503,0.05
10,"b ""x"", y",2,429,0
]]))
    assert.same({ 9, 1767000000, 12, 0.5 }, { t.seed, t.start, t.calls.deadline, t.calls.stream })
    assert.same({ "made by hand" }, t.remarks)
    assert.same({ 4, 6 }, { t.rows, t.asked })
    assert.same({ 0.5, 0.5, 10, 10 }, t.times)
    assert.same({ 1, 3, 0, 2 }, t.arrivals)
    assert.same({ 200, false, 503, 429 }, t.statuses)
    assert.same({ 1.25, 0, 0.05, 0 }, t.latencies)
    local names = {}
    for i, index in ipairs(t.of) do names[i] = index > 0 and t.targets[index].name or "" end
    assert.same({ "a", "", "b", 'b "x", y' }, names)
    local phases = t.targets[1].phases
    assert.same({ 0, 60, 70 }, { phases[1].at, phases[2].at, phases[3].at })
    assert.same({ 20, 5 }, { phases[1].capacity, phases[2].capacity })
    assert.is_nil(phases[3].capacity) -- null takes a field back
    assert.same({ 3, 3, 0 }, { phases[1].queue, phases[2].queue, phases[3].queue })
    assert.equal("lognormal", phases[3].latency.kind) -- what is not said stays
    assert.same({ true, false }, { t.targets[1].declared, t.targets[2].declared })
  end)

  it("may have CR LF, a byte order mark, and no end of line at the end", function()
    local text = "\239\187\191#: {\"target\":\"a\"}\r\n" .. HEAD:gsub("\n", "\r\n") .. "0,,1,,"
    local t = assert(read(text))
    assert.same({ 1, "a" }, { t.rows, t.targets[1].name })
  end)

  it("comes back as it was written", function()
    local t = assert(read("#: {\"target\":\"a\"}\n" .. HEAD .. "0.001,a,1,200,1.25\n"
      .. "12.5,\"x,\"\"y\",1,503,0\n13,,2,,\n"))
    local parts = {}
    trace.write(t, { '{"target":"a"}' }, function(text) parts[#parts + 1] = text end)
    local again = assert(read(table.concat(parts)))
    assert.same({ t.times, t.of, t.arrivals, t.statuses, t.latencies },
      { again.times, again.of, again.arrivals, again.statuses, again.latencies })
  end)

  local function header(line) return "#: " .. line .. "\n" .. HEAD .. ROW end
  local wrong = {
    -- { text, message }
    { "", "FILE: no columns" }, { "# only a remark\n", "FILE: no columns" },
    { HEAD, "FILE: no rows" }, { "hello\n", "FILE:1: the columns expected" },
    { HEAD .. "0,a,0,200,1\n", "FILE: no call arrives" },
    { HEAD .. "0,,1,,\n", "FILE: no target" },
    { HEAD .. "0,a,1,,\n", "FILE: target 'a': neither a header line nor a status" },
    { HEAD .. ROW .. "garbage\n", "FILE:3: five fields expected" },
    { HEAD .. "0,a,1,200,1,2\n", "FILE:2: five fields" },
    { HEAD .. "0,\"a,1,200,1\n", "FILE:2: five fields" },
    { HEAD .. "0,\"a\"b,1,200,1\n", "FILE:2: five fields" },
    { HEAD .. "5,a,1,200,1\n4.9,a,1,200,1\n", "FILE:3: time: 4.9 is before the row above" },
    { HEAD .. "nan,a,1,200,1\n", "FILE:2: time: seconds expected" },
    { HEAD .. "inf,a,1,200,1\n", "FILE:2: time: seconds" },
    { HEAD .. "-1,a,1,200,1\n", "FILE:2: time: seconds" },
    { HEAD .. "0x10,a,1,200,1\n", "FILE:2: time: seconds" },
    { HEAD .. "1e999,a,1,200,1\n", "FILE:2: time: seconds" },
    { HEAD .. "1e99,a,1,200,1\n", "FILE:2: time: at most" },
    { HEAD .. "1767000000,a,1,200,1\n", "FILE:2: time: at most" },
    { HEAD .. ",a,1,200,1\n", "FILE:2: time" },
    { HEAD .. "0,a,1.5,200,1\n",
      "FILE:2: arrival" }, { HEAD .. "0,a,-1,200,1\n", "FILE:2: arrival" },
    { HEAD .. "0,a,99999999999,200,1\n", "FILE:2: arrival" },
    { HEAD .. "0,a,nan,200,1\n", "FILE:2: arrival" },
    { HEAD .. "0,a,2000000,200,1\n0,a,1,200,1\n", "FILE:3: more than 2000000 calls" },
    { HEAD .. "0,a,1,600,1\n", "FILE:2: status" }, { HEAD .. "0,a,1,abc,1\n", "FILE:2: status" },
    { HEAD .. "0,a,1,42,1\n", "FILE:2: status: 0 or 100" },
    { HEAD .. "0,a,1,200,\n", "FILE:2: latency: seconds expected, of an answer" },
    { HEAD .. "0,a,1,,1\n", "FILE:2: latency: of an answer" },
    { HEAD .. "0,,1,200,1\n", "FILE:2: status: of which target" },
    { HEAD .. "0,a,1,200,nan\n", "FILE:2: latency" },
    { HEAD .. "0,a,1,200,-1\n", "FILE:2: latency" },
    { HEAD .. "0,a,1,200,1e9\n", "FILE:2: latency" },
    { HEAD .. "0,a\1b,1,200,1\n", "FILE:2: target: 1 to 64" },
    { HEAD .. "0," .. ("a"):rep(65) .. ",1,200,1\n", "FILE:2: target: 1 to 64" },
    { HEAD .. "0,\255\254,1,200,1\n", "FILE:2: target: 1 to 64" },
    { HEAD .. ROW .. "#: {\"target\":\"b\"}\n", "FILE:3: a header line below" },
    { header "nonsense", "FILE:1: not JSON" }, { header "[1]", "FILE:1: a JSON object" },
    { header "7",
      "FILE:1: a JSON object" }, { header "{}", "FILE:1: one of target, calls and trace" },
    { header '{"tagret":"a"}', "FILE:1: one of target" },
    { header '{"target":7}', "FILE:1: target: a name" },
    { header '{"target":""}', "FILE:1: target: 1 to 64" },
    { header '{"target":"a","capactiy":3}',
      "FILE:1: unknown option .-capactiy.-did you mean 'capacity'" },
    { header '{"target":"a","capacity":-1}', "FILE:1: target%.capacity: a number at least 0" },
    { header '{"target":"a","capacity":1e300}', "FILE:1: target%.capacity" },
    { header '{"target":"a","at":5}', "FILE:1: the first line of a target" },
    { header '{"target":"a","latency":{"kind":"uniform","min":1}}',
      "FILE:1: latency%.max is missing" },
    { header '{"target":"a","latency":{"kind":"uniform","min":2,"max":1}}',
      "FILE:1: latency: min is above" },
    { header '{"target":"a","latency":{"kind":"gauss"}}', "FILE:1: latency%.kind: one of" },
    { header '{"target":"a","latency":-1}', "FILE:1: target%.latency" },
    { header '{"target":"a","latency":"long"}', "FILE:1: target%.latency" },
    { header '{"target":"a","when_full":{"status":200}}', "FILE:1: when_full%.status: 0 or 300" },
    { header '{"target":"a","faults":[{"status":500}]}',
      "FILE:1: target%.faults%[1%]%.share is missing" },
    { header '{"target":"a","faults":[{"share":0.6},{"share":0.6}]}',
      "FILE:1: faults: shares of more" },
    { header '{"target":"a","price":{"input":-1,"output":1}}', "FILE:1: target%.price%.input" },
    { header '{"calls":{"deadline":0}}', "FILE:1: calls%.deadline" },
    { header '{"calls":{"stream":2}}', "FILE:1: calls%.stream" },
    { header '{"calls":7}', "FILE:1: calls: table expected" },
    { header '{"trace":{"version":2}}', "FILE:1: trace%.version" },
    { header '{"trace":{"seed":1e99}}', "FILE:1: trace%.seed" },
    { '#: {"target":"a"}\n#: {"target":"a"}\n' .. HEAD .. ROW, "FILE:2: at: more than 0" },
    { '#: {"target":"a"}\n#: {"target":"a","at":5}\n#: {"target":"a","at":5}\n' .. HEAD .. ROW,
      "FILE:3: at: more than 5" },
    { '#: {"target":"a"}\n#: {"target":"a","at":5,"price":{"input":1,"output":1}}\n' .. HEAD .. ROW,
      "FILE:2: price: in the first line" },
    { ("x"):rep(200000), "FILE:1: a line of more than 65536 bytes" },
    { HEAD .. ("1"):rep(70000) .. "\n", "FILE:2: a line of more than" },
    { HEAD .. "\0\0\0\n", "FILE:2: five fields" },
  }
  for i, case in ipairs(wrong) do
    it(("is turned down (%d): %s"):format(i, case[2]), function()
      local t, message = read(case[1])
      assert.is_nil(t)
      assert.matches("^" .. case[2], message)
      assert.is_nil(message:find "[%z\1-\31]")
    end)
  end

  it("that is no file, or a folder, is told so", function()
    assert.matches("no/such/file: No such file", select(2, trace.read "no/such/file"))
    assert.matches("directory", select(2, trace.read "spec"))
  end)

  it("reads half a million rows in the order of a second", function()
    local rows = {}
    for i = 1, 500000 do rows[i] = ("%d,a,1,200,1"):format(i) end
    local t = assert(read(HEAD .. table.concat(rows, "\n") .. "\n"))
    assert.equal(500000, t.rows)
  end)
end)
