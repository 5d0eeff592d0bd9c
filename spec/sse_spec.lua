local core = require "unbusy.core"
local sse = require "unbusy.sse"

local BOM = "\239\187\191"

-- Feeds `text` in pieces of `size` bytes (all at once without it). Gives the events and the parser.
local function events(text, size, p)
  local out = {}
  p = p or sse.new {}
  for at = 1, math.max(#text, 1), size or math.max(#text, 1) do
    for _, event in ipairs(assert(p:feed(text:sub(at, at + (size or #text) - 1)))) do
      out[#out + 1] = event
    end
  end
  return out, p
end

-- The same events, however the text is cut.
local function same(expected, text)
  for _, size in ipairs { false, 1, 2, 3, 5, 7, 64 } do
    assert.same(expected, (events(text, size or nil)))
  end
  for cut = 0, #text do  -- two pieces, at every place
    local first, p = events(text:sub(1, cut))
    for _, event in ipairs(events(text:sub(cut + 1), nil, p)) do first[#first + 1] = event end
    assert.same(expected, first)
  end
end

-- ---- a naive model: the whole stream at hand, one pass, no care for speed ----

local function split(text)
  local lines, at = {}, 1
  while true do
    local from = text:find("[\r\n]", at)
    if not from then return lines, text:sub(at) end
    lines[#lines + 1] = text:sub(at, from - 1)
    at = from + (text:sub(from, from + 1) == "\r\n" and 2 or 1)
  end
end

local function model(text, limit)
  local out, comments, torn = {}, 0, 0
  local data, kind, id, retry = nil, "", "", nil
  local size = function() return #(data or "") + #kind + #id end
  if text:sub(1, 3) == BOM then text = text:sub(4) end
  local lines, rest = split(text)
  for _, line in ipairs(lines) do
    if line == "" then
      if data then
        out[#out + 1] = { data = data, retry = retry,
          event = kind ~= "" and kind or nil, id = id ~= "" and id or nil }
        retry = nil
      end
      data, kind, torn = nil, "", 0
    elseif line:sub(1, 1) == ":" then
      comments = comments + 1
    else
      if #line - 6 > limit - size() then return out, comments, nil end
      torn = torn + #line
      local name, value = line:match("^([^:]*):? ?(.*)$")
      if name == "data" then data = data and data .. "\n" .. value or value end
      if name == "event" then kind = value end
      if name == "id" and not value:find("\0", 1, true) then id = value end
      if name == "retry" and value:find("^%d+$") and tonumber(value) <= 315576000000 then
        retry = tonumber(value) / 1000
      end
      if size() > limit then return out, comments, nil end
    end
  end
  if rest:sub(1, 1) ~= ":" then
    if #rest - 6 > limit - size() then return out, comments, nil end
    torn = torn + #rest
  end
  return out, comments, torn
end

describe("sse", function()
  it("gives the standard's own examples", function()
    same({ { data = "YHOO\n+2\n10" } }, "data: YHOO\ndata: +2\ndata: 10\n\n")
    same({ { data = "first event", id = "1" }, { data = "second event" }, { data = " third" } },
      ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n\n")
    same({ { data = "" }, { data = "\n" } }, "data\n\ndata\ndata\n\ndata:")
    same({ { data = "test" }, { data = "test" } }, "data:test\n\ndata: test\n\n")
    same({ { event = "add", data = "73857293" }, { event = "remove", data = "2153" } },
      "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n")
  end)

  it("gives an empty list while no event is complete", function()
    local p = sse.new {}
    assert.same({}, p:feed "")
    assert.same({}, p:feed "data: a")
    assert.same({}, p:feed "\n")
    assert.same({ { data = "a" } }, p:feed "\n")
    assert.same({}, p:feed "\n\n\n")
  end)

  it("ends lines with LF, CR or CRLF, mixed and cut anywhere", function()
    same({ { data = "a\nb" }, { data = "c" }, { data = "d" } },
      "data: a\rdata: b\r\n\r\ndata: c\n\rdata: d\r\r")
    same({ { data = "a" } }, "data: a\r\n\n")
  end)

  it("finds the end of a line of any length, whatever comes behind it", function()
    for length = 0, 150 do
      local data = ("x"):rep(length)
      for _, stop in ipairs { "\n", "\r", "\r\n" } do
        for _, rest in ipairs { "", "data: y" .. stop, ("y"):rep(100), ("\r\n"):rep(40) } do
          local text = "data: " .. data .. stop .. stop .. rest
          assert.same({ { data = data } }, (events(text)))
          assert.same({ { data = data } }, (events(text, 70)))
        end
      end
    end
  end)

  it("ends a line with a CR at a chunk's end at once, and passes over the LF after it", function()
    local p = sse.new {}
    assert.same({}, p:feed "data: a\r")
    assert.same({ { data = "a" } }, p:feed "\n\r")
    assert.same({}, p:feed "")
    assert.same({}, p:feed "\ndata: b\n")
    assert.same({ { data = "b" } }, p:feed "\r")
    assert.same({ { data = "c" } }, p:feed "data: c\r\r")
    assert.same({ { data = "d" } }, p:feed "data: d\n\n")
  end)

  it("passes over one byte order mark in front, and only there", function()
    same({ { data = "a" } }, BOM .. "data: a\n\n")
    same({ { data = "b" } }, BOM .. BOM .. "data: a\n\ndata: b\n\n")
    same({ { data = "b" } }, "data: b\n" .. BOM .. "data: a\n\n")
    same({ { data = "b" } }, "\239\187data: a\ndata: b\n\n")
    same({ { data = "b" } }, "\239\rdata: b\n\n")
    same({ { data = "a" } }, BOM .. "\r\ndata: a\n\n")
  end)

  it("counts comments and gives none of them", function()
    local text = ": keep-alive\n\n:\n:x\ndata: a\n: in an event\n\n data: b\n"
    for _, size in ipairs { 1, 2, 3, 100 } do
      local got, p = events(text, size)
      assert.same({ { data = "a" } }, got)
      assert.equal(4, p:comments())
    end
    local p = sse.new {}
    assert.equal(0, p:comments())
    p:feed ": not yet"
    assert.equal(0, p:comments())
    p:feed "\r"
    assert.equal(1, p:comments())
    p:feed "\n"
    assert.equal(1, p:comments())
  end)

  it("drops one space behind the colon, and no other", function()
    same({ { data = " a" }, { data = "\ta" }, { data = "a " }, { data = "" }, { data = ":a" } },
      "data:  a\n\ndata:\ta\n\ndata: a \n\ndata: \n\ndata::a\n\n")
  end)

  it("ignores lines of other names, and names in other case", function()
    same({}, "dat: a\n\ndatas: a\n\nData: a\n\n data: a\n\ndata : a\n\nid2: 1\n\nx\n\n")
    same({ { data = "a" } }, "eventx: b\nids: 1\nretry2: 1\ndata: a\n\n")
  end)

  it("keeps the last id, and ignores one with NUL in it", function()
    same({ { data = "a", id = "1" }, { data = "b", id = "1" }, { data = "c" } },
      "id: 1\ndata: a\n\nid: x\0y\ndata: b\n\nid\ndata: c\n\n")
    same({ { data = "a", id = "7" } }, "id: 7\n\ndata: a\n\n")
    same({ { data = "a", id = "2" } }, "id: 1\nid: 2\ndata: a\n\n")
  end)

  it("gives the type of this event only; an empty one is none", function()
    same({ { data = "a", event = "x" }, { data = "b" }, { data = "c" }, { data = "d" } },
      "event: x\ndata: a\n\ndata: b\n\nevent: y\n\ndata: c\n\nevent: z\nevent\ndata: d\n\n")
  end)

  it("gives retry in seconds, once, with the next event", function()
    same({ { data = "a", retry = 1.5 }, { data = "b" } }, "retry: 1500\n\ndata: a\n\ndata: b\n\n")
    same({ { data = "a", retry = 0 } }, "retry: 0\ndata: a\n\n")
    same({ { data = "a", retry = 0.007 } }, "retry: " .. ("0"):rep(400) .. "7\ndata: a\n\n")
    same({ { data = "a", retry = 2 } }, "retry: 2000\nretry: soon\ndata: a\n\n")
  end)

  it("ignores a retry of other than digits or over ten years", function()
    for _, wrong in ipairs { "", " ", "x", "-1", "+1", "1.5", "1e3", "0x10", "5 ", "  5", "5\0",
      "315576000001", "18446744073709551621", ("9"):rep(400) } do
      assert.same({ { data = "a" } }, (events("retry: " .. wrong .. "\ndata: a\n\n")))
    end
    same({ { data = "a", retry = 315576000 } }, "retry: 315576000000\ndata: a\n\n")
  end)

  it("gives no event without data", function()
    same({}, "event: x\nid: 5\nretry: 3\n\n\n\n: c\n\n")
  end)

  it("passes bytes on as they are", function()
    local bytes = {}
    for byte = 0, 255 do
      if byte ~= 10 and byte ~= 13 then bytes[#bytes + 1] = string.char(byte) end
    end
    local all = table.concat(bytes) .. "\226\128\168\194\133\255\192\128"
    same({ { data = all, event = all } }, "data: " .. all .. "\nevent:" .. all .. "\n\n")
  end)

  it("counts what a torn end left, and gives 0 for a clean one", function()
    local function left(text)
      local n
      for _, size in ipairs { 1, 3, 1000 } do
        local _, p = events(text, size)
        local now = p:finish()
        assert.is_true(n == nil or n == now, ("%q in pieces of %d: %s"):format(text, size, now))
        n = now
      end
      return n
    end
    assert.equal(0, left "")
    assert.equal(0, left "data: a\n\n")
    assert.equal(0, left "data: a\n\n: bye")
    assert.equal(0, left "data: a\n\n: bye\n")
    assert.equal(0, left(BOM))
    assert.equal(0, left "data: a\r\r")
    assert.equal(7, left "data: a\n\ndata: b")
    assert.equal(7, left "data: a\n\ndata: b\n")
    assert.equal(12, left "data: a\r\nid: 5\r\n:xx")
    assert.equal(4, left "data")
    assert.equal(2, left "\239\187")
  end)

  it("takes nothing after finish, which may be called twice", function()
    local p = sse.new {}
    p:feed "data: a"
    assert.equal(7, p:finish())
    assert.equal(7, p:finish())
    local events_, message, code = p:feed "\n\n"
    assert.is_nil(events_)
    assert.equal("sse: it is closed", message)
    assert.equal("closed", code)
    assert.equal(7, p:finish())
    assert.equal(0, p:comments())
  end)

  it("gives its memory back at finish, on failure and when collected", function()
    collectgarbage()
    collectgarbage()
    local before = core.stats().blocks
    local p = sse.new { limit = 1000 }
    p:feed "data: a\ndata: b\nevent: c\nid: d\nda"
    assert.is_true(core.stats().blocks > before)
    p:finish()
    assert.equal(before, core.stats().blocks)
    p = sse.new { limit = 1000 }
    p:feed "data: a\ndata: b\nevent: c\nid: d\nda"
    assert.is_nil((p:feed(("x"):rep(2000))))
    assert.equal(before, core.stats().blocks)
    for _ = 1, 10 do sse.new {}:feed "data: a\nid" end
    p = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.equal(before, core.stats().blocks)
  end)

  it("copies nothing when an event lies within one chunk", function()
    collectgarbage()
    collectgarbage()
    local before, p = core.stats().blocks, sse.new {}
    core.fail_alloc(1)
    local got = p:feed(("event: x\ndata: abc\n\n: c\n\nid\ndata: d\n\n"):rep(100))
    core.fail_alloc(0)
    assert.equal(200, #got)
    assert.equal(before, core.stats().blocks)
  end)

  it("does not keep the memory of a very large event, but that of a common one", function()
    collectgarbage()
    collectgarbage()
    local before, p = core.stats().blocks, sse.new {}
    p:feed("data: " .. ("x"):rep(4e6))
    p:feed "\ndata: y\n\n"
    p:feed "\n"
    assert.equal(before, core.stats().blocks)
    p:feed(("x"):rep(4e6))
    p:feed "\n\n"
    p:feed "\n"
    assert.equal(before, core.stats().blocks)
    p:feed "data: x"
    p:feed "\ndata: y\n\n"
    local common = core.stats().blocks
    assert.is_true(common > before)
    for _ = 1, 100 do
      p:feed "data: x"
      p:feed "\ndata: y\n\n"
    end
    assert.is_true(core.stats().blocks <= common + 1)
  end)
end)

describe("sse limit", function()
  local function failed(p, ...)
    local got, message, code = p:feed(...)
    assert.is_nil(got)
    assert.equal("upstream", code)
    return message
  end

  it("lets an event hold just so much, and fails for good on one byte more", function()
    for _, size in ipairs { 1, 7, 1000 } do
      local text = "data: " .. ("x"):rep(100) .. "\n\n"
      assert.equal(1, #events(text, size, sse.new { limit = 100 }))
      local p, got = sse.new { limit = 99 }, nil
      for at = 1, #text, size do got = p:feed(text:sub(at, at + size - 1)) end
      assert.is_nil(got)
      assert.equal("sse: an event of more than 99 bytes", failed(p, "data: a\n\n"))
      failed(p, "")
      local n, message, code = p:finish()
      assert.is_nil(n)
      assert.matches("more than 99 bytes", message)
      assert.equal("upstream", code)
      assert.is_nil((p:finish()))
    end
  end)

  it("counts all of an event: its lines, the LF between them, its type and the id", function()
    assert.equal(1, #events("data: abc\ndata: def\n\n", nil, sse.new { limit = 7 }))
    failed(sse.new { limit = 6 }, "data: abc\ndata: def\n\n")
    assert.equal(1, #events("event:abc\ndata: def\n\n", nil, sse.new { limit = 6 }))
    failed(sse.new { limit = 5 }, "event:abc\ndata: def\n\n")
    assert.equal(1, #events("id:abc\ndata: def\n\n", nil, sse.new { limit = 6 }))
    failed(sse.new { limit = 5 }, "id:abc\ndata: def\n\n")
    failed(sse.new { limit = 5 }, ("data\n"):rep(7))
    failed(sse.new { limit = 100 }, "unknown: " .. ("x"):rep(100) .. "\n")
  end)

  it("starts anew with each event", function()
    local p = sse.new { limit = 10 }
    for _ = 1, 100 do
      assert.equal(1, #p:feed "data: 0123456789\n\n")
      assert.equal(0, #p:feed "event: abc\n\n")
    end
  end)

  it("does not limit comments, nor hold them", function()
    local p = sse.new { limit = 10 }
    core.fail_alloc(1)
    for _ = 1, 1000 do assert.same({}, p:feed ": keep-alive and so on") end
    assert.same({}, p:feed "\n")
    core.fail_alloc(0)
    assert.equal(1, p:comments())
    assert.equal(0, p:finish())
  end)

  it("gives the events before the failure first, the failure then", function()
    local p = sse.new { limit = 10 }
    assert.same({ { data = "a" }, { data = "b" } },
      p:feed("data: a\n\ndata: b\n\ndata: 01234567890\n\ndata: c\n\n"))
    failed(p, "data: d\n\n")
    assert.is_nil((sse.new { limit = 10 }:feed "data: 01234567890"))
  end)

  it("bounds what is held of a line without end", function()
    local p, fed = sse.new { limit = 100000 }, 0
    repeat
      local got = p:feed(("x"):rep(1000))
      fed = fed + 1000
    until not got
    assert.equal(101000, fed)
  end)
end)

describe("sse memory", function()
  local pieces = { "data: a\ndata: b\neve", "nt: x\nid", ": 5\nda", "ta\ndata: c\r", "\n\r", "\n" }

  it("fails for good wherever an allocation fails, and never half", function()
    local whole = { { data = "a\nb\n\nc", event = "x", id = "5" } }
    local failures = 0
    for n = 1, 100 do
      local p, out, message, code = sse.new {}, {}, nil, nil
      core.fail_alloc(n)
      for _, piece in ipairs(pieces) do
        local got
        got, message, code = p:feed(piece)
        if not got then break end
        for _, event in ipairs(got) do out[#out + 1] = event end
      end
      core.fail_alloc(0)
      if not code then
        assert.same(whole, out)
        break
      end
      failures = failures + 1
      assert.same({}, out)
      assert.equal("sse: not enough memory", message)
      assert.equal("nomem", code)
      assert.equal("nomem", select(3, p:feed "data: d\n\n"))
      assert.equal("nomem", select(3, p:finish()))
    end
    assert.is_true(failures >= 4 and failures < 100, failures)
  end)

  it("gives the events before the failure first", function()
    local p = sse.new {}
    core.fail_alloc(1)
    local got = p:feed "data: a\n\ndata: b\nda"
    core.fail_alloc(0)
    assert.same({ { data = "a" } }, got)
    assert.equal("nomem", select(3, p:feed ""))
  end)
end)

describe("sse at length", function()
  it("takes an event of 10,000 chunks of a byte", function()
    local data = ("0123456789"):rep(1000)
    local got = events("data: " .. data .. "\n\n", 1)
    assert.equal(1, #got)
    assert.is_true(got[1].data == data)
  end)

  it("takes an event of 64 MiB by default, and not a byte more", function()
    local piece = ("0123456789abcdef"):rep(2 ^ 16)
    local p = sse.new {}
    assert.same({}, p:feed "data: ")
    for _ = 1, 64 do assert.same({}, p:feed(piece)) end
    local got = p:feed "\n\n"
    assert.equal(64 * 2 ^ 20, #got[1].data)
    assert.equal(piece, got[1].data:sub(-#piece))
    got = nil -- luacheck: ignore
    assert.same({}, p:feed "data: x")
    for _ = 1, 63 do assert.same({}, p:feed(piece)) end
    assert.equal("upstream", select(3, p:feed(piece)))
  end)

  it("takes a million short lines of any ending in few chunks", function()
    for _, ending in ipairs { "\n", "\r", "\r\n" } do
      local text = ("data:x" .. ending):rep(250000)
      local got = events(text .. text .. ending, #text)
      assert.equal(999999, #got[1].data)
    end
  end)

  it("agrees with a naive model on random streams cut at random", function()
    local words = { "data", "data:", "data: ", "data: x", "event: ", "id:", "id: 7", "retry: ",
      "12", ":", " ", "\n", "\n", "\n\n", "\n\n", "\r", "\r\n", "\r\n\r\n", "\0", "é", BOM, "\239",
      "\239\187", "long, longer, longest", "data: {\"choices\":[]}\n\n", ": keep-alive\n\n" }
    math.randomseed(20240607)
    local steps, failures, found = 0, 0, 0
    while steps < 20000 do
      local list = {}
      for i = 1, math.random(0, 40) do list[i] = words[math.random(#words)] end
      local text = table.concat(list)
      local limit = math.random() < 0.3 and math.random(1, 40) or 1e6
      local expected, comments, torn = model(text, limit)
      local p, out, at, code = sse.new { limit = limit }, {}, 1, nil
      while at <= #text and not code do
        local size = math.random() < 0.5 and math.random(0, 3) or math.random(0, 60)
        local got, _, word = p:feed(text:sub(at, at + size - 1))
        for _, event in ipairs(got or {}) do out[#out + 1] = event end
        at, code, steps = at + size, word, steps + 1
      end
      local ok, why = pcall(assert.same, expected, out)
      assert.is_true(ok, ("%q limit %d: %s"):format(text, limit, tostring(why)))
      found = found + #out
      assert.equal(torn, (p:finish()))
      if torn then
        assert.equal(comments, p:comments())
      else
        failures = failures + 1
        assert.equal("upstream", select(3, p:finish()))
      end
    end
    assert.is_true(failures > 50 and found > 1000, failures .. " " .. found)
  end)
end)

describe("sse of providers", function()
  it("gives a stream of OpenAI's kind, [DONE] and all", function()
    local first = '{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'
    local second = '{"choices":[{"index":0,"delta":{"content":"天气\\n好"}}]}'
    same({ { data = first }, { data = second }, { data = "[DONE]" } },
      "data: " .. first .. "\n\ndata: " .. second .. "\n\ndata: [DONE]\n\n")
  end)

  it("tells keep-alives of a queue from the answer that follows", function()
    local p = sse.new {}
    for i = 1, 50 do
      assert.same({}, p:feed ": keep-alive\n\n")
      assert.equal(i, p:comments())
    end
    assert.same({ { data = "{}" } }, p:feed "data: {}\n\n")
    assert.equal(50, p:comments())
    assert.equal(0, p:finish())
  end)

  it("gives a stream of Anthropic's kind, with types", function()
    local text = 'event: message_start\ndata: {"type":"message_start"}\n\n' ..
      'event: ping\ndata: {"type": "ping"}\n\n' ..
      'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'
    same({ { event = "message_start", data = '{"type":"message_start"}' },
      { event = "ping", data = '{"type": "ping"}' },
      { event = "error", data = '{"type":"error","error":{"type":"overloaded_error"}}' } }, text)
    same((events(text)), (text:gsub("\n", "\r\n")))
  end)

  it("shows that a [DONE] without its blank line was torn", function()
    local got, p = events "data: {}\n\ndata: [DONE]\n"
    assert.same({ { data = "{}" } }, got)
    assert.equal(#"data: [DONE]", p:finish())
  end)

  it("keeps two streams apart", function()
    local p, q = sse.new {}, sse.new {}
    p:feed "id: 1\ndata: p"
    q:feed "event: x\ndata: q"
    assert.same({ { data = "p", id = "1" } }, p:feed "\n\n")
    assert.same({ { data = "q", event = "x" } }, q:feed "\n\n")
  end)
end)

describe("sse use", function()
  local function message(f, ...)
    local ok, text = pcall(f, ...)
    assert.is_false(ok)
    return text
  end

  it("raises on wrong options, at the caller's line", function()
    assert.matches("sse: a table of options expected, got 5", message(sse.new, 5))
    assert.matches("unknown option 'limits', did you mean 'limit'%?",
      message(sse.new, { limits = 1 }))
    for _, wrong in ipairs { 0, -1, 1.5, 2 ^ 30 + 1, math.huge, 0 / 0, "64", false } do
      assert.matches("sse: limit: ", message(sse.new, { limit = wrong }))
    end
    local wrong_line = message(function() sse.new { lim = 1 } end)
    assert.matches("sse_spec%.lua:%d+: sse: unknown option", wrong_line)
    assert.is_table(sse.new():feed "")
    assert.is_table(sse.new { limit = 2 ^ 30 }:feed "")
  end)

  it("raises when anything but a string is fed, and goes on after that", function()
    local p = sse.new {}
    p:feed "data: "
    for _, wrong in ipairs { 5, true, {}, print } do
      assert.matches("string expected", message(p.feed, p, wrong))
    end
    assert.matches("string expected", message(p.feed, p))
    assert.has_error(function() p.feed({}, "x") end)
    assert.has_error(function() p.feed(io.stdout, "x") end)
    assert.has_error(function() p.comments() end)
    assert.has_error(function() p.finish(nil) end)
    assert.same({ { data = "a" } }, p:feed "a\n\n")
  end)

  it("hides its metatable", function()
    assert.is_false(getmetatable(sse.new {}))
  end)
end)
