-- `unbusy serve`, in real processes: it answers, reloads and ends as it should.
local busyd = require "spec.support.busyd"
local core = require "unbusy.core"
local files = require "spec.support.files"
local served = require "spec.support.served"

local quote = files.quote

local function is_root()
  return files.trimmed "id -u" == "0"
end

local function succeeds(line)
  local ok = os.execute(line .. " 2>/dev/null")
  return ok == true or ok == 0
end

-- Whether a process lives; one that is dead and not yet buried does not.
local function exists(pid)
  return files.trimmed(("ps -o stat= -p %s"):format(pid)):find "^[^Z]" ~= nil
end

describe("unbusy serve", function()
  local up, place

  setup(function() up = busyd.start { workers = 1 } end)
  teardown(function() up:stop() end)

  before_each(function()
    up:programme { reset = true }
    place = served.place()
  end)
  after_each(function() place:remove() end)

  -- A configuration that asks the upstream; `more` is Lua text.
  local function config(more, name)
    return place:write(name or "gw.lua",
      ("return { targets = { { name = 'up', url = %q } }, %s }"):format(up.url, more or ""))
  end

  local function start(words, given)
    words = words or {}
    words[#words + 1] = config()
    return served.start(place, words, given)
  end

  -- A stream of so many pieces, a tenth of a second apart, that has begun.
  local function begin_stream(server, pieces)
    up:programme { token_interval = 0.1, answer = { tokens = pieces } }
    local stream = server:stream "hi"
    served.wait(function() return stream():find("data:", 1, true) end, "the stream's first piece")
    return stream
  end

  local function whole(stream)
    served.wait(function() return select(2, stream()) end, "the stream's end")
    local text, status = stream()
    assert.equal(0, status)
    assert.is_truthy(text:find("data: [DONE]", 1, true), text)
  end

  local function refuses(server)
    served.wait(function() return select(2, server:ask "/healthz") == 0 end, "the closed port")
  end

  for _, lua in ipairs { "lua5.4", "luajit" } do
    it("answers, says where it is, and leaves nothing behind: " .. lua, function()
      local server = start({}, { lua = lua })
      local body, status = server:chat "天气如何"
      assert.equal(200, status)
      assert.is_truthy(body:find("echo: 天气如何", 1, true), body)
      assert.is_truthy(server:said():find(server.url, 1, true))
      assert.equal("1", place:folders())
      server:signal "TERM"
      assert.equal(0, server:ended())
      assert.equal("0", place:folders())
      assert.is_falsy(exists(server.pid))
    end)
  end

  describe("ending", function()
    for _, signal in ipairs { "TERM", "INT", "QUIT" } do
      it("lets a stream under way end, and takes no new calls: " .. signal, function()
        local server = start { "--drain", "60" }
        local stream = begin_stream(server, 30)
        server:signal(signal)
        refuses(server)
        assert.is_nil((select(2, stream())))
        whole(stream)
        assert.equal(0, server:ended())
        assert.equal("0", place:folders())
      end)
    end

    it("cuts what is under way when the time is up", function()
      local server = start { "--drain", "0.3" }
      local stream = begin_stream(server, 5000)
      server:signal "TERM"
      assert.equal(0, server:ended())
      assert.is_truthy(server:said():find("are cut", 1, true))
      served.wait(function() return select(2, stream()) end, "the stream's end")
      assert.is_nil(stream():find("[DONE]", 1, true))
    end)

    it("ends at once when it is told twice", function()
      local server = start { "--drain", "3600" }
      begin_stream(server, 5000)
      server:signal "TERM"
      server:hears "ending:"
      server:signal "TERM"
      assert.equal(0, server:ended())
      assert.equal("0", place:folders())
    end)

    it("takes nginx with it when it is killed; the next one removes what is left", function()
      local server = start()
      local nginx = server:nginx()
      server:signal "KILL"
      served.wait(function() return not exists(nginx) end, "the end of nginx")
      assert.equal("1", place:folders())
      local other = start() -- too young to be thrown away
      assert.equal("2", place:folders())
      other:stop()
      os.execute(("touch -d '2 minutes ago' %s/tmp/unbusy-serve.*"):format(quote(place.dir)))
      other = start()
      assert.equal("1", place:folders())
      os.execute(("touch -d '2 minutes ago' %s/tmp/unbusy-serve.*"):format(quote(place.dir)))
      local third = start()
      assert.equal("2", place:folders()) -- the other one lives
      assert.equal(200, select(2, other:chat "hi"))
      assert.equal(200, select(2, third:chat "hi"))
    end)

    it("ends with 1, and no worker stays, when nginx is killed", function()
      local server = start()
      local nginx = server:nginx()
      local workers = files.trimmed("pgrep -P " .. nginx)
      server:signal("KILL", nginx)
      assert.equal(1, server:ended())
      assert.is_truthy(server:said():find("nginx has ended by itself (status 137)", 1, true))
      for pid in workers:gmatch "%d+" do
        served.wait(function() return not exists(pid) end, "the end of a worker")
      end
      assert.equal("0", place:folders())
    end)
  end)

  describe("reloading", function()
    it("takes the new configuration, and lets calls of the old one end", function()
      local server = start()
      local stream = begin_stream(server, 20)
      up:programme {}
      place:write("gw.lua", ("return { targets = { { name = 'other', url = %q } },"
        .. "gateway = { keys = { 'sk-1' } } }"):format(up.url))
      server:signal "HUP"
      server:hears "reloaded;"
      served.wait(function() return select(2, server:chat "hi") == 401 end, "the new configuration")
      assert.equal(200, select(2, server:chat("hi", "-H 'authorization: Bearer sk-1'")))
      whole(stream)
      server:signal "TERM"
      assert.equal(0, server:ended())
    end)

    it("loses no call, however often", function()
      local server = start()
      up:programme { token_interval = 0.02, answer = { tokens = 10 } }
      place:write("body", '{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}')
      local line = "curl -q -sN --noproxy '*' --data-binary @body "
        .. "-H 'content-type: application/json' %s/v1/chat/completions"
      os.execute(("cd %s; for w in 1 2 3; do { for i in $(seq 12); do %s; done >load$w; "
        .. "echo >done$w; } & done"):format(quote(place.dir), line:format(server.url)))
      local function count(name)
        return tonumber(files.trimmed(("cat %s | grep -cF %s"):format(
          quote(place.dir) .. "/load?", quote(name))))
      end
      for i = 1, 8 do
        server:signal "HUP"
        served.wait(function() return select(2, server:said():gsub("reloaded;", "")) == i end,
          "a reload")
      end
      served.wait(function()
        return files.trimmed("ls " .. quote(place.dir) .. " | grep -c done") == "3"
      end, "the load's end")
      assert.equal(36, count "[DONE]")
      assert.equal(0, count '"error"')
    end)

    it("keeps the old one when the new one is broken, and says what is wrong", function()
      local server = start()
      for text, message in pairs { ["return {"] = "unexpected symbol",
        ["return { targts = {} }"] = "did you mean 'targets'?",
        ["return { targets = { { name = 'a', url = 'http://[::1]' } }, gateway = { kys = {} } }"] =
          "did you mean 'keys'?" } do
        place:write("gw.lua", text)
        local heard = #server:said()
        server:signal "HUP"
        served.wait(function()
          return server:said():find("not reloaded: the old configuration stays", heard + 1, true)
        end, "the refusal")
        assert.is_truthy(server:said():find(message, heard + 1, true), server:said())
        assert.equal(200, select(2, server:chat "hi"))
      end
      config()
      server:signal "HUP"
      server:hears "\nunbusy: reloaded;"
      assert.equal(200, select(2, server:chat "hi"))
    end)
  end)

  describe("in its surroundings", function()
    it("runs twice, side by side", function()
      local one, two = start(), start()
      assert.equal("2", place:folders())
      one:signal "TERM"
      assert.equal(0, one:ended())
      assert.equal(200, select(2, two:chat "hi"))
      assert.equal("1", place:folders())
    end)

    it("runs as somebody who is not root", function()
      if not is_root() then return end -- every other test shows it
      local server = start({}, { before = "setpriv --reuid nobody --regid nogroup --clear-groups" })
      assert.equal(200, select(2, server:chat "hi"))
      assert.equal("nobody", files.trimmed("ps -o user= -p " .. server:nginx()))
      -- its standard output is a file that it may not open, only write to
      served.wait(function() return server:logged():find "^{[^\n]*}\n$" end, "the line")
      server:signal "TERM"
      assert.equal(0, server:ended())
      assert.equal("0", place:folders())
    end)

    it("as root, works as somebody else", function()
      if not is_root() then return end
      for _, case in ipairs { { {}, "www%-data" }, { { "--user", "nobody" }, "nobody" } } do
        local server = start(case[1])
        assert.equal(200, select(2, server:chat "hi"))
        local users = files.trimmed("ps -o user= --ppid " .. server:nginx())
        assert.is_truthy(users:find(case[2]), users)
        assert.is_nil(users:find "root")
        server:stop()
      end
    end)

    it("is the first process of a container", function()
      local unshare = "unshare --pid --fork --mount-proc"
      if not succeeds(unshare .. " true") then return pending "no process namespaces here" end
      local server = start({ "--drain", "60" }, { before = unshare })
      assert.is_truthy(server:said():find("(process 1:", 1, true))
      local inner = files.trimmed("pgrep -P " .. server.pid)
      local stream = begin_stream(server, 20)
      server:signal("TERM", inner)
      whole(stream)
      assert.equal(0, server:ended())
      assert.equal("0", place:folders())
    end)

    it("speaks TLS", function()
      os.execute(([[cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
        -nodes -days 3 -subj /CN=localhost -keyout key.pem -out cert.pem 2>/dev/null]])
        :format(quote(place.dir)))
      local server = start({ "--cert", "cert.pem", "--key", "key.pem" }, { tls = true })
      assert.equal(200, select(2, server:chat "hi"))
      server.url = server.url:gsub("https", "http")
      local body, status = server:chat "hi"
      assert.equal(400, status)
      assert.is_truthy(body:find('"error":{"message"', 1, true), body)
    end)

    it("writes a line for each call, and opens the log anew", function()
      local server = start { "--log", "calls.log" }
      local log = place.dir .. "/calls.log"
      server:chat "a secret question"
      served.wait(function() return files.text(log):find "^{[^\n]*}\n$" end, "the line")
      os.execute(("mv %s %s.1"):format(quote(log), quote(log)))
      server:signal "USR1"
      served.wait(function() return files.trimmed("ls " .. quote(place.dir)):find "calls.log\n" end,
        "the new log")
      server:chat "another"
      served.wait(function() return files.text(log):find "^{[^\n]*}\n$" end, "the next line")
      assert.is_nil((files.text(log .. ".1") .. files.text(log)):find "secret question")
      assert.equal("", server:logged())
    end)

    it("loses no line when a worker ends", function()
      local server = start { "--log", "calls.log" }
      local function lines()
        local _, count = files.text(place.dir .. "/calls.log"):gsub("\n", "")
        return count
      end
      for _ = 1, 3 do server:chat "hi" end
      server:signal "HUP" -- within the second for which lines are kept
      served.wait(function() return lines() == 3 end, "the lines of the workers before")
      for _ = 1, 2 do server:chat "hi" end
      server:signal "TERM"
      assert.equal(0, server:ended())
      assert.equal(5, lines())
    end)

    it("writes them on standard output, when nothing is said", function()
      local server = start()
      server:chat "hi"
      served.wait(function() return server:logged():find "^{[^\n]*}\n$" end, "the line")
    end)

    it("tells as an OpenAI server would what nginx itself refuses", function()
      local server = start()
      for more, wanted in pairs { ["-H 'x: " .. ("y"):rep(70000) .. "'"] = 400,
        ["-H 'content-length: 99999999999' -d x"] = 413 } do
        local body, status = server:ask("/v1/chat/completions", more)
        assert.equal(wanted, status)
        assert.is_truthy(body:find '^{"error":{"message":"[^"]+","type":"invalid_request_error"')
      end
      assert.equal(200, select(2, server:chat "hi"))
    end)
  end)
end)

describe("core.exec", function()
  it("says that there is no such program, and is strict", function()
    local ok, message = core.exec { "/does/not/exist" }
    assert.is_nil(ok)
    assert.equal("/does/not/exist: No such file or directory", message)
    for _, wrong in ipairs { {}, { 1 }, { "x", {} } } do
      assert.has_error(function() core.exec(wrong) end)
    end
    assert.has_error(function() core.exec "ls" end)
  end)
end)
