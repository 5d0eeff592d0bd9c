local core = require "unbusy.core"
local retry_after = require "unbusy.retry_after"

local parse, read = retry_after.parse, core.retry_after

local NOW = 784111777 -- Sun, 06 Nov 1994 08:49:37 GMT
local LONGEST = 315576000

-- What no number may look like, in any header.
local junk = { "", " ", "x", "-1", "+1", "-0", "1e5", "1E5", "0x10", "1,5", "1.", ".5", "1.5.2",
  "1 2",
  "5s", "5 s", "5\0", "\0005", "5\n", "\r5", "five", "inf", "nan", "infinity", "５", "1_000",
  "\"5\"", "5;" }

local function gives(seconds, from, headers, given)
  given = given or {}
  given.now = given.now or NOW
  local got, where = parse(headers, given)
  assert.equal(seconds, got)
  assert.equal(from, where)
end

local function nothing(headers, given)
  gives(nil, nil, headers, given)
end

-- One value of Retry-After, in seconds or nil.
local function header(value, now, date)
  return (parse({ ["retry-after"] = value, date = date }, { now = now or NOW }))
end

local function body(text)
  local seconds, from = parse({}, { body = text })
  assert.equal(seconds and "body" or nil, from)
  return seconds
end

describe("retry_after numbers", function()
  it("reads digits as seconds", function()
    for text, seconds in pairs { ["0"] = 0, ["1"] = 1, ["120"] = 120, ["007"] = 7,
      ["20300101"] = 20300101, ["19941106"] = 19941106, [("0"):rep(500) .. "9"] = 9 } do
      gives(seconds, "retry-after", { ["retry-after"] = text })
      assert.equal(seconds, read.seconds(text))
    end
  end)

  it("reads fractions, down to microseconds", function()
    for text, seconds in pairs { ["1.5"] = 1.5, ["0.0"] = 0, ["0.25"] = 0.25,
      ["20.123456"] = 20.123456,
      ["20.1234567"] = 20.123456, ["0.0000009"] = 0, ["315575999.999999"] = 315575999.999999,
      ["1." .. ("3"):rep(5000)] = 1.333333 } do
      assert.equal(seconds, header(text))
    end
  end)

  it("reads a thousand fractions as tonumber does", function()
    math.randomseed(11)
    for _ = 1, 1000 do
      local text = ("%d.%0" .. math.random(1, 6) .. "d"):format(math.random(0, 99999),
        math.random(0, 9))
      assert.equal(tonumber(text), header(text))
    end
  end)

  it("passes over blanks around, and nothing else", function()
    assert.equal(5, header " \t5 \t ")
    for _, text in ipairs(junk) do
      assert.is_nil(header(text), text)
      assert.is_nil(read.seconds(text), text)
      assert.is_nil(read.ms(text), text)
      nothing { ["retry-after-ms"] = text }
    end
  end)

  it("believes ten years and not a moment more", function()
    assert.equal(LONGEST, retry_after.longest)
    assert.equal(LONGEST, header "315576000")
    for _, text in ipairs { "315576001", "315576000.000001", "9999999999", "1700000000",
      ("9"):rep(400),
      ("9"):rep(60000) } do
      nothing { ["retry-after"] = text }
    end
    gives(LONGEST, "retry-after-ms", { ["retry-after-ms"] = "315576000000" })
    nothing { ["retry-after-ms"] = "315576000001" }
  end)

  it("reads retry-after-ms first, in milliseconds", function()
    gives(1.5, "retry-after-ms", { ["retry-after-ms"] = "1500", ["retry-after"] = "2" })
    gives(0.0005, "retry-after-ms", { ["retry-after-ms"] = "0.5" })
    gives(0, "retry-after-ms", { ["retry-after-ms"] = "0" })
    gives(2, "retry-after", { ["retry-after-ms"] = "soon", ["retry-after"] = "2" })
  end)
end)

