-- What is shown: the terminal's text, the JSON, the page.
local chart = require "unbusy.simulate.chart"
local html = require "unbusy.simulate.html"
local json = require "unbusy.json"
local report = require "unbusy.simulate.report"
local simulate = require "unbusy.simulate"
local text = require "unbusy.simulate.text"
local trace = require "unbusy.simulate.trace"

local HOSTILE = '</script><img src=x onerror=alert(1)>&"\''

-- A small outage of a target with that name.
local function outage(name)
  local t = trace.new "examples/traces/some.csv"
  for _, line in ipairs {
    { target = name, capacity = 5, latency = 1, price = { input = 1, output = 2 } },
    { target = name, at = 20, capacity = 0 }, { target = name, at = 40, capacity = 5 } } do
    assert.is_nil(trace.declare(t, line))
  end
  for i = 0, 239 do trace.add(t, i / 4, 1, 1, false, 0) end
  return t
end

local function compare(name, policies)
  return assert(simulate.compare(outage(name), policies or { { name = "none" } }))
end

describe("the text of a report", function()
  it("fits into 80 columns, in any style, whatever the names", function()
    for _, name in ipairs { "a", ("深度求索"):rep(4), ("x"):rep(64) } do
      local r = compare(name, { { name = "none" }, { name = ("长"):rep(20) } })
      for _, style in ipairs { "utf8", "ascii" } do
        for i, line in ipairs(text.lines(r, style)) do
          local is_list = line:find "^  [^ ]+.-: upstream %d+" -- a sentence, as long as it is
          assert.is_true(i == 1 or is_list ~= nil or chart.columns(line) <= 80, line)
          local is_ascii = not line:gsub("长", ""):find "[\128-\255]"
          assert.is_true(style == "utf8" or name:find "深" ~= nil or is_ascii, line)
        end
      end
    end
  end)

  it("has a table, and rows that show the outage", function()
    local lines = table.concat(text.lines(compare "a", "utf8"), "\n")
    assert.matches("some.csv\n  240 calls in 59.75 s; trouble from 20 s to 40 s; seed 1\n", lines)
    for _, name in ipairs { "none", "naive", "retry loop" } do
      assert.matches("\n  " .. name .. " +%d+%.%d %%", lines)
    end
    assert.matches("\n  a +" .. ("█"):rep(15) .. ("·"):rep(15) .. ("█"):rep(30) .. "\n", lines)
    assert.matches("naive: upstream 160, failed 80 %(busy 80%)", lines)
  end)

  it("tells of second tries beside slow ones, and of queues that were left", function()
    local t = trace.new "some.csv"
    for _, line in ipairs {
      { target = "a", capacity = 50, latency = { kind = "bimodal", mean = 1, slow = 20, p = 0.05 },
        queue = 100, queue_sign = "keepalive" }, { target = "a", at = 60, capacity = 1 },
      { target = "b", latency = 1 } } do
      assert.is_nil(trace.declare(t, line))
    end
    for i = 0, 479 do trace.add(t, i / 4, 1, 1, false, 0) end
    local r = assert(simulate.compare(t, { { name = "none" },
      { name = "interactive", policy = "interactive" } }, { stream = 1 }))
    local data = json.decode(report.json(r)).clients
    local none, some = data[1].second_tries, data[2].second_tries
    assert.same({ begun = 0, won = 0, lost = 0, failed = 0, switched = 0 }, none)
    assert.is_true(some.begun > 2 and some.won > 2 and some.switched > 2)
    local lines = table.concat(text.lines(r, "utf8"), "\n")
    assert.matches(("\n  interactive: [^\n]*\n    beside slow tries: %d, of which %d answered; "
      .. "queues left: %d\n"):format(some.begun, some.won, some.switched), lines)
    assert.is_nil(lines:match "none: [^\n]*\n    beside")
  end)

  it("tells of several seeds", function()
    local r = assert(simulate.compare(outage "a", { { name = "none" } }, { seeds = 3 }))
    local lines = table.concat(text.lines(r, "utf8"), "\n")
    assert.matches("\nWith 3 seeds: least, middle and most of each\n.-\n  none +%d+%.%d  %d",
      lines)
    local data = json.decode(report.json(r))
    assert.equal(3, data.seeds)
    assert.is_number(data.clients[1].spread.availability.middle)
    assert.is_truthy(html.page(r):find("<h2>With 3 seeds</h2>", 1, true))
  end)

  it("says what a policy's script did wrong", function()
    local r = compare("a", { { name = "x", policy = { retry = function() return "soon" end } } })
    assert.matches("x: its script failed: retry %d+ %(", table.concat(text.lines(r, "utf8"), "\n"))
  end)
end)

