-- `unbusy top`, as a programme, at a gateway that runs: what goes on, live.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local json = require "unbusy.json"
local served = require "spec.support.served"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local CONFIG = [[return {
  targets = { { name = "up", url = "%s/v1", models = { default = "m" } } },
  retry = { base = 0.01, attempts = 2 }, limiter = { initial = 7 },
  breaker = { window = 600 }, %s
}]]

describe("unbusy top", function()
  local up, place, server, path

  setup(function()
    up, place = busyd.start { workers = 1 }, served.place()
    path = place:write("gw.lua", CONFIG:format(up.url, ""))
    server = served.start(place, { path })
    for i = 1, 5 do assert.equal(200, select(2, server:chat("good " .. i))) end
    up:programme { faults = { { share = 1, answer = { preset = "invalid_400" } } } }
    server:chat "bad"
    up:programme {}
  end)
  teardown(function()
    place:remove()
    up:stop()
  end)

  local function check(out)
    assert.matches("^unbusy [%d.]+: no target is out; in flight 0, waiting 0\n\n", out)
    assert.matches("\nup +closed +m +%[%-+%] 0 of 7 +[%d.]+ m?s %.%. [%d.]+ m?s +0 of 5\n", out)
    assert.matches("\ncalls in the last hour: 6\n", out)
    assert.matches("\n  upstream +%[#+%-+%] +5 +83%.3 %%\n", out)
    assert.matches("\n  failed +%[#+%-+%] +1 +16%.7 %%\n", out)
    assert.matches("\n  by minute |[ .:=+*#-]+| at most %d\n", out)
    assert.matches("\n  up  invalid  1  [%w. ]+\n$", out)
  end

  it("shows what the workers know together, also without a cache", function()
    local r = place:run { "top", "--config", path }
    assert.same({ "", 0 }, { r.err, r.rc })
    check(r.out)
  end)

  it("shows the same from a gateway", function()
    for _, url in ipairs { server.url, server.url .. "/status.json" } do
      local r = place:run { "top", "--url", url }
      assert.same({ "", 0 }, { r.err, r.rc })
      check(r.out)
    end
  end)

  it("prints all of it as JSON", function()
    for _, words in ipairs { { "top", "--json", "--config", path },
      { "top", "--json", "--url", server.url } } do
      local r = place:run(words)
      assert.same({ "", 0 }, { r.err, r.rc })
      local told = json.decode(r.out)
      assert.same({ 60, json.null, "up", 5 }, { #told.hour.answers.upstream, told.questions,
        told.hour.failures[1].target, told.targets[1].start.calls })
    end
  end)

  it("is drawn again and again, no higher than the terminal", function()
    local screen = place.dir .. "/screen"
    local pid = files.trimmed(("env TERM=xterm setsid script -qfec 'stty rows 5 cols 60; %s "
      .. "bin/unbusy top --every 0.1 --config %s' /dev/null </dev/null >%s 2>&1 & echo $!"):format(
      lua, path, screen))
    served.wait(function()
      return select(2, files.text(screen):gsub("\27%[H\27%[Junbusy ", "")) >= 3
    end, "the third drawing")
    os.execute("kill " .. pid)
    for drawn in files.text(screen):gmatch "\27%[H\27%[J([^\27]+)\27" do
      assert.is_true(select(2, drawn:gsub("\n", "")) < 5)
      for line in drawn:gmatch "[^\r\n]+" do assert.is_true(#line <= 60) end
    end
  end)

  it("ends with its terminal, also where it is not to be told", function()
    local screen, own = place.dir .. "/lost", place.dir .. "/lost.pid"
    local pid = files.trimmed(("env TERM=xterm setsid script -qfec 'trap \"\" HUP; echo $$ >%s; "
      .. "exec %s bin/unbusy top --every 0.1 --config %s' /dev/null </dev/null >%s 2>&1 "
      .. "& echo $!"):format(own, lua, path, screen))
    served.wait(function() return files.text(screen):find("unbusy ", 1, true) end, "a drawing")
    os.execute("kill -9 " .. pid)
    local top = files.trimmed("cat " .. own)
    assert.matches("^%d+$", top)
    served.wait(function() return files.output("ps -o stat= -p " .. top):match "^%s*Z?%s*$" end,
      "its end")
  end)

  it("says what is wrong", function()
    local other = place:write("other.lua", CONFIG:format(up.url, ""))
    local r = place:run { "top", "--config", other }
    assert.same({ "", 1 }, { r.out, r.rc })
    assert.matches("no process runs with .*other%.lua just now", r.err)
    other = place:write("kept.lua", CONFIG:format(up.url, ("cache = { path = '%s/kept' }"):format(
      place.dir))) -- its file could be made, and says nothing of who runs
    r = place:run { "top", "--once", "--config", other }
    assert.same({ "", 1 }, { r.out, r.rc })
    assert.matches("no process runs with .*kept%.lua just now", r.err)
    r = place:run { "top", "--config", path, "--show" }
    assert.same({ "", 2 }, { r.out, r.rc })
    assert.matches("nothing is counted: cache%.top is off there", r.err)
    r = place:run { "top", "--url", up.url }
    assert.equal("", r.out)
    assert.matches("gateway says 404", r.err)
  end)
end)
