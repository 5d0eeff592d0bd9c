-- The two tables of what happens when, row by row, over real HTTP against busyd: what the
-- server saw, what was told to the limiter and the breaker, and what the caller got.
local busyd = require "spec.support.busyd"
local guard = require "spec.support.leak_guard"
local situations = require "spec.support.situations"
local tables = require "spec.support.readme"
local unbusy = require "unbusy"
local wire = require "unbusy.loops.wire"

local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

-- {== Reading a row =======================================================

local function value_of(text)
  if text == "true" or text == "false" then return text == "true" end
  return tonumber(text) or text
end

-- The code spans of a cell: answer specs (a preset and its fields), and settings of the target
-- ("limits.body=1"), the client ("clocks.start=1") and the call ("call.deadline=1").
local function plays_of(cell)
  local plays, settings = {}, {}
  for span in cell:gmatch "`([^`]+)`" do
    local name = span:match "^[%w_]+"
    if span:find "^[%w_.]+=" then
      local path, value = span:match "^([%w_.]+)=(.*)$"
      settings[path] = value_of(value)
    else
      local play = { preset = name }
      for key, value in span:gmatch "([%w_]+)=(%S+)" do play[key] = value_of(value) end
      plays[#plays + 1] = play
    end
  end
  return plays, settings
end

-- The clocks among the settings, by the text before their names.
local function clocks_of(settings, prefix)
  local clocks
  for path, value in pairs(settings) do
    local name = path:match("^" .. prefix .. "clocks%.(.*)$")
    if name then
      clocks = clocks or {}
      clocks[name] = value
    end
  end
  return clocks
end

local function call_options(settings)
  return { deadline = settings["call.deadline"], clocks = clocks_of(settings, "call%.") }
end

-- }========================================================================

-- {== Running it ==========================================================

local bad, good -- upstreams
local urls = {  -- words that stand for a server that cannot be reached
  refused = function() return "http://127.0.0.1:9" end,
  unknown_host = function() return "http://no-such-host.invalid" end,
  untrusted = function() return bad.tls_url end,
  not_tls = function() return (bad.url:gsub("^http:", "https:")) end,
}

local function new_client(play, settings, targets)
  local list = { { name = "one", key = "key-1", proxy = false,
    url = urls[play.preset] and urls[play.preset]() or bad.url,
    limits = settings["limits.body"] and { body = settings["limits.body"] } } }
  if targets == 2 then list[2] = { name = "two", key = "key-2", url = good.url, proxy = false } end
  return unbusy.new { targets = list, retry = { attempts = 2, base = 0.001 },
    clocks = clocks_of(settings, "") }
end

local function ask(client, mode, o)
  if mode == "plain" then return client:chat(QUESTION, o) end
  local stream, message, code, detail = client:stream(QUESTION, o)
  if not stream then return nil, message, code, detail end
  return stream:reply()
end

-- What the gates of target "one" have been told.
local function told(client)
  local t = client.targets[1]
  local b, l = t.breaker:stats(), t:limiter("m"):stats()
  return { calls = b.calls, failures = b.failures, drops = l.drops }
end

local function breaker_word(fresh, warm)
  if fresh.calls == 0 then return "–" end
  if fresh.failures == 0 then return "ok" end
  return warm.failures > 0 and "fail" or "busy"
end

-- One play, in one mode: with one target; with another one that is well; and, to see what a breaker
-- thinks of it that has just seen a success, once behind a good answer.
local function measure(play, settings, mode)
  local o, is_url = call_options(settings), urls[play.preset]
  local function programme(script)
    wire.close_idle() -- no connection of an earlier play
    bad:programme { reset = true, script = is_url and {} or script }
  end
  programme { play, play }
  local client = new_client(play, settings, 1)
  local reply, _, code, detail = ask(client, mode, o)
  local fresh, tries = told(client), reply and reply.tries or detail.tries
  local received = is_url and tries or bad:counts().received
  programme { play, play }
  local other = ask(new_client(play, settings, 2), mode, o)
  local warm = fresh
  if not is_url then
    programme { {}, play, play }
    client = new_client(play, settings, 1)
    assert(ask(client, mode))
    ask(client, mode, o)
    warm = told(client)
  end
  return { again = received > 1 and "yes" or "no", tries = tries, received = received,
    elsewhere = other and other.target == "two" and "yes" or "no",
    limiter = fresh.drops > 0 and "fail" or "–", breaker = breaker_word(fresh, warm),
    result = reply and "answer" or code }
end

-- }========================================================================

local modes = { plain = { "plain" }, stream = { "stream" }, both = { "plain", "stream" } }

describe("what happens when", function()
  setup(function()
    bad = busyd.start { workers = 1, tls = true }
    good = busyd.start { workers = 1 }
  end)
  teardown(function()
    wire.close_idle()
    bad:stop()
    good:stop()
  end)

  local rows = tables.rows "signs"
  it("is told of enough signs", function() assert.is_true(#rows > 30) end)
  for _, row in ipairs(rows) do
    local sign, played, call = row[1], row[2], row[3]
    it(sign, function()
      local plays, settings = plays_of(played)
      assert.is_true(#plays > 0, "nothing is played in: " .. played)
      for _, play in ipairs(plays) do
        for _, mode in ipairs(assert(modes[call], call)) do
          local m = measure(play, settings, mode)
          local what = ("%s, %s"):format(play.preset, mode)
          assert.equal(m.received, m.tries, what)
          assert.same({ what, row[4], row[5], row[6], row[7], row[8]:gsub("`", "") .. "" },
            { what, m.again, m.elsewhere, m.limiter, m.breaker, m.result })
        end
      end
    end)
  end
end)

describe("what happens on our own side", function()
  guard.watch(before_each, after_each)
  local up
  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)
  before_each(function() up:programme { reset = true } end)

  local rows, seen = tables.rows "situations", {}
  for _, row in ipairs(rows) do
    local name = row[2]:match "`([%w_]+)`"
    seen[name] = true
    it(row[1], function()
      local play = assert(situations[name], "no situation is named " .. row[2])
      local reply, message, code = play(up)
      local result = reply and (reply.source == "upstream" and "answer" or reply.source) or code
      assert.same({ row[4], (row[5]:gsub("`", "")) },
        { ("%d"):format(up:counts().received), result }, message)
    end)
  end

  it("is told of every situation", function()
    for name in pairs(situations) do assert.is_true(seen[name], name) end
  end)
end)