describe("rows of bars", function()
  it("show a full block for all of it and nothing less", function()
    assert.same({ "█", "▇", "▁", "·", " " }, { chart.sign(1, "utf8"), chart.sign(0.999, "utf8"),
      chart.sign(0.001, "utf8"), chart.sign(0, "utf8"), chart.sign(nil, "utf8") })
  end)

  it("cut long names, and count the columns of wide ones", function()
    assert.equal("abc…", chart.cut("abcdef", 4, "utf8"))
    assert.equal("abc~", chart.cut("abcdef", 4, "ascii"))
    assert.equal("深…", chart.cut("深度求索", 4, "utf8"))
    assert.equal(8, chart.columns "深度求索")
    assert.equal(3, chart.columns "é…a")
  end)

  it("mark the trouble where it was", function()
    for _, case in ipairs { { 0, 1 }, { 0, 0.001 }, { 0.999, 1 }, { 0.5, 0.6 }, {} } do
      local times = { from = 1, to = 2, last = 1e6 }
      for _, line in ipairs(chart.axis(case[1], case[2], times, "utf8")) do
        assert.is_true(chart.columns(line) <= 80)
      end
    end
  end)

  it("ask the environment as the C library does", function()
    local function of(env) return chart.style(function(name) return env[name] end) end
    assert.same({ "utf8", "utf8", "ascii", "ascii" }, { of { LANG = "C.UTF-8" },
      of { LC_ALL = "zh_CN.utf8", LANG = "C" }, of { LC_ALL = "C", LANG = "C.UTF-8" }, of {} })
  end)
end)