describe("retry_after dates", function()
  it("reads the three forms of RFC 9110", function()
    for _, text in ipairs { "Sun, 06 Nov 1994 08:49:47 GMT", "Sunday, 06-Nov-94 08:49:47 GMT",
      "Sun Nov  6 08:49:47 1994" } do
      gives(10, "retry-after", { ["retry-after"] = text })
      gives(10, "retry-after", { ["retry-after"] = "\t" .. text .. "  " })
      assert.equal(NOW + 10, read.date(text, NOW))
    end
    assert.equal(NOW + 10 * 86400, read.date("Sun Nov 16 08:49:37 1994", NOW))
  end)

  it("knows the calendar", function()
    for text, seconds in pairs {
      ["Thu, 01 Jan 1970 00:00:00 GMT"] = 0, ["Wed, 31 Dec 1969 23:59:59 GMT"] = -1,
      ["Thu, 29 Feb 2024 23:59:59 GMT"] = 1709251199, ["Tue, 29 Feb 2000 00:00:00 GMT"] = 951782400,
      ["Mon, 01 Mar 2100 00:00:00 GMT"] = 4107542400,
      ["Mon, 01 Jan 0001 00:00:00 GMT"] = -62135596800,
      ["Fri, 31 Dec 9999 23:59:59 GMT"] = 253402300799,
      ["Sat, 31 Dec 2016 23:59:60 GMT"] = 1483228800, -- a leap second
    } do
      assert.equal(seconds, read.date(text, NOW))
    end
  end)

  it("agrees with the system's calendar on 20,000 days, in every form", function()
    local weekdays = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday",
      "Saturday" }
    for day = -12000, 40000, 3 do
      local at = day * 86400 + (day * 7919) % 86400
      local imf = os.date("!%a, %d %b %Y %H:%M:%S GMT", at)
      assert(at == read.date(imf, NOW), imf)
      local asctime = os.date("!%a %b ", at) .. ("%2d"):format(tonumber(os.date("!%d", at)))
        .. os.date("! %H:%M:%S %Y", at)
      assert(at == read.date(asctime, NOW), asctime)
      local rfc850 = weekdays[os.date("!*t", at).wday] .. os.date("!, %d-%b-%y %H:%M:%S GMT", at)
      assert(at == read.date(rfc850, math.max(0, at)), rfc850)
    end
  end)

  it("takes a year of two digits as at most 50 ahead", function()
    local function year(two, now)
      local at = read.date(("Sunday, 06-Jun-%02d 00:00:00 GMT"):format(two), now)
      return tonumber(os.date("!%Y", at))
    end
    local june_2026, june_1999 = 1780704000, 928627200
    assert.equal(2026, year(26, june_2026))
    assert.equal(2076, year(76, june_2026))
    assert.equal(1977, year(77, june_2026))
    assert.equal(1994, year(94, june_2026))
    assert.equal(2000, year(0, june_1999))
    assert.equal(2049, year(49, june_1999))
    assert.equal(1950, year(50, june_1999))
    assert.equal(1999, year(99, june_1999))
    assert.equal(1970, year(70, 0))
    assert.is_number(read.date("Sunday, 06-Jun-00 00:00:00 GMT", 1e11))
  end)

  it("refuses all that is not quite a date", function()
    for _, text in ipairs {
      "Sun, 6 Nov 1994 08:49:47 GMT", "Sun, 06 Nov 1994 08:49:47", "Sun, 06 Nov 1994 08:49:47 UTC",
      "Sun, 06 Nov 1994 08:49:47 +0000", "sun, 06 Nov 1994 08:49:47 GMT",
      "Sun 06 Nov 1994 08:49:47 GMT",
      "Sun, 06 nov 1994 08:49:47 GMT", "Sun, 06 Nov 94 08:49:47 GMT",
      "Sun, 06 Nov 19945 08:49:47 GMT",
      "Fri, 31 Dec 100000 23:59:59 GMT", "Sun, 06 Nov 0000 08:49:47 GMT",
      "Sun, 00 Nov 1994 08:49:47 GMT",
      "Sun, 31 Nov 1994 08:49:47 GMT", "Tue, 29 Feb 1900 00:00:00 GMT",
      "Wed, 29 Feb 2023 00:00:00 GMT",
      "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT",
      "Sun, 06 Nov 1994 08:49:61 GMT",
      "Sun, 06 Nov 1994 8:49:47 GMT", "Sun, 06  Nov 1994 08:49:47 GMT",
      "Sun, 06 Nov 1994 08:49:47 GMTx",
      "Sun, 06 Nov 1994 08:49:47 GMT\0", "Sun, 06 Nov 1994\0 08:49:47 GMT",
      "06 Nov 1994 08:49:47 GMT",
      "Sun, 06-Nov-94 08:49:47 GMT", "Sunday, 06 Nov 1994 08:49:47 GMT",
      "Sunday, 06-Nov-1994 08:49:47 GMT",
      "Sun Nov 6 08:49:47 1994", "Sun Nov   6 08:49:47 1994", "Sun Nov  6 08:49:47 1994 GMT",
      "Son, 06 Nov",
      "1994-11-06T08:49:47Z", "Sun, -6 Nov 1994 08:49:47 GMT", "Sun, 06 Nov 1994 08:49:4", "Sunda",
      "S",
    } do
      assert.is_nil(read.date(text, NOW), text)
      nothing { ["retry-after"] = text }
    end
  end)

  it("counts from the reply's date if it is valid, else from now", function()
    local at = "Sun, 06 Nov 1994 08:49:47 GMT"
    assert.equal(10, header(at, NOW))
    assert.equal(9.5, header(at, NOW + 0.5))
    assert.equal(4, header(at, 5, "Sun, 06 Nov 1994 08:49:43 GMT"))
    assert.equal(4, header(at, 5, "Sunday, 06-Nov-94 08:49:43 GMT"))
    assert.equal(10, header(at, NOW, "yesterday"))
    assert.equal(10, header(at, NOW, ""))
  end)

  it("takes a date in the past as 0", function()
    assert.equal(0, header("Sun, 06 Nov 1994 08:49:37 GMT", NOW))
    assert.equal(0, header("Sun, 06 Nov 1994 08:49:37 GMT", NOW + 1e6))
    assert.equal(0, header("Mon, 01 Jan 0001 00:00:00 GMT", NOW))
    assert.equal(0, header("Sun, 06 Nov 1994 08:49:37 GMT", NOW, "Sun, 06 Nov 1994 09:49:37 GMT"))
  end)

  it("believes a date for ten years", function()
    assert.equal(LONGEST, header("Sun, 06 Nov 1994 08:49:37 GMT", NOW - LONGEST))
    nothing({ ["retry-after"] = "Sun, 06 Nov 1994 08:49:37 GMT" }, { now = NOW - LONGEST - 1 })
    nothing { ["retry-after"] = "Fri, 31 Dec 9999 23:59:59 GMT" }
  end)

  it("reads the wall clock when no time is given", function()
    local text = os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 1000)
    local seconds = parse { ["retry-after"] = text }
    assert.is_true(seconds > 900 and seconds <= 1001, seconds)
  end)
