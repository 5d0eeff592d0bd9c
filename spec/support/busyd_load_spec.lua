-- The busy upstream under load: places, order, counts; and its launcher, which leaves nothing.
package.path = "./?.lua;./?/init.lua;" .. package.path

local busyd = require "spec.support.busyd"
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local probe = require "spec.support.busyd_probe"

local sh, quoted, chat, ask, body_of, status_of, text_of, events_of, start, together,
  eventually, command = probe.sh, files.quote, probe.chat, probe.ask, probe.body_of,
  probe.status_of, probe.text_of, probe.events_of, probe.start, probe.together,
  probe.eventually, probe.command

local STREAM = { stream = true }

probe.watch { setup = setup, teardown = teardown, before_each = before_each,
  after_each = after_each }

describe("busyd: capacity", function()
  local function queued(n)
    return eventually(function(c) return c.queued == n end)
  end

  it("refuses beyond capacity and queue, and counts both", function()
    probe.up:programme { capacity = 0, queue = 2 }
    local commands = {}
    for i = 1, 6 do commands[i] = command(chat("n" .. i), "-w '%{http_code}'") end
    local finish = start(commands)
    eventually(function(c) return c.queued == 2 and c.refused == 4 end)
    probe.up:programme { capacity = 1, queue = 2, latency = 0.05 }
    local codes = { ["200"] = 0, ["503"] = 0 }
    for _, out in ipairs(finish()) do
      local code = out:match "%d%d%d$"
      codes[code] = codes[code] + 1
    end
    assert.same({ ["200"] = 2, ["503"] = 4 }, codes)
    local c = probe.up:counts()
    assert.same({ 2, 4, 1, 2, 0, 0 }, { c.completed, c.refused, c.in_service_max, c.queued_max,
      c.in_service, c.queued })
  end)

  it("serves the queue first come first served, across workers", function()
    probe.up:programme { capacity = 0, queue = 20, log = true }
    local commands, script = {}, {}
    for i = 1, 12 do
      commands[i] = ("sleep %.2f; %s"):format(i * 0.02, command(chat("n" .. i .. ".")))
      script[i] = { answer = { text = "turn " .. i .. "." } }
    end
    local finish = start(commands)
    queued(12)
    probe.up:programme { capacity = 1, queue = 20, script = script, latency = 0.005 }
    local outputs = finish()
    for turn, entry in ipairs(probe.up:log()) do
      local who = tonumber(entry.body:match "n(%d+)%.")
      assert.truthy(outputs[who]:find("turn " .. turn .. ".", 1, true))
    end
    assert.same({ 1, 12 }, { probe.up:counts().in_service_max, probe.up:counts().completed })
  end)

  it("keeps nothing for clients that leave, in service or in the queue", function()
    probe.up:programme { capacity = 1, queue = 5, latency = 8 }
    together { command(chat "a", "--max-time 0.5"), command(chat "b", "--max-time 0.6"),
      command(chat "c", "--max-time 0.5") }
    local c = eventually(function(c) return c.in_service + c.queued == 0 end)
    assert.same({ 0, c.received }, { c.completed, c.aborted_by_client })
    probe.up:programme { capacity = 1 }
    assert.same(200, status_of(ask(chat "d")))
  end)

  it("shows its queue by keep-alives when told", function()
    probe.up:programme { capacity = 0, queue = 5, queue_sign = "keepalive", keepalive_every = 0.02 }
    local finish = start { command(chat("a", STREAM)), command(chat("b", STREAM)),
      command(chat "c"), command(chat "d") }
    queued(4)
    direct.pause(0.1)
    probe.up:programme { capacity = 1 }
    for i, out in ipairs(finish()) do
      assert.truthy(out:find(i <= 2 and "^: keep%-alive\n\n" or "^\n\n"), out)
      assert.truthy(out:find(i <= 2 and "[DONE]" or "total_tokens", 1, true), out)
    end
    assert.same({ started = 2, finished = 2, cut = 0, aborted = 0 }, probe.up:counts().streams)
  end)

  it("can count per key", function()
    probe.up:programme { capacity = 0, per_key = true, capacities = { big = 0 }, queue = 3 }
    local commands = {}
    for i, key in ipairs { "a", "a", "b", "b", "big", "big", "big" } do
      commands[i] = command(chat "q", "-H 'authorization: Bearer " .. key .. "'")
    end
    local finish = start(commands)
    queued(7)
    probe.up:programme { capacity = 1, per_key = true, capacities = { big = 2 }, queue = 3,
      latency = 0.5 }
    eventually(function(c) return c.in_service == 4 and c.queued == 3 end)
    finish()
    assert.same({ a = 2, b = 2, big = 3 }, probe.up:counts().keys)
    assert.same({ 7, 4 }, { probe.up:counts().completed, probe.up:counts().in_service_max })
  end)

  it("follows a schedule: a black-out whose end lets the queue in", function()
    probe.up:programme { queue = 5, schedule = { { at = 0, capacity = 0 },
      { at = 0.5, capacity = busyd.null, answer = { text = "later" } } } }
    assert.same("later", text_of(ask(chat "q")))  -- it waited through the black-out
    assert.same(1, probe.up:counts().queued_max)
    probe.up:programme { schedule = { { at = 0, capacity = 0 }, { at = 1000, capacity = 1 } },
      repeat_every = 2000, when_full = { preset = "rate_limited", retry_after = 7 } }
    local reply = ask(chat "q")
    assert.same(429, status_of(reply))
    assert.truthy(reply:find("Retry-After: 7\r\n", 1, true))
  end)
end)

