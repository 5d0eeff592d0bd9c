-- A gateway of four workers with everything against it at once: upstreams that fail in every way
-- they know, clients that leave, dawdle and talk nonsense, a thousand connections at the same time;
-- then reloads; then workers that are killed. Every answer is the caller's own, or a plain failure,
-- and afterwards nothing is held.
--
-- Not part of the quick suites: busted --pattern=_soak spec. UNBUSY_SOAK=0.1: a tenth of the time.
local busyd = require "spec.support.busyd"
local cqueues = require "cqueues"
local gateways = require "spec.support.gateways"
local json = require "unbusy.json"

local SECONDS = math.max(6, 60 * (tonumber(os.getenv "UNBUSY_SOAK") or 1)) -- of each part
local CROWD = 1000
local seed = tonumber(os.getenv "UNBUSY_SEED") or os.time()

local CONFIG = [[return {
  targets = { { name = "a", url = "${a}/v1" }, { name = "b", url = "${b}/v1" } },
  retry = { attempts = 3, base = 0.01, cap = 0.1 }, breaker = { open_for = 0.2 },
  clocks = { start = 2, token = 2, total = 20 }, queue = { max_wait = 10 },
  gateway = { keys = { { key = "sk-client", name = "client" } }, ping = 1 },${more}
}]]

-- All workers' breakers, limits and budget in one place: what a killed one held comes back.
local SHARED = " region = { bytes = 16 * 1024 * 1024 },"

local SERVER = [[
  reset_timedout_connection on;
  location = /__state {
    access_log off;
    content_by_lua_block {
      local status = gateway.client:status()
      local held = status.active + status.waiting + require("unbusy.core").stats().transfers
      for _, target in ipairs(status.targets) do
        for _, limit in pairs(target.limits) do held = held + limit.in_flight end
      end
      ngx.print(ngx.worker.pid(), " ", held + (status.budget and status.budget.permits or 0))
    }
  }
]]