end)

describe("retry_after ratelimit", function()
  it("reads t of the items with r=0, the longest of them", function()
    for text, seconds in pairs {
      ['"default";r=0;t=30'] = 30, ['default;r=0;t=30'] = 30, ['"a";t=7;r=0'] = 7,
        ['"a" ; r=0 ; t=7'] = 7,
      ['"burst";r=0;t=5, "daily";r=100;t=3600'] = 5, ['"a";r=0;t=5,"b";r=0;t=60,"c";r=0;t=6'] = 60,
      ['"a;r=0;t=9, ";r=0;t=8'] = 8, ['"a\\";r=0;t=9";r=0;t=4'] = 4, ['"a";r=0;t=0'] = 0,
      ['"a";r=0;pk=:Y2Rl:;t=12'] = 12, ['"a";r=0;t=9999999999, "b";r=0;t=3'] = 3,
      ['"a";t=1;r=0;t=2'] = 2,
    } do
      gives(seconds, "ratelimit", { ratelimit = text })
    end
  end)

  it("reads the older form where remaining=0", function()
    gives(50, "ratelimit", { ratelimit = "limit=100, remaining=0, reset=50" })
    gives(50, "ratelimit", { ratelimit = "reset=50,remaining=0" })
    nothing { ratelimit = "limit=100, remaining=1, reset=50" }
    nothing { ratelimit = "limit=100, reset=50" }
    nothing { ratelimit = "limit=100, remaining=0" }
  end)

  it("joins a header sent more than once", function()
    gives(9, "ratelimit", { ratelimit = { '"a";r=0;t=2', '"b";r=0;t=9', '"c";r=1;t=99' } })
    gives(9, "ratelimit", { ratelimit = { "limit=10", "remaining=0", "reset=9" } })
    nothing { ratelimit = {} }
  end)

  it("finds nothing where nothing is used up, or in what it cannot read", function()
    for _, text in ipairs { "", ",", ";", ";;,,", '"a"', '"a";r=1;t=30', '"a";t=30', '"a";r=0',
      '"a";r=0, "b";t=5',
      '"a";r=0;t=-5', '"a";r=0;t=x', '"a";r=0;t=', '"a";r=;t=5', '"a";r=0;t=5s',
      '"a";r=0;t=9999999999',
      '"a";r=0;t=5;t=x', '"a";R=0;T=5', '"a;r=0;t=5', '"a";r=0;t=5, "b', '"a\\', '"a";rr=0;tt=5',
      "r=0;t=5\0",
      "=;=,=" } do
      assert.is_nil(read.rate_limit(text), text)
      nothing { ratelimit = text }
    end
  end)

  it("reads ratelimit-reset where ratelimit-remaining is 0", function()
    gives(7, "ratelimit-reset", { ["ratelimit-reset"] = "7", ["ratelimit-remaining"] = "0" })
    nothing { ["ratelimit-reset"] = "7" }
    nothing { ["ratelimit-reset"] = "7", ["ratelimit-remaining"] = "1" }
    nothing { ["ratelimit-reset"] = "7", ["ratelimit-remaining"] = "none" }
    nothing { ["ratelimit-reset"] = "1700000000", ["ratelimit-remaining"] = "0" }
    nothing { ["ratelimit-remaining"] = "0" }
  end)
end)