describe("busyd: script, faults, latency, counts", function()
  it("takes the script in order, each entry once, also by many at once", function()
    local script = {}
    for i = 1, 12 do script[i] = { answer = { text = "s" .. i } } end
    probe.up:programme { script = script }
    assert.same({ "s1", "s2" }, { text_of(ask(chat "q")), text_of(ask(chat "q")) })
    assert.same(10, probe.up:counts().script_left)
    local commands = {}
    for i = 1, 11 do commands[i] = command(chat "q") end
    local seen = {}
    for _, out in ipairs(together(commands)) do
      seen[#seen + 1] = out:match '"content":"([^"]*)"'
    end
    table.sort(seen)
    assert.same({ "echo: q", "s10", "s11", "s12", "s3", "s4", "s5", "s6", "s7", "s8", "s9" }, seen)
    probe.up:reset()
    assert.same({ 12, 0 }, { probe.up:counts().script_left, probe.up:counts().received })
  end)

  it("draws faults by share, the same for the same seed", function()
    local function faulted(seed)
      probe.up:programme { seed = seed, reset = true, faults = { { share = 0.4,
        answer = { status = 500 } } } }
      local urls = quoted(probe.up.url .. "/v1/models") .. " "
      local out = sh("curl -q -s --noproxy '*' -w '%{http_code} ' " ..
        ("-o /dev/null " .. urls):rep(60))
      return out:gsub("%s+", " ")
    end
    local first, again, other = faulted(7), faulted(7), faulted(8)
    assert.same(first, again)
    assert.not_same(first, other)
    local _, n = first:gsub("500", "")
    assert.truthy(n > 10 and n < 40)
    assert.same({ 60, 1 }, { probe.up:counts().received, probe.up:counts().connections })
  end)

  it("knows five kinds of latency", function()
    for _, latency in ipairs { 0.01, { mean = 0.01 }, { kind = "uniform", min = 0, max = 0.01 },
      { kind = "exponential", mean = 0.01, max = 0.05 },
      { kind = "lognormal", mean = 0.01, sigma = 0.5, max = 0.05 },
      { kind = "bimodal", mean = 0, slow = 0.01, p = 0.5 } } do
      probe.up:programme { latency = latency, token_interval = 0.001 }
      assert.same("echo: q", text_of(ask(chat "q")))
      assert.same("echo: q", select(2, events_of(body_of(ask(chat("q", STREAM))))))
    end
  end)

  it("logs requests and tracks questions when told", function()
    probe.up:programme { log = true, track = true }
    ask(chat "one", "-H 'x-request-id: r1'")
    ask(chat "one", "-H 'x-request-id: r1'")
    ask(chat(("long "):rep(100)), "-H 'x-request-id: r2'", "/v1/chat/completions?a=b")
    local log = probe.up:log()
    assert.same({ 3, "POST", "/v1/chat/completions?a=b", "r2" },
      { #log, log[3].method, log[3].path, log[3].headers["x-request-id"] })
    assert.same(chat "one", log[1].body)
    local c = probe.up:counts()
    assert.same({ 2, 1 }, { c.questions.one, c.duplicates })
    assert.same(3, c.paths["/v1/chat/completions"])
    probe.up:reset()
    assert.same(0, #probe.up:log())
  end)

  it("counts a connection once, however many requests it brings", function()
    sh(command(chat "a") .. " --next " .. command(chat "b"):gsub("^curl %-q", ""))
    assert.same({ 2, 1 }, { probe.up:counts().received, probe.up:counts().connections })
    sh(command(chat "c"))
    assert.same(2, probe.up:counts().connections)
  end)
end)

describe("busyd: validation", function()
  local wrong = {
    ["capcity: unknown field"] = { capcity = 1 },
    ["capacity: expected a whole number"] = { capacity = "1" },
    ["queue_sign: expected one of silent, keepalive"] = { queue_sign = "loud" },
    ["script[2].preset: expected one of"] = { script = { {}, { preset = "nothing" } } },
    ["script[1].seconds: unknown field"] = { script = { { preset = "busy_503", seconds = 1 } } },
    ["schedule[1].latency.max: needed by kind uniform"] = {
      schedule = { { at = 1, latency = { kind = "uniform", min = 1 } } } },
    ["schedule[2].at: earlier"] = { schedule = { { at = 2 }, { at = 1 } } },
    ["faults[1].share: expected a number from 0 to 1"] = { faults = { { share = 2 } } },
    ["answer.tool_calls[1].arguments: expected"] = {
      answer = { tool_calls = { { arguments = 1 } } } },
  }
  for message, programme in pairs(wrong) do
    it("names the field: " .. message, function()
      local ok, problem = pcall(probe.up.programme, probe.up, programme)
      assert.falsy(ok)
      assert.truthy(problem:find("(400)", 1, true) and problem:find(message, 1, true), problem)
    end)
  end

  it("keeps the old programme when the new one is wrong", function()
    probe.up:programme { answer = { text = "kept" } }
    assert.falsy(pcall(probe.up.programme, probe.up, { nonsense = 1 }))
    assert.same("kept", text_of(ask(chat "q")))
  end)
end)

describe("busyd: the launcher", function()
  local function exists(path) return os.rename(path, path) ~= nil end

  local function alive(pid) return sh("kill -0 " .. pid) == "" end

  local function gone(url, where)
    for _ = 1, 200 do
      if not exists(where) and sh("curl -q -s --noproxy '*' " .. url .. "; echo $?"):find "^7" then
        return true
      end
      direct.pause(0.02)
    end
  end

  it("runs two side by side and stops each alone", function()
    local other = busyd.start { workers = 1, programme = { answer = { text = "other" } } }
    assert.same("other", text_of(ask(chat "q", nil, nil, other.url)))
    assert.same("echo: q", text_of(ask(chat "q")))
    other:stop()
    other:stop()
    assert.truthy(gone(other.url, other.dir))
    assert.same(200, status_of(ask(chat "q")))
  end)

  it("says what is wrong with its options, its port or its programme", function()
    assert.has_error(function() busyd.start { wokers = 1 } end)
    local ok, message = pcall(busyd.start, { port = tonumber(probe.up.url:match "%d+$") })
    assert.falsy(ok)
    assert.truthy(message:find("bind()", 1, true))
    ok, message = pcall(busyd.start, { programme = { queue = -1 } })
    assert.falsy(ok)
    assert.truthy(message:find("queue: expected", 1, true))
  end)

  it("cleans up when its starter is killed, ends without stop, or is interrupted", function()
    local starter = [[package.path = "./?.lua;./?/init.lua;" .. package.path
      local up = require "spec.support.busyd".start { workers = 1 }
      local pid = io.open "/proc/self/stat":read "*n"
      print(pid, up.url, up.dir) io.stdout:flush() ]]
    local interpreter = _VERSION == "Lua 5.4" and "lua5.4" or "luajit"
    local killed = "io.popen('sleep 20; true'):read '*a'"
    for _, ending in ipairs { killed, "os.exit(0)", "error 'x'" } do
      local pipe = io.popen(interpreter .. " -e " .. quoted(starter .. ending) .. " 2>/dev/null")
      local pid, url, where = pipe:read "*l":match "(%d+)%s+(%S+)%s+(%S+)"
      if ending == killed then
        assert.truthy(alive(pid) and exists(where))
        os.execute("kill -9 " .. pid)
      end
      assert.truthy(gone(url, where), ending)
      pipe:close()
    end
  end)

  it("has a command for people", function()
    local pipe = io.popen("exec spec/support/busyd/busyd --port 0x0 2>&1")
    pipe:close()
    local file = os.tmpname()
    local handle = io.open(file, "w")
    handle:write '{"answer":{"text":"by hand"}}'
    handle:close()
    local out = sh("spec/support/busyd/busyd --programme " .. file .. " > " .. file .. [[.out &
      pid=$!
      for i in $(seq 100); do [ -s ]] .. file .. [[.out ] && break; sleep 0.05; done
      url=$(head -n 1 ]] .. file .. [[.out)
      curl -q -s --noproxy '*' $url/chat/completions -d ]] .. quoted(chat "q") .. [[; echo
      kill -TERM $pid; wait $pid 2>/dev/null
      for i in $(seq 100); do curl -q -s --noproxy '*' $url || exit 0; sleep 0.05; done
      echo still]])
    os.remove(file)
    os.remove(file .. ".out")
    assert.truthy(out:find("by hand", 1, true))
    assert.falsy(out:find("still", 1, true))
  end)
end)
