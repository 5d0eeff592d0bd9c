local random = require "spec.support.random"
local sse = require "unbusy.sse"

-- The model: WHATWG HTML, "9.2.5 Parsing an event stream" and "9.2.6 Interpreting an event stream",
-- over the whole text at once; and our own bounds. Gives what a parser must have given in the end.
local function interpret(text, limit)
  local out = { events = {}, comments = 0, torn = 0 }
  local data, kind, id, retry = nil, "", "", nil

  local function size() return #(data or "") + #kind + #id end

  local function dispatch()
    if data then
      out.events[#out.events + 1] = { data = data, event = kind ~= "" and kind or nil,
        id = id ~= "" and id or nil, retry = retry }
      retry = nil
    end
    data, kind, out.torn = nil, "", 0
  end

  local fields = {}
  function fields.data(value) data = data and data .. "\n" .. value or value end
  function fields.event(value) kind = value end
  function fields.id(value)
    if not value:find("\0", 1, true) then id = value end
  end
  function fields.retry(value)
    local ms = value:find "^[0-9]+$" and tonumber(value)
    if ms and ms <= 315576000000 then retry = ms / 1000 end -- ten years
  end

  local function field(line)
    local colon = line:find(":", 1, true)
    local name = colon and line:sub(1, colon - 1) or line
    local value = colon and line:sub(colon + 1):gsub("^ ", "") or ""
    if fields[name] then fields[name](value) end
  end

  -- A line, or with `open` what there is of the last one. False: it is too much.
  local function take(line, open)
    if line:sub(1, 1) == ":" then
      out.comments = out.comments + (open and 0 or 1)
      return true
    elseif line == "" then
      if not open then dispatch() end
      return true
    end
    out.torn = out.torn + #line
    if #line > 6 and #line - 6 > limit - size() then return false end
    if not open then field(line) end
    return size() <= limit
  end

  text = text:gsub("^\239\187\191", ""):gsub("\r\n", "\n"):gsub("\r", "\n")
  for line in text:gmatch "([^\n]*)\n" do
    if not take(line) then
      out.failed = true
      return out
    end
  end
  out.failed = not take(text:match "[^\n]*$", true)
  return out
end

-- What a parser gives when the text comes in these chunks.
local function parse(chunks, limit)
  local p = sse.new { limit = limit }
  local out = { events = {}, failed = false }
  for _, chunk in ipairs(chunks) do
    local events, _, code = p:feed(chunk)
    if not events then
      assert(code == "upstream", code)
      out.failed = true
    else
      assert(not out.failed, "a failure is for good")
      for _, event in ipairs(events) do out.events[#out.events + 1] = event end
    end
  end
  local torn, _, code = p:finish()
  if not torn then
    assert(code == "upstream", code)
    out.failed = true
  end
  out.torn, out.comments = torn, p:comments()
  return out
end

describe("an event stream's parser and its naive model", function()
  local ends = { "\n", "\r", "\r\n" }
  local fields = { "data", "data", "data", "data", "event", "id", "retry", "dat", "datas", "Data",
    "events", "id ", "", "x" }
  local separators = { ": ", ": ", ":", "", " : ", ":  ", "::" }
  local values = { "", "a", "{\"a\":1}", "[DONE]", "message", " b ", "1", "42", "007", "-1", "1.5",
    "12a", "315576000000", "315576000001", ("9"):rep(400), "x\0y", "\0", "\239\187\191", "é", "天气",
    "\255\254", "\192\128", "\237\160\128", "\194\133", "\226\128\168", "\11", "\t", ":",
    "data: x" }

  local function value(r)
    if r:chance(0.05) then return ("long "):rep(r:int(60)) end
    if r:chance(0.1) then
      local bytes = {}
      for i = 1, r:int(12) do bytes[i] = string.char(r:int(256) - 1) end
      return table.concat(bytes)
    end
    return r:pick(values)
  end

  local function line(r)
    local kind = r:int(20)
    if kind <= 6 then return "" end
    if kind <= 12 then return "data: " .. value(r) end
    if kind <= 14 then return r:pick { "event: ", "id: ", "retry:" } .. value(r) end
    if kind == 15 then return ":" .. value(r) end
    if kind == 16 then return value(r) end
    return r:pick(fields) .. r:pick(separators) .. value(r)
  end

  local function text(r)
    local mark = "\239\187\191"
    local out = { r:pick { "", "", "", mark, mark:sub(1, 2), mark .. mark } }
    local own, mixed = r:pick(ends), r:chance(0.3)
    for _ = 1, r:int(30) do
      out[#out + 1] = line(r)
      out[#out + 1] = mixed and r:pick(ends) or own
    end
    local whole = table.concat(out)
    return r:chance(0.6) and whole or whole:sub(1, r:int(#whole))
  end

  -- Cut anywhere; at times into single bytes, and with chunks of nothing between.
  local function cut(r, whole)
    local chunks, at, most = {}, 1, r:pick { 1, 3, 20, 20, 100, 100 }
    while at <= #whole do
      local length = r:int(most + 1) - 1
      chunks[#chunks + 1] = whole:sub(at, at + length - 1)
      at = at + length
    end
    return chunks
  end

  local function same(got, expected, how)
    assert(got.failed == expected.failed, how .. ": failed " .. tostring(got.failed))
    assert(#got.events == #expected.events, ("%s: %d events, expected %d"):format(how, #got.events,
      #expected.events))
    for i, event in ipairs(expected.events) do
      for _, name in ipairs { "data", "event", "id", "retry" } do
        if got.events[i][name] ~= event[name] then
          error(("%s: event %d: %s is %q, expected %q"):format(how, i, name,
            tostring(got.events[i][name]), tostring(event[name])))
        end
      end
    end
    assert(got.comments == expected.comments, ("%s: %d comments, expected %d"):format(how,
      got.comments, expected.comments))
    if not expected.failed then
      assert(got.torn == expected.torn, ("%s: %d bytes torn, expected %d"):format(how, got.torn,
        expected.torn))
    end
  end

  it("agree on streams of 100,000 chunks and more, cut anywhere", function()
    local r = random.new(random.seed(1))
    local seen = { chunks = 0, events = 0, failed = 0, torn = 0 }
    random.walk(r, 3000, function()
      local whole = text(r)
      local limit = r:chance(0.7) and 2 ^ 20 or r:int(60)
      local chunks = cut(r, whole)
      local expected = interpret(whole, limit)
      local ok, message = pcall(function()
        same(parse({ whole }, limit), expected, "whole")
        same(parse(chunks, limit), expected, "cut")
      end)
      if not ok then error(("%s; limit %d, %q"):format(tostring(message), limit, whole), 0) end
      seen.chunks, seen.events = seen.chunks + #chunks + 1, seen.events + #expected.events
      if expected.failed then seen.failed = seen.failed + 1 end
      if expected.torn > 0 then seen.torn = seen.torn + 1 end
    end)
    assert.is_true(seen.chunks > 100000 and seen.events > 4000, seen.chunks .. " " .. seen.events)
    assert.is_true(seen.failed > 100 and seen.torn > 1000, seen.failed .. " " .. seen.torn)
  end)
end)