describe("retry_after durations", function()
  it("reads what Go prints", function()
    for text, seconds in pairs { ["1s"] = 1, ["6m0s"] = 360, ["12ms"] = 0.012,
      ["1h2m3.5s"] = 3723.5,
      ["250us"] = 0.00025, ["250µs"] = 0.00025, ["250μs"] = 0.00025, ["1ns"] = 1e-9, ["0s"] = 0,
      ["0"] = 0,
      ["1.5h"] = 5400, ["2m59.56s"] = 179.56, ["8640h0m0s"] = 31104000, [" 1s\t"] = 1, ["1s1s"] = 2,
      ["3s2m"] = 123, ["87660h"] = LONGEST, ["315576000000ms"] = LONGEST, ["1000000000ns"] = 1 } do
      gives(seconds, "x-ratelimit-reset-requests", { ["x-ratelimit-reset-requests"] = text })
      assert.equal(seconds, read.duration(text))
    end
  end)

  it("refuses all else", function()
    for _, text in ipairs { "", " ", "1", "00", "5.", "s", "-1s", "+1s", "1 s", "1s 2s", ".5s",
      "1.s", "1d", "1S",
      "1sec", "1e3s", "1s\0", "1s2", "ms", "0x1s", "1m.5s", "87660h1ns1s", "1,5s", "1µ",
      ("9"):rep(400) .. "h",
      ("9"):rep(400) .. "ns" } do
      assert.is_nil(read.duration(text), text)
      nothing { ["x-ratelimit-reset-tokens"] = text }
    end
  end)

  it("takes the longer of the two that are used up", function()
    local requests, tokens = "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"
    local function both(r, t, left_r, left_t)
      return { [requests] = r, [tokens] = t, ["x-ratelimit-remaining-requests"] = left_r,
        ["x-ratelimit-remaining-tokens"] = left_t }
    end
    gives(2, requests, both("2s", "1s"))
    gives(3, tokens, both("2s", "3s"))
    gives(2, requests, both("2s", "2s"))
    gives(2, requests, both("2s", "3s", "0", "1"))
    gives(1, tokens, both("2s", "1s", "1", "0"))
    gives(1, tokens, both("2s", "1s", "99"))
    gives(1, tokens, both("2s", "1s", "many", "0"))
    gives(1, tokens, both("soon", "1s"))
    gives(0, requests, both("0s", nil))
    gives(3, tokens, both("2s", "3s", {}, "0"))
    nothing(both("2s", "1s", "5", "6"))
    nothing(both(nil, nil, "0", "0"))
  end)
end)

