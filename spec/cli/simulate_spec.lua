-- `unbusy simulate` and `unbusy trace`, as programmes.
local files = require "spec.support.files"
local json = require "unbusy.json"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"
local dir

local function read(name)
  local file = io.open(dir .. "/" .. name, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
  return dir .. "/" .. name
end

-- Runs the tool: what it printed, said, and its exit status.
local function unbusy(...)
  local words = { "env LC_ALL=C.UTF-8", lua, "bin/unbusy" }
  for _, word in ipairs { ... } do words[#words + 1] = files.quote(word) end
  local line = table.concat(words, " ")
  os.execute(("%s >%s/out 2>%s/err; echo $? >%s/rc"):format(line, dir, dir, dir))
  return { out = read "out", err = read "err", rc = tonumber(read "rc") }
end

describe("unbusy trace", function()
  setup(function()
    local pipe = io.popen 'mktemp -d "${TMPDIR:-/tmp}/simulate.XXXXXX"'
    dir = pipe:read "*l"
    pipe:close()
  end)
  teardown(function() os.execute("rm -rf " .. files.quote(dir)) end)

  it("prints a trace, the same each time, that says how it was made", function()
    local one = unbusy("trace", "--kind", "burst", "--seconds", "30", "--seed", "4")
    assert.same({ "", 0 }, { one.err, one.rc })
    assert.matches("^# unbusy trace %-%-kind burst %-%-seed 4 %-%-seconds 30\n#: {", one.out)
    assert.matches("\ntime,target,arrival,status,latency\n0%.%d+,server,1,200,", one.out)
    assert.equal(one.out, unbusy("trace", "--seed=4", "--seconds=30", "--kind=burst").out)
  end)

  it("writes it to a file, and makes one out of a log", function()
    local r = unbusy("trace", "--kind", "blackout", "--seconds", "20", "--out", dir .. "/a.csv")
    assert.same({ out = "", err = "", rc = 0 }, r)
    assert.matches("^# unbusy trace", read "a.csv")
    local log = write("gateway.log", '{"time":"2026-01-31T12:00:10+00:00","id":"x","kind":"chat",'
      .. '"target":"a","source":"upstream","tries":1,"status":200,"queued":0,"seconds":2.5}\n')
    r = unbusy("trace", "--from-log", log)
    assert.same({ "", 0 }, { r.err, r.rc })
    assert.matches("\n0,a,1,200,2%.5\n$", r.out)
  end)

  it("says what is wrong", function()
    local log = write("bad.log", "garbage\n")
    for message, words in pairs {
      ["--kind: burst, brownout, blackout, outage or day expected"] = {},
      ["--kind: one of burst"] = { "--kind", "flood" },
      ["--kind or --from-log, not both"] = { "--kind", "burst", "--from-log", "x" },
      ["--load belongs to --kind"] = { "--from-log", log, "--load", "2" },
      [log .. ":1: not JSON"] = { "--from-log", log },
      ["/no/such: No such file"] = { "--from-log", "/no/such" },
      ["the trouble lasts from 40 to 60 s"] = { "--kind", "burst", "--seconds", "50", "--at", "40",
        "--length", "20" },
      ["--seconds: a number at least 10"] = { "--kind", "burst", "--seconds", "1" },
    } do
      local r = unbusy("trace", (table.unpack or unpack)(words)) -- luacheck: ignore
      assert.same({ "", 2 }, { r.out, r.rc })
      assert.is_truthy(r.err:find(message, 1, true), r.err)
    end
    local r = unbusy("trace", "--kind", "burst", "--seconds", "10", "--out", "/no/such/file")
    assert.equal(1, r.rc)
    assert.matches("^unbusy: %-%-out: /no/such/file: No such file", r.err)
  end)
end)

describe("unbusy simulate", function()
  local csv

  setup(function()
    local pipe = io.popen 'mktemp -d "${TMPDIR:-/tmp}/simulate.XXXXXX"'
    dir = pipe:read "*l"
    pipe:close()
    csv = dir .. "/t.csv"
    assert(unbusy("trace", "--kind", "outage", "--seconds", "40", "--backup", "--out", csv).rc == 0)
  end)
  teardown(function() os.execute("rm -rf " .. files.quote(dir)) end)

  it("compares policies, files and the built-in decisions, the same each time", function()
    local mine = write("mine.lua", "return { retry = function(try) return try.number end }")
    local words = { "simulate", "none", mine, "--compare", mine, "--trace", csv }
    local r = unbusy((table.unpack or unpack)(words)) -- luacheck: ignore
    assert.same({ "", 0 }, { r.err, r.rc })
    for _, name in ipairs { "none", "mine", "mine (2)", "naive", "retry loop" } do
      assert.is_truthy(r.out:find("\n  " .. name .. " ", 1, true), name)
    end
    assert.equal(r.out, unbusy((table.unpack or unpack)(words)).out) -- luacheck: ignore
  end)

  it("prints JSON and nothing else, and writes a page", function()
    local r = unbusy("simulate", "--trace", csv, "--json", "--html", dir .. "/page.html", "--seed",
      "3", "--deadline=5", "--stream", "1")
    assert.same({ "", 0 }, { r.err, r.rc })
    local data = json.decode(r.out)
    assert.same({ 3, 5, "none" }, { data.seed, data.trace.deadline, data.clients[1].name })
    assert.matches("^<!doctype html>.*</html>\n$", read "page.html")
  end)

  it("takes a configuration", function()
    local config = write("config.lua", [[return { fallback = "later", targets = {
      { name = "server", url = "https://api.example.com", key = "secret" } } }]])
    local r = unbusy("simulate", "none", "--trace", csv, "--config", config, "--json")
    assert.same({ "", 0 }, { r.err, r.rc })
    local data = json.decode(r.out)
    assert.is_true(data.clients[1].sources.fallback > 0)
    assert.equal(0, data.clients[1].targets[2].calls)
  end)

  it("goes by the rows alone where it is told to", function()
    local header = json.decode(unbusy("simulate", "--trace", csv, "--json").out)
    local rows = json.decode(unbusy("simulate", "--trace", csv, "--json", "--observed").out)
    assert.not_same(header.clients[1], rows.clients[1])
    assert.near(header.clients[2].availability, rows.clients[2].availability, 0.1)
  end)

  it("says what is wrong, in one line, with status 2", function()
    local bad = write("bad.csv", "time,target,arrival,status,latency\n1,a,1,200,1\n0,a,1,200,1\n")
    local cut = write("cut.lua", "return {")
    local loose = write("loose.lua", "return { targets = { { name = 'x', url = 'http://x' } } }")
    local odd = write("odd.lua", "return { targets = { { name = 'server', url = 'http://x' } }, "
      .. "retyr = {} }")
    for message, words in pairs {
      ["--trace: a trace expected"] = {},
      [bad .. ":3: time: 0 is before the row above (1)"] = { "--trace", bad },
      ["/no/such.csv: No such file"] = { "--trace", "/no/such.csv" },
      ["directory"] = { "--trace", dir },
      ["there is no 'nobody' among the policies"] = { "nobody", "--trace", csv },
      ["cut.lua"] = { cut, "--trace", csv },
      [cut .. ":1:"] = { "--trace", csv, "--config", cut },
      ["'x' does not stand in the trace"] = { "--trace", csv, "--config", loose },
      ["unknown option 'retyr', did you mean 'retry'?"] = { "--trace", csv, "--config", odd },
      ["--seed: "] = { "--trace", csv, "--seed", "1.5" },
      ["--stream: a number at most 1"] = { "--trace", csv, "--stream", "2" },
      ["unknown option '--josn', did you mean '--json'?"] = { "--trace", csv, "--josn" },
    } do
      local r = unbusy("simulate", (table.unpack or unpack)(words)) -- luacheck: ignore
      assert.same({ "", 2 }, { r.out, r.rc }, r.err)
      assert.is_truthy(r.err:find(message, 1, true), r.err)
      assert.equal(1, select(2, r.err:gsub("\n", "")))
    end
    local r = unbusy("simulate", "--trace", csv, "--html", "/no/such/page.html")
    assert.equal(1, r.rc)
    assert.matches("^unbusy: %-%-html: /no/such/page.html: No such file", r.err)
  end)

  it("shows no control characters that stand in a name", function()
    local r = unbusy("simulate", "--trace", write("odd.csv", "time,target,arrival,status,latency\n"
      .. "0,a\194\155m,1,200,1\n1,a\194\155m,1,200,1\n"))
    assert.equal(0, r.rc)
    assert.is_nil(r.out:find("\194\155", 1, true))
  end)
end)

describe("their help", function()
  setup(function()
    local pipe = io.popen 'mktemp -d "${TMPDIR:-/tmp}/simulate.XXXXXX"'
    dir = pipe:read "*l"
    pipe:close()
  end)
  teardown(function() os.execute("rm -rf " .. files.quote(dir)) end)

  it("has every option, and fits into 80 columns", function()
    for _, name in ipairs { "simulate", "trace" } do
      local r = unbusy(name, "--help")
      assert.equal(0, r.rc)
      for _, option in ipairs(require("unbusy.cli." .. name).options) do
        assert.is_truthy(r.out:find("--" .. option.name, 1, true), option.name)
      end
      for line in r.out:gmatch "[^\n]+" do
        assert.is_true(select(2, line:gsub("[^\128-\191]", "")) <= 80, line)
      end
    end
    assert.matches("unbusy simulate", unbusy("--help").out)
  end)
end)
