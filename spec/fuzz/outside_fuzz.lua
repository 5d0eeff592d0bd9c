--- Any text where the gateway, the client and the tools read what somebody outside has written in a
--- small language of its own: "READER\n", and the text. It is read or refused, never raised for,
--- and what comes of it keeps to what is promised.
local accept = require "unbusy.gateway.accept"
local access_log = require "unbusy.simulate.access_log"
local cache_control = require "unbusy.gateway.cache_control"
local contract = require "spec.fuzz.contract"
local exposition = require "unbusy.diagnose.exposition"
local headers = require "unbusy.headers"
local json_fields = require "unbusy.json_fields"
local keys = require "unbusy.gateway.keys"
local language = require "unbusy.fallback.language"
local passing = require "unbusy.passing"
local rate_headers = require "unbusy.rate_headers"
local terminal = require "unbusy.cli.terminal"
local trace = require "unbusy.trace"

local target = {}

target.words = { "header\n", "cache\n", "language\n", "accept\n", "key\n", "trace\n", "path\n",
  "rates\n", "metrics\n", "log\n", "terminal\n", "fields\n", "max-age=", "no-store",
  "only-if-cached",
  "stale-if-error=", "max-stale", "en;q=0.5", "zh-CN", "*;q=0", "q=1.000", "Bearer ", "sk-known",
  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "connection: ", "x-a: ", "\r\n", "\r",
  "\0", "\27[2J", "\194\155", "\255", "%2e%2e", "%2F", "..;", "//", "\\", "?", "#", ";", ",", "=",
  '"', "limit=1", ";r=0", ";t=30", ";w=60", '{a="b"} 1', "NaN", "+Inf", "# TYPE a counter\n",
  "text/plain;version=0.0.4", "application/openmetrics-text", "transfer-encoding: chunked",
  '{"time":"2026-11-30T06:00:00+00:00","status":200,"seconds":1}', '"model"', "1e309", "-1" }

local known = keys.new { { key = "sk-known", name = "one" } }

-- {== What each has to keep to ============================================

local readers = {}

-- No line becomes two, and none that belongs to the connection goes on.
function readers.header(text)
  local lines = {}
  for line in text:gmatch "[^\1]+" do lines[#lines + 1] = line end
  local list, message = headers.of_request(lines)
  if not list then
    contract.line(message)
    return "refused"
  end
  for _, h in ipairs(list) do
    assert(not h.line:find "[%z\1-\8\10-\31\127]", "a header line that goes on")
    assert(h.name == h.name:lower() and h.name:find "^[^:%s]+$")
    assert(h.name ~= "transfer-encoding" and h.name ~= "content-length" and h.name ~= "host"
      and h.name ~= "authorization" and h.name ~= "connection" and h.name ~= "cookie")
    assert(h.value == "" or not h.value:find "^[ \t]" and not h.value:find "[ \t]$")
  end
  return #list .. tostring(list.traceparent ~= nil)
end

local function is_amount(n, most)
  return n == nil or type(n) == "number" and n >= 0 and n <= most
end

function readers.cache(text)
  local given = {}
  cache_control.add(given, text)
  assert(is_amount(given.max_age, 1e9) and (type(given.stale) ~= "number" or given.stale <= 1e9))
  assert(given.max_stale == nil or given.max_stale == true or is_amount(given.max_stale, 1e9))
  assert(given.cache == nil or given.cache == false or given.cache == "refresh")
  return contract.kind(given)
end

function readers.language(text)
  local tags = language.accepted(text)
  for _, tag in ipairs(tags or {}) do assert(language.is_tag(tag), "no tag: " .. tag) end
  return tags and #tags or "none"
end

function readers.accept(text)
  local list = accept.list(text)
  assert(accept.weight(list, { ["text/plain"] = true }) >= 0)
  return contract.kind(list)
end

-- Whoever is let in has sent that key, and nothing else.
function readers.key(text)
  local other = text:match "^%C*"
  local key, message = known:of { authorization = text, ["api-key"] = other }
  if key then
    assert(text:match "sk%-known%s*$" or other:match "^%s*sk%-known%s*$", "let in with another key")
  end
  if not key then contract.line(message) end
  return key and "in" or message
end

function readers.trace(text)
  local t = trace.parse(text)
  if not t then return "none" end
  assert(#t.id == 32 and not t.id:find "[^%x]" and not t.id:find "^0*$")
  local line = trace.lines({ id = t.id, flags = t.flags, spans = {} }, 1)
  assert(line:find "^traceparent: 00%-%x+%-%x+%-0[0-3]$", line)
  return t.flags
end

-- What is let through stays below the target's URL, however a server reads it.
function readers.path(text)
  local fault = passing.path_fault(text)
  if fault then
    contract.line(fault)
    return fault
  end
  assert(text:find "^/[^/]" or text == "/")
  assert(not text:find "[%c%s\\#\127-\255]")
  local plain = text:match("^[^?]*"):gsub("%%(%x%x)", function(h)
    return string.char(tonumber(h, 16))
  end)
  for segment in plain:gmatch "[^/]+" do
    local name = segment:match "^[^;]*"
    assert(name ~= "." and name ~= "..", "a path that leads up: " .. text)
  end
  return "fine" .. (text:find "?" and "?" or "")
end

function readers.rates(text)
  local names = { "ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining",
    "ratelimit-reset", "x-ratelimit-limit-requests", "x-ratelimit-reset-tokens" }
  local given, i = {}, 0
  for value in (text .. "\n"):gmatch "([^\n]*)\n" do
    i = i + 1
    if names[i] then given[names[i]] = value end
  end
  rate_headers.has(given)
  local out = {}
  for _, rate in ipairs { rate_headers.read(given) } do
    for _, name in ipairs { "limit", "left", "reset" } do
      assert(is_amount(rate[name], math.huge) and rate[name] ~= math.huge, name)
    end
    out[#out + 1] = contract.kind(rate)
  end
  return table.concat(out)
end

function readers.metrics(text)
  local families, message = exposition.read(text)
  if not families then
    contract.line(message)
    return (message:gsub("%d+", "0"))
  end
  for name, list in pairs(families) do
    for _, series in ipairs(list) do
      assert(series.name == name and type(series.value) == "number")
    end
  end
  return contract.kind(families, 1)
end

function readers.log(text)
  local call, message = access_log.call_of(text)
  if call then
    assert(call.seconds >= 0 and call.queued >= 0 and call.queued <= call.seconds)
    return contract.kind(call)
  end
  if message then contract.line(message) end
  return message and "refused" or "no call"
end

function readers.terminal(text)
  local shown = terminal.clean(text)
  assert(not shown:find "[%z\1-\8\11-\31\127]" and not shown:find "\194[\128-\159]")
  return shown == text and "same" or "cleaned"
end

-- A body that says each name once is one that every reader of JSON reads alike.
function readers.fields(text)
  local once = json_fields.once(text, { "model", "messages" })
  return tostring(once == nil and "none" or once)
end

-- }========================================================================

function target.check(input)
  local name, text = input:match "^(%l+)\n(.*)$"
  local read = readers[name]
  if not read then return "none" end
  return name .. tostring(read(text))
end

return target