describe("retry_after bodies", function()
  it("reads Google's retryDelay", function()
    for text, seconds in pairs {
      ['{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"9s"}]}'] = 9,
      ['{"retryDelay" :\n  "34.074824s"}'] = 34.074824, ['"retryDelay": "0s"'] = 0,
      ['{"text":"{\\"retryDelay\\": \\"7s\\"}"}'] = 7, ['"retryDelay":"x" "retryDelay":"5s"'] = 5,
      ['try again in 9s "retryDelay":"3s"'] = 3,
    } do
      assert.equal(seconds, body(text), text)
    end
    for _, text in ipairs { '"retryDelay":20', '"retryDelay":"20"', '"retryDelay":"20s',
      '"retryDelay"', "retryDelay", 'retryDelay":"20s"',
      '"retryDelays":"20s"', '"retryDelay":"-20s"', '"retryDelay","20s"',
      '"retryDelay":' } do
      assert.is_nil(body(text), text)
    end
  end)

  it("reads words as providers write them", function()
    for text, seconds in pairs {
      ["Limit 30000, Used 23193, Requested 1547. Please try again in 17.28s. Visit https"] = 17.28,
      ["Please try again in 20s"] = 20, ["please try again in 1m30s."] = 90,
      ["try again in 6m0s."] = 360, ["Please try again in 12ms."] = 0.012,
      ["Please retry after 20 seconds. Please go here: https://"] = 20,
      ["try again in 6.5 seconds"] = 6.5, ["Please retry in 34.074824224s."] = 34.074824,
      ["RETRY AFTER 1 SECOND"] = 1,
      ["Rate limit resets in 30 sec"] = 30, ["Your quota will reset after 1h2m3s."] = 3723,
      ["try again in 2 hours"] = 7200,
      ["try again in 5 minutes"] = 300, ["retrying in 1 minute and 30 seconds!"] = 90,
      ["try again in 1 hour 5 min"] = 3900,
      ["Please retry after: 20 s"] = 20, ["retry-after: 3s"] = 3, ["try again in 1 day"] = 86400,
      ["try again (in 3s)"] = 3,
      ["try again, please, in a few hours, say in 2 hours"] = 7200,
      ["try again in 20 seconds 503 times"] = 20,
      ["try again in 500 milliseconds"] = 0.5, ["again in 5s, again in 6s"] = 5,
      ["try again in x. Try again in 4s"] = 4,
      ['{"error":{"message":"Please try again in 20s.","type":"requests"}}'] = 20,
      ["服务器繁忙, try again in 20s。"] = 20,
      ["\0 try again in 2s \0"] = 2, ["try again in\t3\ts"] = 3, ["try again in 0s"] = 0,
    } do
      assert.equal(seconds, body(text), text)
    end
  end)

  it("finds nothing in other words", function()
    for _, text in ipairs { "", "try again later", "try again in a minute",
      "completed in 6.5 seconds", "in 1m30s",
      "try again. Completed in 6.5 seconds", "again\nin 5s", 'again" in 5s', "try again in 20",
      "try again in 20 months",
      "try again in -5 seconds", "try again in 1e5 seconds", "try again in 0x20 seconds",
      "try again in 1,000 seconds",
      "try again in 6. seconds", "try again in .5s", "against in 5s", "again within 5s",
      "again ins 5s", "again\0in 5s",
      "try again in 11 years", "try again in 100000 hours",
      "try again in " .. ("9"):rep(400) .. "s",
      '{"retry_after": 20}', "again in and 5s", "try again in", "again", "in" } do
      assert.is_nil(body(text), text)
    end
  end)

  it("reads 64 KiB of it, and no amount that is cut there", function()
    local text = "try again in 1m30s"
    local function at(start) return (" "):rep(start) .. text end
    assert.equal(90, body(at(65536 - #text)))
    assert.equal(90, body(at(65530 - #text) .. " and more"))
    for start = 65537 - #text, 65540 do
      assert.is_nil(body(at(start)), start)
      assert.is_nil(body(at(start) .. ". More."), start)
    end
    assert.is_nil(body((" "):rep(65536 - #text) .. text .. "x"))
    for start = 65536 - 40, 65536 do
      local long = body((" "):rep(start) .. "again in 1 minute and 30 seconds.")
      assert.is_true(long == nil or long == 90, long)
      local quoted = body((" "):rep(start) .. '"retryDelay": "1m30s"')
      assert.is_true(quoted == nil or quoted == 90, quoted)
    end
  end)

  it("takes hostile bodies in its stride", function()
    for _, piece in ipairs { '"retryDelay', '"retryDelay":"', '"retryDelay":"1', "again in ",
      "again in 1 ", "again in 1s",
      "in ", "1s ", "again", "9", "\\", '"retryDelay\\\\', "again in 9999999999s " } do
      local _, from = parse({}, { body = piece:rep(math.ceil(2e6 / #piece)) })
      assert.is_true(from == nil or piece == "again in 1s", piece)
    end
  end)
end)

describe("retry_after order", function()
  -- Each source with a wait of its own, in the order they are asked.
  local sources = {
    { "retry-after-ms", { ["retry-after-ms"] = "1000" }, 1 },
    { "retry-after", { ["retry-after"] = "2" }, 2 },
    { "ratelimit", { ratelimit = '"a";r=0;t=3' }, 3 },
    { "ratelimit-reset", { ["ratelimit-reset"] = "4", ["ratelimit-remaining"] = "0" }, 4 },
    { "x-ratelimit-reset-tokens", { ["x-ratelimit-reset-tokens"] = "5s" }, 5 },
    { "body", {}, 6 },
  }

  it("gives the first usable source and its name", function()
    for from = 1, #sources do
      local headers = { ["content-type"] = 5, server = {} }
      for i = from, #sources do
        for name, value in pairs(sources[i][2]) do headers[name] = value end
      end
      gives(sources[from][3], sources[from][1], headers, { body = "try again in 6s" })
      for i = 1, from - 1 do -- what is there before, but unusable, does not hinder
        for name in pairs(sources[i][2]) do headers[name] = "never" end
      end
      gives(sources[from][3], sources[from][1], headers, { body = "try again in 6s" })
    end
  end)

  it("takes the first usable value of a header sent more than once", function()
    gives(5, "retry-after", { ["retry-after"] = { "never", "5", "3" } })
    gives(10, "retry-after", { ["retry-after"] = { "", "Sun, 06 Nov 1994 08:49:47 GMT" } })
    gives(0.007, "retry-after-ms", { ["retry-after-ms"] = { "-1", "7" },
      ["retry-after"] = { "1" } })
    nothing { ["retry-after"] = {} }
    nothing { ["retry-after"] = { "a", "b" } }
  end)

  it("gives nil where nothing is said", function()
    nothing {}
    nothing({}, { body = "" })
    nothing({ date = "Sun, 06 Nov 1994 08:49:37 GMT", ["Retry-After"] = "5" },
      { body = "服务器繁忙" })
    assert.is_nil((parse {}))
  end)

  it("leaves the headers as they are", function()
    local headers = { ["retry-after"] = { "x", "5" }, date = "now" }
    parse(headers)
    assert.same({ ["retry-after"] = { "x", "5" }, date = "now" }, headers)
  end)

  it("never gives anything but nil or 0 to ten years, for random text in every place", function()
    local pieces = { "0", "1", "9", "99999", ".", "s", "m", "h", "ms", "µs", " ", "-", "+", "e",
      "x", "\0", ";", ",", "=", '"',
      "\\", "r=0", "t=5", "remaining=0", "reset=", "try again in ", "retry after ",
      '"retryDelay":"', "seconds", "Sun", ", ",
      "06", "Nov", "1994", "08:49:37", "GMT", "Sun, 06 Nov 1994 08:49:37 GMT", "and", "\255", ":" }
    local names = { "retry-after-ms", "retry-after", "ratelimit", "x-ratelimit-reset-requests",
      "ratelimit-reset", "date" }
    math.randomseed(99)
    local found = 0
    for _ = 1, 20000 do
      local list = {}
      for i = 1, math.random(0, 9) do list[i] = pieces[math.random(#pieces)] end
      local text = table.concat(list)
      local headers = { ["ratelimit-remaining"] = "0" }
      if math.random() < 0.7 then headers[names[math.random(#names)]] = text end
      local seconds, from = parse(headers, { now = NOW, body = text })
      if seconds then
        found = found + 1
        assert(seconds >= 0 and seconds <= LONGEST and type(from) == "string", text)
      else
        assert(from == nil, text)
      end
    end
    assert.is_true(found > 100, found)
  end)
end)

describe("retry_after whole replies", function()
  it("reads an OpenAI reply that is out of tokens", function()
    gives(17.28, "x-ratelimit-reset-tokens", {
      ["content-type"] = "application/json",
      ["x-ratelimit-limit-requests"] = "10000",
      ["x-ratelimit-limit-tokens"] = "30000",
      ["x-ratelimit-remaining-requests"] = "9999",
      ["x-ratelimit-remaining-tokens"] = "0",
      ["x-ratelimit-reset-requests"] = "8.64s",
      ["x-ratelimit-reset-tokens"] = "17.28s",
    }, { body = '{"error":{"message":"Please try again in 20s.","code":"rate_limit_exceeded"}}' })
  end)

  it("falls back to the body when the headers say that there is room", function()
    gives(20, "body", {
      ["x-ratelimit-remaining-requests"] = "9999",
      ["x-ratelimit-remaining-tokens"] = "6807",
      ["x-ratelimit-reset-requests"] = "8.64s",
      ["x-ratelimit-reset-tokens"] = "17.28s",
    }, { body = '{"error":{"message":"Limit 30000, Used 23193. Please try again in 20s."}}' })
  end)

  it("reads an Azure reply with both units", function()
    gives(2.718, "retry-after-ms", { ["retry-after-ms"] = "2718", ["retry-after"] = "3" }, {
      body = '{"error":{"code":"429","message":"Please retry after 3 seconds."}}' })
  end)

  it("reads a Google reply, whose words and details differ a little", function()
    gives(34, "body", { ["content-type"] = "application/json; charset=UTF-8" }, { body = [[
{
  "error": {
    "code": 429,
    "message": "You exceeded your current quota.\\nPlease retry in 34.074824224s.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
      {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": "34s"
      }
    ]
  }
}]] })
  end)

  it("reads a proxy's reply in a queue of its own, by date", function()
    gives(90, "retry-after", {
      date = "Sun, 06 Nov 1994 08:49:37 GMT",
      ["retry-after"] = "Sun, 06 Nov 1994 08:51:07 GMT",
    }, { now = 1e9, body = "<html><h1>503 Service Temporarily Unavailable</h1></html>" })
  end)

  it("finds nothing in a plain busy reply", function()
    nothing({ date = "Sun, 06 Nov 1994 08:49:37 GMT", server = "nginx", ["content-length"] = "60" },
      { body = '{"error":{"message":"Server overloaded, please retry later","code":503}}' })
  end)
end)

describe("retry_after against naive models", function()
  it("sums up 5,000 random durations as Lua does", function()
    local units = { { "h", 3600 }, { "m", 60 }, { "s", 1 }, { "ms", 1e-3 }, { "us", 1e-6 },
      { "ns", 1e-9 } }
    math.randomseed(5)
    for _ = 1, 5000 do
      local parts, sum = {}, 0
      for i = 1, math.random(1, 5) do
        local unit, form = units[math.random(#units)], math.random() < 0.5 and "%d" or "%.3f"
        local n = form:format(math.random(0, 999))
        parts[i], sum = n .. unit[1], sum + tonumber(n) * unit[2]
      end
      local text = table.concat(parts)
      assert(math.abs(read.duration(text) - sum) < 1e-9 * (1 + sum), text)
      local spoken = read.body("try again in " .. table.concat(parts, " ") .. ".")
      assert(math.abs(spoken - sum) < 1e-9 * (1 + sum), text)
    end
  end)

  it("finds the longest spent quota of 5,000 random lists", function()
    math.randomseed(6)
    for _ = 1, 5000 do
      local items, longest = {}, nil
      for i = 1, math.random(1, 6) do
        local left, wait = math.random(0, 2), math.random(0, 100)
        local name = ({ '"a"', "a", '"r=0;t=999"', '"\\\","' })[math.random(4)]
        items[i] = ("%s;%s"):format(name, math.random() < 0.5 and ("r=%d;t=%d"):format(left, wait)
          or (" t=%d ; x ; r=%d"):format(wait, left))
        if left == 0 then longest = math.max(longest or 0, wait) end
      end
      local text = table.concat(items, math.random() < 0.5 and "," or " , ")
      assert(read.rate_limit(text) == longest, text)
    end
  end)
end)

describe("retry_after use", function()
  local function message(...)
    local ok, text = pcall(parse, ...)
    assert.is_false(ok)
    return text
  end

  it("raises on wrong use, at the caller's line", function()
    assert.matches("retry_after: a table of headers expected, got a nil", message())
    assert.matches("a table of headers expected, got a string", message "retry-after: 5")
    assert.matches("header 'retry%-after': a string expected, got a number",
      message { ["retry-after"] = 5 })
    assert.matches("header 'date': a string expected, got a boolean", message { date = { "x",
      true } })
    assert.matches("retry_after: a table of options expected, got 5", message({}, 5))
    assert.matches("unknown option 'bodi', did you mean 'body'%?", message({}, { bodi = "" }))
    assert.matches("body: string expected", message({}, { body = 5 }))
    for _, now in ipairs { -1, 1e12, math.huge, 0 / 0, "5", {} } do
      assert.matches("retry_after: now: ", message({}, { now = now }))
    end
    for _, wrong in ipairs { function() parse() end, function() parse { ["retry-after"] = 5 } end,
      function() parse({}, { x = 1 }) end } do
      assert.matches("retry_after_spec%.lua:%d+: retry_after: ", select(2, pcall(wrong)))
    end
  end)

  it("raises on wrong use of the functions beneath", function()
    for _, name in ipairs { "seconds", "ms", "duration", "rate_limit", "body", "date" } do
      assert.has_error(function() read[name]() end)
      assert.has_error(function() read[name]({}, 0) end)
    end
    for _, now in ipairs { -1e13, 1e13, 0 / 0, math.huge } do
      assert.has_error(function() read.date("x", now) end)
    end
  end)
end)
