local chance = require "spec.support.random"
local core = require "unbusy.core"
local guard = require "spec.support.leak_guard"
local metrics = require "unbusy.metrics"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

-- The value of a line of the text.
local function value_in(text, line)
  for key, value in text:gmatch "([^\n]+) (%S+)\n" do
    if key == line then return tonumber(value) end
  end
end

describe("metrics", function()
  local m
  after_each(function()
    m:close()
    m = nil
  end)
  guard.watch(before_each, after_each)
  before_each(function() m = assert(metrics.new {}) end)

  it("count", function()
    local set = assert(m:set { { "counter", 'jobs_total{queue="a"}' }, { "counter", "all_total" } })
    assert.is_true(set:note(1, 2))
    assert.is_true(set:note(1))
    assert.is_true(set:note(nil, 0.5))
    assert.is_true(set:note())
    assert.equal('jobs_total{queue="a"} 2\n', m:text "jobs_total")
    assert.equal("all_total 2.5\n", m:text "all_total")
    assert.equal("", m:text "all")
    assert.same({ { labels = '{queue="a"}', value = 2 } }, m:list "jobs_total")
  end)

  it("show a histogram with its bounds", function()
    local set = m:set { { "seconds", 's{a="b"}' }, { "tokens", "t" }, { "moments", "o" },
      { "sizes", "z" } }
    for _, seconds in ipairs { 0, 0.005, 0.0051, 1.5, 600, 600.1 } do
      set:note(seconds, 5, 0.00001, 3)
    end
    local text = m:text "s"
    local function at(le) return value_in(text, ('s_bucket{a="b",le="%s"}'):format(le)) end
    assert.same({ 2, 3, 3, 4, 5, 6 },
      { at "0.005", at "0.01", at "1.0", at "1.5", at "600.0", at "+Inf" })
    assert.equal(6, value_in(text, 's_count{a="b"}'))
    assert.near(1201.6101, value_in(text, 's_sum{a="b"}'), 1e-9)
    assert.equal(6, value_in(m:text "t", 't_bucket{le="16.0"}'))
    assert.equal(0, value_in(m:text "t", 't_bucket{le="4.0"}'))
    assert.equal(6, value_in(m:text "o", 'o_bucket{le="1e-05"}'))
    assert.equal(6, value_in(m:text "z", 'z_bucket{le="3.0"}'))
    assert.same({ { labels = "", count = 6, sum = 30 } }, m:list "t")
  end)

  it("leave out what is no number to count", function()
    local set = m:set { { "counter", "a" }, { "seconds", "b" }, { "level", "c" } }
    for _, wrong in ipairs { -1, -1e-300, 1 / 0, -1 / 0, 0 / 0 } do
      assert.is_true(set:note(wrong, wrong, wrong))
    end
    assert.is_true(set:note("1", true, {}))
    assert.equal("a 0\nb_count 0\nc 0\n", m:text "a" .. m:text "b":match "b_count.*" .. m:text "c")
  end)

  it("are shown piece by piece", function()
    local whole = {}
    for i = 1, 300 do
      assert.is_true(m:open("seconds", ('a{n="%d"}'):format(i)))
      assert.is_true(m:open("counter", ('b{n="%d"}'):format(i)))
    end
    local from, count = 0, 0
    while from do
      local lines
      lines, from = m:text("a", from)
      assert.is_true(#lines < 20000 and (not from or #lines >= 16384))
      assert.is_truthy(not from or from > 0)
      whole[#whole + 1], count = lines, count + 1
    end
    assert.is_true(count > 5)
    assert.equal(m:text "a", table.concat(whole))
    assert.same({ "" }, { m:text("nothing", 0) })
    local last = m:stats().used
    for _, wrong in ipairs { 1, 8, 12.5, last, last + 8, 2 ^ 40, -1, 0 / 0 } do -- no series there
      assert.same({ "" }, { m:text("a", wrong) })
    end
    assert.error_matches(function() m:text("a", {}) end, "number expected")
  end)

  it("show what goes on now", function()
    local set = m:set { { "level", "now" } }
    set:note(7)
    set:note(3)
    assert.equal("now 3\n", m:text "now")
    set:note(1e30)
    assert.equal(("now %.0f\n"):format(2 ^ 32 - 1), m:text "now")
  end)

  it("count one value in some series, and 1 where none is passed", function()
    local set = m:set { { "seconds", "a", from = 2 }, { "counter", "b", from = 0 },
      { "counter", "c" }, { "seconds", "d", from = 2 }, { "level", "e", from = 1 } }
    assert.is_true(set:note(7, 0.5))
    assert.is_true(set:note(4, 1.5, 3))
    assert.is_true(set:note())
    assert.equal("b 3\nc 3\ne 4\n", m:text "b" .. m:text "c" .. m:text "e")
    for _, name in ipairs { "a", "d" } do
      assert.same({ { labels = "", count = 2, sum = 2 } }, m:list(name))
    end
    for _, from in ipairs { -1, 13, 0 / 0, "x" } do
      assert.error_matches(function() m:set { { "counter", "b", from = from } } end,
        "from: 0 to 12 expected")
    end
  end)

  it("tell series apart by their labels, and kinds by their names", function()
    m:open("counter", 'a{x="1"}')
    m:open("counter", 'a{x="11"}')
    m:open("counter", "ab")
    assert.equal('a{x="1"} 0\na{x="11"} 0\n', m:text "a")
    assert.same({ nil, "invalid" }, { (m:open("seconds", 'a{x="1"}')),
      select(3, m:open("seconds", 'a{x="1"}')) })
    assert.equal("invalid", select(3, m:set { { "level", "ab" } }))
    assert.is_true(m:open("counter", "ab"))
    assert.equal(3, m:stats().series)
  end)

  it("do not show a quiet series before something is in it", function()
    m:open("counter", 'a{x="other"}', true)
    m:open("seconds", 'b{x="other"}', true)
    assert.equal("", m:text "a" .. m:text "b")
    local set = m:set { { "counter", 'a{x="other"}' }, { "seconds", 'b{x="other"}' } }
    set:note(1, 0)
    assert.equal('a{x="other"} 1\n', m:text "a")
    assert.equal(1, value_in(m:text "b", 'b_count{x="other"}'))
  end)

  it("count under another name where there is no room", function()
    m:close()
    m = metrics.new { bytes = 16384 }
    m:open("counter", 'a{n="other"}', true)
    local made, n = 0, 0
    repeat
      n = n + 1
      local ok, message, code = m:open("counter", ('a{n="%d"}'):format(n))
      if ok then made = made + 1 else assert.same({ "metrics: no place is free", "full" },
        { message, code }) end
    until not ok
    assert.is_true(made > 100)
    local before = m:stats()
    local set = assert(m:set { { "counter", 'a{n="x"}', 'a{n="other"}' },
      { "counter", 'a{n="7"}' } })
    assert.is_true(set:note(1, 1))
    assert.equal(1, value_in(m:text "a", 'a{n="other"}'))
    assert.equal(1, value_in(m:text "a", 'a{n="7"}'))
    assert.is_nil(m:text "a":find 'n="x"')
    assert.equal(before.series, m:stats().series)
    assert.is_true(m:stats().refused > before.refused)
    set = m:set { { "counter", 'a{n="y"}', "nowhere" }, { "level", "b" },
      { "counter", 'a{n="7"}' } }
    assert.is_true(set:note(1, 1, 1))
    assert.equal(2, value_in(m:text "a", 'a{n="7"}'))
    assert.equal("", m:text "nowhere" .. m:text "b")
  end)

  it("say what they take", function()
    local stats = m:stats()
    assert.same({ 0, 0, 0, 1048576 }, { stats.series, stats.used, stats.refused, stats.bytes })
    assert.is_true(math.abs(stats.began - core.wall()) < 600)
  end)

  it("refuse what is wrong, at the caller's line", function()
    local function wrong(message, f, ...)
      local ok, said = pcall(f, ...)
      assert.is_false(ok)
      assert.matches(message, said)
    end
    wrong("invalid option 'gauge'", m.open, m, "gauge", "a")
    wrong("1 to 1024 bytes expected", m.open, m, "counter", "")
    wrong("1 to 1024 bytes expected", m.open, m, "counter", ("x"):rep(1025))
    wrong("1 to 12 series expected", m.set, m, {})
    wrong("a list of { kind, key, other } expected", m.set, m, { "a" })
    wrong("metrics: bytes", metrics.new, { bytes = 1 })
    wrong("metrics: name: belongs to a region", metrics.new, { name = "a" })
    local many = {}
    for i = 1, 13 do many[i] = { "counter", "a" .. i } end
    wrong("1 to 12 series expected", m.set, m, many)
    many[13] = nil
    assert.is_true(m:set(many):note(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
    assert.equal("a12 1\n", m:text "a12")
  end)

  it("end when they are closed, twice, and sets see it", function()
    local set = m:set { { "counter", "a" } }
    m:close()
    m:close()
    assert.is_false(set:note(1))
    assert.error_matches(function() m:open("counter", "a") end, "closed")
    for _, name in ipairs { "set", "text", "list", "stats" } do
      assert.error_matches(function() m[name](m, "counter") end, "closed")
    end
  end)

  it("are kept alive by their sets", function()
    local set = metrics.new({}):set { { "counter", "a" } }
    regions.collect()
    assert.is_true(set:note(1))
  end)

  it("show what a plain table would, whatever is counted", function()
    local random, model, sets = chance.new(chance.seed(3)), {}, {}
    for _ = 1, 5000 do
      local n, value = random:int(40), random:int(1000) / 8
      local key = ('n%d_total{x="%d"}'):format(n % 5, n)
      sets[n] = sets[n] or m:set { { "counter", key }, { "seconds", "h" .. n } }
      sets[n]:note(value, value)
      local known = model[n] or { sum = 0, count = 0 }
      known.sum, known.count, known.key, model[n] = known.sum + value, known.count + 1, key, known
    end
    for n, known in pairs(model) do
      local text = m:text(("n%d_total"):format(n % 5))
      assert.equal(known.sum, value_in(text, known.key))
      assert.equal(known.count, value_in(m:text("h" .. n), ("h%d_count"):format(n)))
      assert.equal(known.sum, value_in(m:text("h" .. n), ("h%d_sum"):format(n)))
    end
  end)
end)

describe("metrics in a region", function()
  local r
  after_each(function()
    r:close()
    r = nil
    regions.collect()
  end)
  guard.watch(before_each, after_each)
  before_each(function() r = assert(region.new { bytes = 512 * 1024 }) end)

  local function open(bytes)
    return assert(metrics.new { region = r, name = "m", bytes = bytes or 65536 })
  end

  -- Runs `f` in so many processes at the same time; their ends must be good ones.
  local function in_processes(n, f)
    local pids = {}
    for i = 1, n do
      pids[i] = process.fork()
      if pids[i] == 0 then
        pcall(f, i)
        process.leave()
      end
    end
    for i = 1, n do assert.is_nil(process.wait(pids[i])) end
  end

  it("are one for all, and nothing is lost", function()
    local m = open()
    local before = m:set { { "counter", "all_total" }, { "seconds", "s" } }
    in_processes(4, function(i)
      local set = m:set { { "counter", "all_total" }, { "seconds", "s" },
        { "counter", ('own_total{i="%d"}'):format(i) } }
      for k = 1, 20000 do
        set:note(1, 0.25, 1)
        if k % 1000 == 0 then m:open("counter", ('made_total{i="%d"}'):format(k)) end
        before:note(1)
      end
    end)
    assert.equal("all_total 160000\n", m:text "all_total")
    assert.equal(80000, value_in(m:text "s", 's_bucket{le="0.25"}'))
    assert.equal(20000, value_in(m:text "s", "s_sum"))
    for i = 1, 4 do
      assert.equal(20000, value_in(m:text "own_total", ('own_total{i="%d"}'):format(i)))
    end
    assert.equal(20, select(2, m:text "made_total":gsub("\n", "\n")))
  end)

  it("take the level of a process back that has died", function()
    local m = open()
    local set = m:set { { "level", "now" }, { "counter", "all_total" } }
    set:note(2, 1)
    local pid = process.fork()
    if pid == 0 then
      set:note(40, 1)
      process.nap(60000000)
      process.leave()
    end
    regions.wait_for(function() return m:text "now" == "now 42\n" end, "the other's level")
    process.kill(pid, 9)
    process.wait(pid)
    r:stats() -- looks for the dead
    assert.equal("now 2\n", m:text "now")
    assert.equal("all_total 2\n", m:text "all_total") -- what was counted stays
    set:note(5)
    assert.equal("now 5\n", m:text "now")
  end)

  it("have levels of more processes than there are cells", function()
    local m = open()
    in_processes(70, function(i)
      m:set({ { "level", "now" } }):note(i)
    end)
    r:stats()
    assert.equal("now 0\n", m:text "now")
  end)

  it("are gone for a set when they were made anew", function()
    local m = open()
    local set = m:set { { "counter", "a_total" } }
    set:note(1)
    m:close()
    assert.is_false(set:note(1))
    assert.error_matches(function() m:text "a_total" end, "closed")
    local again = open(32768)
    assert.equal("", again:text "a_total")
    again:close()
  end)

  it("say when there is no room for them", function()
    local m, message, code = metrics.new { region = r, name = "m", bytes = 2 ^ 20 }
    assert.same({ nil, "full" }, { m, code })
    assert.matches("no room for a metrics of %d+ bytes", message)
  end)
end)