describe("the JSON of a report", function()
  it("has every figure, and a number for each moment", function()
    local r = compare "a"
    local data = json.decode(report.json(r))
    assert.same({ 240, 59.75, 30, { "a" } }, { data.trace.calls, data.trace.seconds,
      data.trace.deadline, data.trace.targets })
    assert.near(20, data.trouble.from, 1)
    assert.near(40, data.trouble.to, 1)
    local names, n = {}, r.count
    for i, c in ipairs(data.clients) do
      names[i] = c.name
      assert.equal(c.calls, c.sources.upstream + c.sources.failed)
      assert.equal(c.answered, c.sources.upstream)
      assert.near(c.answered / c.calls, c.availability, 1e-6)
      assert.near(c.upstream_calls / c.calls, c.calls_each, 1e-6)
      for _, field in ipairs { "answered", "p50", "p99", "in_flight", "in_their_line",
        "in_our_line" } do
        assert.equal(n, #c.over_time[field], field)
      end
      local sum = 0
      for k = 1, n do sum = sum + c.over_time.answered[k] end
      assert.equal(c.answered, sum)
    end
    assert.same({ "none", "naive", "retry loop" }, names)
    assert.equal(n, #data.clients[1].over_time.breakers.a)
    assert.same({}, data.clients[2].over_time.breakers)
    assert.equal(n, #data.over_time.capacity.a)
    local sum = 0
    for k = 1, n do sum = sum + data.over_time.calls[k] end
    assert.equal(240, sum)
  end)

  it("holds its members in one order, and null for what there is not", function()
    local one = report.json(compare "a")
    assert.equal(one, report.json(compare "a"))
    assert.matches('^{"trace":{"calls":240,"path":"examples/traces/some.csv","rows":240,"seconds":',
      one)
    local t = trace.new "t"
    trace.declare(t, { target = "a" })
    trace.add(t, 0, 1, 1, false, 0)
    local data = json.decode(report.json(assert(simulate.compare(t, {}))))
    assert.same({ json.null, json.null }, { data.trouble, data.over_time.capacity.a[1] })
  end)
end)

describe("the page of a report", function()
  local page = html.page(compare("a", { { name = "none" }, { name = "mine" } }))

  it("is whole, and loads nothing", function()
    assert.matches("^<!doctype html>", page)
    assert.matches("</html>\n$", page)
    for _, word in ipairs { "https?://", "src=", "href=", "@import", "url%(", "fetch",
      "XMLHttp" } do
      assert.is_nil(page:find(word), word)
    end
    assert.matches("default%-src 'none'", page)
  end)

  it("closes what it opens", function()
    local open, empty = {}, { meta = true, path = true, line = true, rect = true }
    local body = page:gsub("<script.->.-</script>", ""):gsub("<style>.-</style>", "")
      :gsub("<!doctype html>", "")
    for slash, name, rest in body:gmatch "<(/?)(%a[%w]*)([^>]*)>" do
      if slash == "/" then
        assert.equal(table.remove(open), name)
      elseif not rest:find "/$" and name ~= "meta" and name ~= "br" then
        assert.is_nil(name == "path" and "an open path" or nil)
        open[#open + 1] = name
      else
        assert.is_true(empty[name] or name == "br", name)
      end
    end
    assert.same({}, open)
  end)

  it("shows each client: its figures, its answers, its breakers", function()
    for _, name in ipairs { "none", "mine", "naive", "retry loop" } do
      assert.is_truthy(page:find("<tr><th><bdi>" .. name .. "</bdi></th>", 1, true))
      assert.is_truthy(page:find("<summary><bdi>" .. name .. "</bdi></summary>", 1, true))
    end
    assert.equal(2, select(2, page:gsub("<figcaption>Breakers", "")))
    assert.equal(4, select(2, page:gsub("<figcaption>Answers by source", "")))
    assert.equal(1, select(2, page:gsub("<figcaption>Load and capacity", "")))
    assert.is_nil(page:find "nan" or page:find "inf[^o]")
  end)

  it("holds the numbers of its plots for the script", function()
    local data = json.decode(page:match '<script type="application/json" id="data">(.-)</script>')
    local plots = 0
    for _ in page:gmatch 'data%-plot="%d+" data%-series="0"' do plots = plots + 1 end
    assert.is_true(#data.plots >= 15 and plots >= #data.plots)
    for _, p in ipairs(data.plots) do
      for _, series in ipairs(p.series) do assert.equal(data.count, #series) end
    end
  end)

  it("obeys nothing that stands in a name", function()
    local t = outage(HOSTILE)
    t.path = "/tmp/" .. HOSTILE .. "\255.csv"
    local r = assert(simulate.compare(t, { { name = HOSTILE, policy = { retry = function()
      error(HOSTILE)
    end } } }))
    local bad = html.page(r)
    assert.is_nil(bad:find("<img", 1, true))
    assert.is_nil(bad:find(HOSTILE, 1, true))
    assert.is_truthy(json.is_utf8(bad))
    -- as many elements as with a harmless name
    local function elements(of) return select(2, of:gsub("<[%a/]", "")) end
    local good = html.page(assert(simulate.compare(outage "a", { { name = "x", policy = {
      retry = function() error "oops" end } } })))
    assert.equal(elements(good), elements(bad))
    assert.equal(2, select(2, bad:gsub("</script>", "")))
  end)
end)
