-- What an HTTP call costs this process in CPU (user and system; the server is another process):
-- POSTs of 500 bytes, answers of 700, on kept connections to an nginx of this machine.
--
--   bare libcurl         bench/c/http_bare.c: every option set once, no Lua
--   LuaCURL              Debian's lua-curl, one kept handle (LuaJIT, one call at a time)
--   the engine           core.engine driven by hand: submit, wait, step, next, take
--   client:chat          every stage on: breaker, limiter, budget, queue, retry
--   client:post          the same with a body and an answer that are text: no JSON
--   JSON                 encode and decode of the same bodies alone, in the same run
local core = require "unbusy.core"
local json = require "unbusy.json"
local luacurl = require "bench.support.luacurl"
local measure = require "bench.support.measure"
local nginx = require "bench.support.nginx"
local unbusy = require "unbusy"

local TURNS = tonumber(os.getenv "UNBUSY_BENCH_TURNS") or 15
local CALLS = tonumber(os.getenv "UNBUSY_BENCH_CALLS") or 2048 -- of one turn
local PROGRAM = (os.getenv "UNBUSY_BENCH_DIR" or "build/bench") .. "/http_bare"

local server = nginx.start()
local base = server.url .. "/ok/v1"
local url = base .. "/chat/completions"

local question = { model = "m", temperature = 0.7, messages = {
  { role = "system", content = "You are a helpful assistant." },
  { role = "user", content = ("word "):rep(73) } } }
local body = json.encode(question)
assert(#body >= 490 and #body <= 510, #body)
local headers = { "Authorization: Bearer key-1", "content-type: application/json",
  "accept: application/json", "user-agent: unbusy" }

-- {== Contestants =========================================================

local function bare(at_once, n)
  local words = { PROGRAM, url, n, at_once, "'" .. body .. "'" }
  for _, line in ipairs(headers) do words[#words + 1] = "'" .. line .. "'" end
  local pipe = io.popen(table.concat(words, " "))
  local us = tonumber((pipe:read "*l"))
  pipe:close()
  return us or error "http_bare failed"
end

local request = { url = url, method = "POST", headers = headers, body = body, connect = 5 }

-- Takes what is there; true when the transfer has ended, and it must have ended well.
local function take_all(e, id)
  while true do
    local kind, a = e:take(id)
    if kind == nil then return false end
    if kind == "end" then return a == nil or error(a) end
  end
end

local function engine_calls(e, at_once, n)
  local begun, ended = 0, 0
  while ended < n do
    while begun < n and begun - ended < at_once do
      assert(e:submit(request))
      begun = begun + 1
    end
    local some = false
    for id in e.next, e do
      some = true
      if take_all(e, id) then ended = ended + 1 end
    end
    if not some then
      e:wait(1)
      e:step()
    end
  end
end

-- `ask()` in so many tasks at once, n times in all.
local function ask_at_once(ask, at_once, n)
  local left = n
  local function worker()
    while left > 0 do
      left = left - 1
      ask()
    end
  end
  unbusy.run(function()
    for _ = 1, at_once do unbusy.spawn(worker) end
  end)
end

local function new_client()
  return unbusy.new { targets = { { name = "a", url = base, key = "key-1" } },
    limiter = { initial = 200 } }
end

local function timed(run)
  return function(at_once, n)
    run(at_once, at_once) -- connected and warm
    collectgarbage()
    local began = os.clock()
    run(at_once, n)
    return (os.clock() - began) / n * 1e6
  end
end

local engine, client = assert(core.engine()), new_client()
local contestants = {
  { name = "bare libcurl", run = bare },
  { name = "the engine", run = timed(function(...) engine_calls(engine, ...) end) },
  { name = "client:chat", run = timed(function(...)
    ask_at_once(function() assert(client:chat(question)) end, ...)
  end) },
  { name = "client:post", run = timed(function(...)
    ask_at_once(function() assert(client:post("/chat/completions", body)) end, ...)
  end) },
  { name = "JSON", run = timed(function(_, n)
    for _ = 1, n do json.decode(nginx.answer, json.encode(question)) end
  end) },
}

if luacurl then
  local calls = luacurl(url, headers, body)
  contestants[#contestants + 1] = { name = "LuaCURL", alone = true,
    run = timed(function(_, n) calls(n) end) }
end

-- }========================================================================

local function race(at_once)
  local lua = jit and jit.version or _VERSION -- luacheck: ignore 113
  local title = ("CPU of one call, %d at a time"):format(at_once)
  print(("%s (%s)"):format(title, lua))
  local best, rows = {}, {}
  for _ = 1, TURNS do
    for _, c in ipairs(contestants) do
      if at_once == 1 or not c.alone then
        best[c.name] = math.min(best[c.name] or math.huge, c.run(at_once, CALLS))
      end
    end
  end
  best["client:chat without JSON"] = best["client:chat"] - best.JSON
  for _, name in ipairs { "bare libcurl", "LuaCURL", "the engine", "client:chat", "JSON",
    "client:chat without JSON", "client:post" } do
    local us = best[name]
    if us then
      print(("  %-28s %8.1f us  × %.2f"):format(name, us, us / best["bare libcurl"]))
      rows[#rows + 1] = { name, us }
    end
  end
  measure.rows(title, rows, "us")
  return best
end

local function goals(at_once, most)
  local us = race(at_once)
  for _, name in ipairs { "the engine", "client:chat without JSON" } do
    measure.goal(("%s, %d at a time, against bare libcurl"):format(name, at_once),
      us[name] / us["bare libcurl"], most, "×")
  end
  local what = ("CPU of client:post, %d at a time"):format(at_once)
  for _, name in ipairs { "bare libcurl", "LuaCURL" } do
    if us[name] then measure.peer(name, what, us["client:post"] / us[name]) end
  end
end

goals(1, 1.25)
goals(64, 1.2)
server:stop()