-- What one request in three meets; of some of these there comes a good answer.
local function faults()
  local list = {}
  for _, spec in ipairs {
    { preset = "busy_503" }, { preset = "server_500" }, { preset = "reset" }, { preset = "close" },
    { preset = "garbage" }, { preset = "cut_headers" }, { preset = "cut_stream" },
    { preset = "reset_stream" }, { preset = "cut_body" }, { preset = "malformed_json" },
    { preset = "error_in_stream" }, { preset = "event_error" }, { preset = "no_finish" },
    { preset = "empty_200" }, { preset = "overloaded_body" }, { preset = "cloudflare_520" },
    { preset = "endless_header", bytes = 1000000 }, { preset = "endless_line", bytes = 4000000 },
    { preset = "deep_json" }, { preset = "gzip" }, { preset = "split_event" },
    { preset = "crlf_stream", ends = "mixed" }, { preset = "keepalive_comments", seconds = 0.5 },
    { preset = "stall_stream", seconds = 5 }, { preset = "stall_headers", seconds = 5 },
    { preset = "rate_limited", retry_after_ms = "50" },
  } do
    list[#list + 1] = { share = 0.013, answer = spec }
  end
  return list
end

describe(("a gateway in trouble (seed %d)"):format(seed), function()
  local a, b, g, seen, limit, may_break

  local function count(what)
    seen[what] = (seen[what] or 0) + 1
  end

  -- {== Clients ===========================================================

  local number = 0

  local function question(stream)
    number = number + 1
    local text = ("question %d"):format(number)
    return ('{"model":"m","stream":%s,"messages":[{"role":"user","content":"%s"}]}')
      :format(tostring(stream), text), "echo: " .. text
  end

  local function send(s, body, close)
    s:write(("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-client\r\n"
      .. "connection: %s\r\ncontent-length: %d\r\n\r\n%s"):format(close and "close" or "keep-alive",
      #body, body))
    return s:flush()
  end

  local function connect()
    local ok, s = pcall(g.connect, g, 60)
    if ok then return s end
    count "not connected"
  end

  -- The status and the header's fields; nil where nothing comes.
  local function head(s)
    local line = s:read "*l"
    local status = line and tonumber(line:match "^HTTP/1.1 (%d+)")
    if not status then return nil end
    local fields = {}
    for field in function() return s:read "*l" end do
      local name, value = field:match "^([^:]+): ?(.-)\r?$"
      if not name then break end
      fields[name:lower()] = value
    end
    return status, fields
  end

  -- The parts of a body, one by one, and "end" after the last; nil where it breaks off.
  local function parts(s, fields)
    local length, is_over = tonumber(fields["content-length"]), false
    return function()
      if is_over then return "end" end
      if length then
        is_over = true
        return length == 0 and "" or s:read(length)
      end
      local line = s:read "*l"
      local size = line and tonumber(line:match "^%x+" or "", 16)
      local part = size and (size == 0 and "" or s:read(size))
      if not part or not s:read "*l" then return nil end
      is_over = size == 0
      return part
    end
  end

  local function body_of(s, fields, look)
    local out = {}
    for part in parts(s, fields) do
      if part == "end" then return table.concat(out) end
      out[#out + 1] = part
      if look then look(#out) end
    end
  end

  local function assert_failure(status, text)
    local ok, e = pcall(json.decode, text)
    assert(ok and e and e.error and e.error.message and e.error.type, "no error: " .. text)
    assert(status ~= 500, "500: " .. text)
    count("failed: " .. tostring(e.error.code))
  end

  local function said(events)
    local out, failure, is_done = {}, nil, false
    for data in events:gmatch "data: ([^\n]*)\n\n" do
      assert(not is_done and not failure, "an event behind the last: " .. events)
      if data == "[DONE]" then is_done = true
      else
        local event = assert(json.decode(data))
        failure = event.error
        local choice = event.choices and event.choices[1]
        out[#out + 1] = choice and type(choice.delta.content) == "string"
          and choice.delta.content or nil
      end
    end
    return table.concat(out), failure, is_done
  end

  local function assert_stream(events, expected)
    local text, failure, is_done = said(events)
    assert(is_done or failure, "neither end nor failure: " .. events)
    if failure then
      assert(expected:sub(1, #text) == text, ("not its own: %q for %q"):format(text, expected))
      return count("broken: " .. tostring(failure.code))
    end
    assert(text == expected, ("not its own: %q for %q"):format(text, expected))
    count "good"
  end

  -- One request and its answer; true where the connection can be used again.
  local function exchange(s, stream, close, look)
    local body, expected = question(stream)
    local sent = send(s, body, close)
    local status, fields = head(s)
    if not status then
      if may_break or not close then return count(sent and "no answer" or "closed before") end
      error "a connection without an answer"
    end
    local text = body_of(s, fields, look)
    if not text then
      if may_break then return count "cut off" end
      error "an answer that breaks off"
    end
    if status ~= 200 then assert_failure(status, text)
    elseif stream then assert_stream(text, expected)
    else
      local whole = assert(json.decode(text))
      assert(whole.choices[1].message.content == expected, "not its own: " .. text)
      count "good"
    end
    return not close and fields.connection ~= "close"
  end

  -- Requests one after the other, on kept connections or on new ones.
  local function faithful(stream, close)
    local s
    while cqueues.monotime() < limit do
      s = s or connect()
      if not s then return end
      if not exchange(s, stream, close) then
        s:close()
        s = nil
      end
    end
    if s then s:close() end
  end

  local function dawdler()
    while cqueues.monotime() < limit do
      local s = connect()
      exchange(s, true, true, function() cqueues.sleep(0.05) end)
      s:close()
    end
  end

  local function leaver()
    while cqueues.monotime() < limit do
      local s = connect()
      send(s, (question(math.random() < 0.5)), false)
      cqueues.sleep(math.random() * 0.1)
      if math.random() < 0.5 then s:read(math.random(300)) end
      s:close()
      count "left"
    end
  end

  local nonsense = { "\r\n\r\n", "GET / HTTP/9\r\n\r\n", ("x"):rep(70000),
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{",
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-client\r\n"
      .. "content-length: 3\r\n\r\n{]}\0\0\0" }

  local function babbler()
    while cqueues.monotime() < limit do
      local s = connect()
      s:write(nonsense[math.random(#nonsense)])
      s:flush()
      cqueues.sleep(math.random() * 0.05)
      s:close()
      count "babbled"
    end
  end

  -- A thousand at the same moment, each with a connection of its own.
  local function crowds(loop)
    while cqueues.monotime() < limit do
      cqueues.sleep(SECONDS / 4)
      for i = 1, CROWD do
        loop:wrap(function()
          local s = connect()
          if not s then return end
          exchange(s, i % 2 == 0, true)
          s:close()
        end)
      end
    end
  end

  -- }======================================================================

  local function signal(name, pid)
    os.execute(("kill -%s %s 2>/dev/null"):format(name, pid))
  end

  local function workers()
    local pipe, out = io.popen("pgrep -P " .. g.server.pid), {}
    for pid in pipe:lines() do out[#out + 1] = pid end
    pipe:close()
    return out
  end

  -- So long, with an actor that does harm every now and then.
  local function part(every, harm)
    limit = cqueues.monotime() + SECONDS
    local loop = cqueues.new()
    for i = 1, 24 do loop:wrap(function() faithful(i % 2 == 0, i % 4 < 2) end) end
    for _ = 1, 6 do
      loop:wrap(dawdler)
      loop:wrap(leaver)
      loop:wrap(babbler)
    end
    loop:wrap(crowds, loop)
    if harm then
      loop:wrap(function()
        while cqueues.monotime() < limit do
          cqueues.sleep(every)
          harm()
        end
      end)
    end
    assert(loop:loop())
  end

  -- What each worker holds, until all four hold nothing.
  local function settle()
    local held
    local ok = pcall(gateways.eventually, function()
      local pids, n = {}, 0
      held = {}
      for _, pid in ipairs(workers()) do pids[pid] = true end
      for _ = 1, 40 do
        local pid, amount = (g:ask("/__state") or { body = "" }).body:match "^(%d+) (%d+)$"
        if pids[pid] and not held[pid] then held[pid], n = amount, n + 1 end
      end
      for _, amount in pairs(held) do if amount ~= "0" then return false end end
      return n == 4
    end)
    assert.is_true(ok, json.encode(held))
  end

  local function assert_good_again()
    settle()
    for _, up in ipairs { a, b } do up:programme {} end
    gateways.eventually(function()
      local body = question(false)
      return g:ask("/v1/chat/completions", { body = body,
        headers = { "authorization: Bearer sk-client" } }).status == 200
    end)
    seen, may_break = {}, false
    limit = cqueues.monotime() + 2
    local loop = cqueues.new()
    for i = 1, 20 do loop:wrap(function() faithful(i % 2 == 0, true) end) end
    assert(loop:loop())
    for what, n in pairs(seen) do assert.equal("good", what, n) end
    settle()
    for _, up in ipairs { a, b } do
      local counts = up:counts()
      assert.same({ 0, 0 }, { counts.in_service, counts.queued })
    end
  end

  local function assert_log()
    for line in io.lines(g.dir .. "/access.log") do
      if line ~= "" then assert.is_table(json.decode(line), line) end -- "": no request of ours
    end
    for line in io.lines(g.dir .. "/error.log") do
      assert.falsy((line:find "%[error%]" or line:find "%[crit%]" or line:find "%[emerg%]"
        or line:find "%[alert%]") and not line:find "client sent invalid"
        and not line:find "exited on signal 9", line)
    end
  end

  local function tell(what)
    local names = {}
    for name, n in pairs(seen) do names[#names + 1] = ("%s %d"):format(name, n) end
    table.sort(names)
    print(("\n%s: %s"):format(what, table.concat(names, ", ")))
  end

  local function start(more)
    g = gateways.start { workers = 4, config = CONFIG, server = SERVER,
      values = { a = a.url, b = b.url, more = more } }
  end

  setup(function()
    math.randomseed(seed)
    a = busyd.start { workers = 1 }
    b = busyd.start { workers = 1 }
    start ""
  end)

  teardown(function()
    for _, one in ipairs { g, a, b } do one:stop() end
  end)

  before_each(function()
    seen, may_break = {}, false
    for i, up in ipairs { a, b } do
      up:programme { faults = faults(), seed = seed % 1000 + i, capacity = 100, queue = 50,
        latency = { kind = "exponential", mean = 0.02 }, token_interval = 0.005, reset = true }
    end
  end)

  it("answers everybody who can be answered", function()
    part()
    tell "trouble"
    assert.is_true(seen.good > 100)
    assert_good_again()
    assert_log()
  end)

  it("goes on while it is reloaded", function()
    part(SECONDS / 8, function() signal("HUP", g.server.pid) end)
    tell "reloads"
    assert.is_true(seen.good > 100)
    assert_good_again()
    assert_log()
  end)

  local function survives_kills()
    may_break = true
    part(SECONDS / 20, function()
      local list = workers()
      if #list > 0 then signal("KILL", list[math.random(#list)]) end
    end)
    tell "killed"
    assert.is_true(seen.good > 100)
    assert_good_again()
    assert_log()
  end

  it("goes on when its workers are killed", survives_kills)

  it("goes on when workers are killed that share one memory", function()
    g:stop()
    start(SHARED)
    survives_kills()
  end)
end)
