local busyd = require "spec.support.busyd"
local codes = require "unbusy.codes"
local files = require "spec.support.files"
local json = require "unbusy.json"

-- {== The child process ===================================================

local top = files.trimmed "pwd"

-- Relative search paths as seen from the top; the child is always Lua 5.4, and no sanitizer's.
local function absolute(path)
  path = (path or ""):gsub("luajit", "lua5.4"):gsub("build/asan/", "build/")
  return path:gsub("[^;]+", function(part)
    return part:sub(1, 1) == "/" and part or top .. "/" .. part
  end)
end

-- The child's environment: nothing of the developer's own keys, proxies and configuration.
local function environment(more)
  local set = { TERM = "xterm", LUA_PATH = absolute(os.getenv "LUA_PATH"),
    LUA_CPATH = absolute(os.getenv "LUA_CPATH") }
  for _, name in ipairs { "PATH", "HOME", "LD_LIBRARY_PATH" } do
    set[name] = os.getenv(name)
  end
  for name, value in pairs(more or {}) do set[name] = value end
  local words = { "env -i" }
  for name, value in pairs(set) do
    if value then words[#words + 1] = files.quote(name .. "=" .. value) end
  end
  return table.concat(words, " ")
end

local dir -- for the files of one run

-- Runs a shell line; `given`: env, input, cwd, and `program` (bin/unbusy).
local function shell(line, given)
  given = given or {}
  files.write(dir .. "/in", given.input or "")
  os.execute(("cd %s && { %s; } <%s/in >%s/out 2>%s/err; echo $? >%s/rc"):format(
    files.quote(given.cwd or top), line, dir, dir, dir, dir))
  return { out = files.find(dir .. "/out"), err = files.find(dir .. "/err"),
    rc = tonumber(files.find(dir .. "/rc")) }
end

local function command(words, given)
  local program = given and given.program or files.quote(top .. "/bin/unbusy")
  local parts = { environment(given and given.env), program }
  for _, word in ipairs(words) do parts[#parts + 1] = files.quote(word) end
  return table.concat(parts, " ")
end

local function unbusy(words, given)
  return shell(command(words, given), given)
end

-- The same with standard error on a terminal: `screen` is what it was sent. Standard output is a
-- file, or the same terminal with `given.all`.
local function on_terminal(words, given)
  files.write(dir .. "/run.sh", command(words, given)
    .. (given and given.all and "" or (" >%s/answer"):format(dir)) .. "\n")
  local r = shell(("script -qec 'sh %s/run.sh' /dev/null"):format(dir), given)
  return { screen = r.out, out = files.find(dir .. "/answer"), rc = r.rc }
end

-- }========================================================================

describe("bin/unbusy", function()
  local up

  setup(function()
    dir = files.trimmed 'mktemp -d "${TMPDIR:-/tmp}/cli.XXXXXX"'
    up = busyd.start { workers = 1 }
  end)

  teardown(function()
    if up then up:stop() end
    os.execute("rm -rf " .. files.quote(dir))
  end)

  before_each(function()
    up:programme { log = true }
    up:reset()
  end)

  -- What the upstream does with each request, over and over.
  local function always(answer)
    up:programme { faults = { { share = 1, answer = answer } } }
  end

  -- A configuration file with quick retries; `more` is Lua text.
  local function config(more)
    local path = dir .. "/config.lua"
    files.write(path, ([[return { targets = { { name = "up", url = %q, models = { default = "m" },
      price = { input = 1, output = 2 } } }, retry = { attempts = 3, base = 0.01 }, %s }]]):format(
      up.url, more or ""))
    return path
  end

  local function ask(words, given)
    table.insert(words, 1, "chat")
    return unbusy(words, given)
  end

  local function last_body()
    local log = up:log()
    return json.decode(log[#log].body)
  end

  describe("answering", function()
    it("prints the streamed answer and nothing else", function()
      local r = ask { "--url", up.url, "--model", "m1", "--system", "be brief", "天气如何" }
      assert.same({ out = "echo: 天气如何\n", err = "", rc = 0 }, r)
      local body = last_body()
      assert.equal("m1", body.model)
      assert.is_true(body.stream)
      assert.same({ { role = "system", content = "be brief" },
        { role = "user", content = "天气如何" } }, body.messages)
    end)

    it("asks for the whole answer with --no-stream", function()
      local r = ask { "--url", up.url, "--no-stream", "hi" }
      assert.same({ out = "echo: hi\n", err = "", rc = 0 }, r)
      assert.is_not_true(last_body().stream)
      assert.is_nil(last_body().model)
    end)

    it("reads the question from standard input", function()
      assert.equal("echo: a\nb\n", ask({ "--url", up.url, "-" }, { input = "a\nb\n" }).out)
      assert.equal("echo: c\n", ask({ "--url", up.url }, { input = "c" }).out)
      assert.equal("echo: d\n", ask({ "--url", up.url, "d" }, { input = "c" }).out)
      assert.equal("echo: --json\n", ask({ "--url", up.url, "--", "--json" }).out)
    end)

    it("ends the answer with one line end", function()
      up:programme { answer = { text = "one\n" } }
      assert.equal("one\n", ask({ "--url", up.url, "hi" }).out)
    end)

    it("shows what the model thinks only when asked to, on standard error", function()
      up:programme { answer = { reasoning = true } }
      assert.same({ out = "echo: hi\n", err = "", rc = 0 }, ask { "--url", up.url, "hi" })
      for _, how in ipairs { { "--reasoning" }, { "--reasoning", "--no-stream" } } do
        local r = ask { "--url", up.url, "hi", how[1], how[2] }
        assert.same({ out = "echo: hi\n", err = "thinking about: hi\n", rc = 0 }, r)
      end
    end)

    it("remarks that the answer was too long, unless --quiet", function()
      up:programme { answer = { finish_reason = "length" } }
      local r = ask { "--url", up.url, "hi" }
      assert.equal(0, r.rc)
      assert.is_truthy(r.err:find("length limit", 1, true))
      assert.equal("", ask({ "--url", up.url, "-q", "hi" }).err)
    end)

    it("tries again when the server is busy", function()
      up:programme { script = { { preset = "busy_503" }, { preset = "rate_limited" } } }
      assert.same({ out = "echo: hi\n", err = "", rc = 0 }, ask { "--config", config(), "hi" })
      assert.equal(3, up:counts().received)
    end)

    it("prints the bytes of the answer as they are on a pipe", function()
      up:programme { answer = { text = "a\27[31mb\7" } }
      assert.equal("a\27[31mb\7\n", ask({ "--url", up.url, "hi" }).out)
    end)
  end)

  describe("failing", function()
    local function fails(r, code, pattern)
      assert.equal(codes[code].exit, r.rc)
      assert.is_truthy(r.err:find("^unbusy: " .. code .. ": "), r.err)
      assert.is_truthy(r.err:find(pattern), r.err)
    end

    it("gives each code its exit status, with one message on standard error", function()
      for preset, code in pairs { busy_503 = "busy", rate_limited = "limited", forbidden = "auth",
        insufficient_quota = "quota", unprocessable_422 = "invalid", empty_200 = "empty",
        malformed_json = "upstream" } do
        always { preset = preset }
        for _, how in ipairs { "--quiet", "--no-stream" } do
          local r = ask { "--config", config(), how, "--model", "m", "hi" }
          fails(r, code, "^unbusy: %l+: up: ")
          assert.equal("", r.out)
        end
      end
    end)

    it("says how often it tried", function()
      always { preset = "busy_503" }
      fails(ask { "--config", config(), "hi" }, "busy", "after 3 tries")
      assert.equal(3, up:counts().received)
    end)

    it("names the deadline", function()
      up:programme { latency = 30 }
      fails(ask { "--config", config(), "--deadline", "0.3", "hi" }, "timeout", "up: ")
    end)

    it("says where a refused key came from, and never the key", function()
      always { preset = "echo_key" }
      local r = ask({ "--url", up.url, "hi" }, { env = { UNBUSY_KEY = "sk-very-secret" } })
      fails(r, "auth", "\nunbusy: the key came from UNBUSY_KEY\n$")
      assert.is_nil((r.out .. r.err):find("very-secret", 1, true))
      r = ask { "--url", up.url, "hi" }
      fails(r, "auth", "\nunbusy: no key was sent: UNBUSY_KEY is not set\n$")
      r = ask({ "--url", up.url, "--json", "hi" }, { env = { UNBUSY_KEY = "sk-very-secret" } })
      assert.equal(codes.auth.exit, r.rc)
      assert.is_nil((r.out .. r.err):find("very-secret", 1, true))
    end)

    it("says that no model was named when the request is refused", function()
      always { preset = "invalid_400" }
      fails(ask { "--url", up.url, "hi" }, "invalid", "\nunbusy: no %-%-model was given")
      local r = ask { "--url", up.url, "--model", "m", "hi" }
      fails(r, "invalid", "")
      assert.is_nil(r.err:find("no --model", 1, true))
    end)

    it("leaves the text of a cut stream with a line end, and says so", function()
      always { preset = "cut_stream" }
      local r = ask { "--config", config(), "hello" }
      fails(r, "cut", "%(the answer is not complete%)\n$")
      assert.is_truthy(r.out:find "^ec[^\n]*\n$", r.out)
      assert.equal(("echo: hello"):sub(1, #r.out - 1) .. "\n", r.out)
      assert.equal(1, up:counts().received)
    end)

    it("prints the fallback text with a status of its own", function()
      always { preset = "busy_503" }
      for _, how in ipairs { "--quiet", "--no-stream" } do
        local r = ask { "--config", config 'fallback = "系统繁忙"', how, "hi" }
        assert.equal("系统繁忙\n", r.out)
        assert.equal(3, r.rc)
        assert.is_truthy(r.err:find "^unbusy: fallback: .*busy: up: [^\n]*\n$", r.err)
      end
    end)

    it("says so when another model has answered", function()
      for _, how in ipairs { "--quiet", "--no-stream" } do
        up:programme { reset = true, script = { { preset = "busy_503" }, {} } }
        local r = ask { "--config", config 'retry = false, fallback = { model = "flash" }', how,
          "--model", "pro", "hi" }
        assert.same({ "echo: hi\n", 0 }, { r.out, r.rc })
        assert.matches("^unbusy: fallback: that was model 'flash': busy: up: [^\n]*\n$", r.err)
      end
    end)

    it("says when nobody is there", function()
      local r = ask { "--url", "http://127.0.0.1:1", "--deadline", "0.5", "hi" }
      fails(r, "network", "127.0.0.1:1: connect: ")
    end)

    it("takes no user in a URL, and does not repeat it", function()
      local r = ask { "--url", "http://u:secretword@127.0.0.1:1", "hi" }
      assert.equal(2, r.rc)
      assert.is_nil(r.err:find("secretword", 1, true))
    end)
  end)

  describe("--json", function()
    local function object(r)
      assert.equal("", r.err)
      assert.is_truthy(r.out:find "^{[^\n]*}\n$", r.out)
      return assert(json.decode(r.out))
    end

    it("prints the answer as one object", function()
      up:programme { log = true, answer = { reasoning = true } }
      for _, how in ipairs { "--quiet", "--no-stream" } do
        local r = ask { "--config", config(), "--json", how, "hi" }
        local o = object(r)
        assert.equal(0, r.rc)
        assert.equal("echo: hi", o.text)
        assert.equal("upstream", o.source)
        assert.equal("up", o.target)
        assert.equal("stop", o.finish_reason)
        assert.equal(1, o.tries)
        assert.is_number(o.times.total)
        assert.is_number(o.times.start)
        assert.is_true(o.usage.completion_tokens > 0)
        assert.is_true(o.cost > 0)
        assert.is_string(o.model)
        assert.is_nil(o.failure)
        assert.is_nil(o.reasoning)
      end
      local o = object(ask { "--config", config(), "--json", "--reasoning", "hi" })
      assert.equal("thinking about: hi", o.reasoning)
    end)

    it("sees the server's queue unless --no-stream", function()
      ask { "--config", config(), "--json", "hi" }
      assert.is_true(last_body().stream)
      ask { "--config", config(), "--json", "--no-stream", "hi" }
      assert.is_not_true(last_body().stream)
    end)

    it("prints a failure as one object", function()
      always { preset = "busy_503" }
      local r = ask { "--config", config(), "--json", "hi" }
      assert.equal(codes.busy.exit, r.rc)
      local e = object(r).error
      assert.equal("busy", e.code)
      assert.is_truthy(e.message:find "^up: ")
      assert.same({ status = 503, tries = 3, target = "up" }, e.detail)
    end)

    it("prints a fallback as an answer with its failure", function()
      always { preset = "busy_503" }
      local r = ask { "--config", config 'fallback = "later"', "--json", "hi" }
      assert.equal(3, r.rc)
      local o = object(r)
      assert.equal("later", o.text)
      assert.equal("fallback", o.source)
      assert.equal("busy", o.failure.code)
    end)

    it("gives no part of a cut answer", function()
      always { preset = "cut_stream" }
      local r = ask { "--config", config(), "--json", "hello" }
      assert.equal(codes.cut.exit, r.rc)
      assert.equal("cut", object(r).error.code)
    end)
  end)

  describe("used wrongly", function()
    local function wrong(r, text)
      assert.equal(2, r.rc)
      assert.equal("", r.out)
      assert.is_truthy(r.err:find("^unbusy: [^\n]*\n$"), r.err)
      assert.is_truthy(r.err:find(text, 1, true), r.err)
    end

    it("ends with status 2 and says why", function()
      wrong(unbusy {}, "a command expected")
      wrong(unbusy { "caht", "x" }, "unknown command 'caht', did you mean 'chat'?")
      wrong(unbusy { "help", "caht" }, "did you mean 'chat'?")
      wrong(unbusy { "what is the weather?" }, 'unbusy chat "…"')
      wrong(ask { "--jsn", "x" }, "did you mean '--json'?")
      wrong(ask { "--url", up.url, "a", "b" }, "one question expected")
      wrong(ask { "--url", up.url, " " }, "the question is empty")
      wrong(ask { "--url", up.url }, "the question is empty")
      wrong(ask { "--url", up.url, "\255" }, "not UTF-8")
      wrong(ask { "--url", up.url, "--system", "\255", "hi" }, "not UTF-8")
      wrong(ask { "--url", up.url, "--model", "\255", "hi" }, "not UTF-8")
      wrong(ask { "--url", "example.com", "hi" }, "--url: http:// or https:// and a host expected")
      wrong(ask { "--url", "ftp://example.com", "hi" }, "http:// or https://")
      wrong(ask { "--url", up.url, "--config", "x", "hi" }, "--url or --config")
      wrong(ask { "--config", config(), "--target", "upp", "hi" }, "did you mean 'up'?")
      assert.equal(0, up:counts().received)
    end)

    it("says what is wrong with a configuration", function()
      local cases = { ["return {"] = "unexpected symbol", ["return 1"] = "it must return a table",
        ["error 'boo'"] = "boo", ["return { targts = {} }"] = "did you mean 'targets'?",
        ["return { targets = {} }"] = "targets",
        ["return { targets = { { name = 'a', url = 'x' } } }"] = "targets[1].url" }
      for text, message in pairs(cases) do
        files.write(dir .. "/bad.lua", text)
        local r = ask { "--config", dir .. "/bad.lua", "hi" }
        wrong(r, message)
        wrong(r, dir .. "/bad.lua")
      end
      wrong(ask { "--config", "/does/not/exist.lua", "hi" }, "cannot read /does/not/exist.lua")
    end)

    it("says what to set when nobody can be asked", function()
      local r = ask({ "hi" }, { cwd = dir })
      for _, name in ipairs { "DEEPSEEK_API_KEY", "OPENAI_API_KEY", "--url", "--config" } do
        wrong(r, name)
      end
      wrong(ask({ "hi" }, { cwd = dir, env = { DEEPSEEK_API_KEY = "" } }), "DEEPSEEK_API_KEY")
    end)
  end)

  describe("finding whom to ask", function()
    it("takes --config before UNBUSY_CONFIG before ./unbusy.conf.lua", function()
      local function naming(path, name)
        files.write(path, ("return { targets = { { name = %q, url = %q } } }"):format(name, up.url))
      end
      local home = dir .. "/home"
      os.execute("mkdir -p " .. files.quote(home))
      naming(home .. "/unbusy.conf.lua", "here")
      naming(dir .. "/env.lua", "env")
      naming(dir .. "/given.lua", "given")
      local function target(words, env)
        words[#words + 1] = "--json"
        words[#words + 1] = "hi"
        return json.decode(ask(words, { cwd = home, env = env }).out).target
      end
      local env = { UNBUSY_CONFIG = dir .. "/env.lua" }
      assert.equal("here", target({}))
      assert.equal("env", target({}, env))
      assert.equal("given", target({ "--config", dir .. "/given.lua" }, env))
      assert.equal(up.url:match "//(.*)", target({ "--url", up.url }, env))
    end)

    it("sends UNBUSY_KEY to --url and no other key", function()
      ask({ "--url", up.url, "hi" }, { env = { UNBUSY_KEY = "k1", OPENAI_API_KEY = "k2" } })
      assert.same({ k1 = 1 }, up:counts().keys)
      up:reset()
      ask({ "--url", up.url, "hi" }, { env = { OPENAI_API_KEY = "k2" } })
      assert.is_nil(up:counts().keys.k2)
    end)

    it("knows the providers whose keys are in the environment", function()
      -- a proxy that is not there keeps this off the network
      local function with(env, ...)
        env.https_proxy = "http://127.0.0.1:1"
        return ask({ "--deadline", "0.5", "hi", ... }, { cwd = dir, env = env })
      end
      local both = { DEEPSEEK_API_KEY = "k1", OPENAI_API_KEY = "k2" }
      assert.is_truthy(with({ DEEPSEEK_API_KEY = "k" }).err:find "^unbusy: network: deepseek: ")
      assert.is_truthy(with({ OPENAI_API_KEY = "k" }).err:find "^unbusy: network: openai: ")
      assert.is_truthy(with(both).err:find "^unbusy: network: deepseek: ")
      assert.is_truthy(with(both, "--target", "openai").err:find "^unbusy: network: openai: ")
      local r = with({ DEEPSEEK_API_KEY = "k" }, "--target", "openai")
      assert.is_truthy(r.err:find("set OPENAI_API_KEY", 1, true))
      assert.equal(2, r.rc)
      assert.equal(2, with(both, "--target", "other").rc)
    end)

    it("asks the target that is named", function()
      local two = ([[return { targets = { { name = "a", url = "http://127.0.0.1:1" },
        { name = "b", url = %q } } }]]):format(up.url)
      files.write(dir .. "/two.lua", two)
      local r = ask { "--config", dir .. "/two.lua", "--target", "b", "--json", "hi" }
      assert.equal("b", json.decode(r.out).target)
      assert.equal(1, json.decode(r.out).tries)
    end)

    it("leaves the watcher of a configuration at work", function()
      local r = ask { "--config",
        config 'on_event = function(e) io.stderr:write(e.type, " ") end', "hi" }
      assert.equal("echo: hi\n", r.out)
      assert.is_truthy(r.err:find("try", 1, true))
    end)
  end)

  describe("helping", function()
    it("shows help and version on standard output", function()
      local r = unbusy { "--help" }
      assert.equal(0, r.rc)
      local n = 0
      for line in r.out:gmatch "[^\n]+" do
        n = n + 1
        assert.is_true(#line <= 80, line)
      end
      assert.is_true(n <= 24, n .. " lines")
      for _, word in ipairs { "chat", "serve", "diagnose", "help" } do
        assert.is_truthy(r.out:find("\n  unbusy " .. word .. " ", 1, true), word)
      end
      local chat = unbusy { "help", "chat" }
      for _, text in ipairs { "--deadline SECONDS", "UNBUSY_CONFIG", "10 busy", "Examples:" } do
        assert.is_truthy(chat.out:find(text, 1, true), text)
      end
      assert.equal(r.out, unbusy({ "help" }).out)
      assert.equal(unbusy({ "help", "chat" }).out, ask({ "--help" }).out)
      assert.is_truthy(unbusy({ "--version" }).out:find "^unbusy %d+%.%d+%.%d+\n$")
    end)

    it("finds its modules beside it in a clone, through a link, from anywhere", function()
      os.execute(("ln -sf %s/bin/unbusy %s/'my unbusy'"):format(files.quote(top), dir))
      local given = { cwd = "/", program = files.quote(dir .. "/my unbusy"),
        env = { LUA_PATH = false, LUA_CPATH = false } }
      assert.equal(0, unbusy({ "--help" }, given).rc)
    end)
  end)

  describe("its standard output", function()
    it("ends it quietly when the reader goes", function()
      up:programme { answer = { tokens = 200 }, token_interval = 0.01 }
      local line = command { "chat", "--url", up.url, "hi" }
      for _, trap in ipairs { ":", "trap '' PIPE" } do
        local r = shell(("%s; { %s; echo $? >%s/status; } | head -c 4"):format(trap, line, dir))
        assert.same({ out = "echo", err = "", rc = 0 }, r)
        assert.equal(141, tonumber(files.find(dir .. "/status")))
      end
    end)

    it("ends it with a message when it is full", function()
      for _, words in ipairs { { "--help" }, { "chat", "--url", up.url, "hi" },
        { "chat", "--url", up.url, "--json", "hi" } } do
        local r = shell(command(words) .. " >/dev/full")
        assert.equal(1, r.rc)
        assert.equal("unbusy: standard output: No space left on device\n", r.err)
      end
    end)
  end)

  it("ends with 130 on Ctrl-C, without a word", function()
    up:programme { token_interval = 0.05, answer = { tokens = 2000 } }
    -- (A shell has what runs beside it ignore the signal.)
    local r = shell(([[env --default-signal=INT %s >%s/answer & pid=$!
      for i in $(seq 600); do ! grep -qs 'echo: hi' %s/answer || break; sleep 0.05; done
      kill -INT $pid; wait $pid; status=$?; cat %s/answer; (exit $status)]]):format(
      command { "chat", "--url", up.url, "hi" }, dir, dir, dir))
    assert.equal(130, r.rc)
    assert.equal("", r.err)
    assert.is_truthy(r.out:find "^echo: hi.*\n$")
  end)

  describe("on a terminal", function()
    local function shows(screen, pattern)
      assert.is_truthy(screen:find("\r\27%[K127%.0%.0%.1:%d+: " .. pattern), screen)
      assert.is_truthy(screen:find "\r\27%[K$", screen) -- erased in the end
    end

    it("shows the wait for the next try and for the first word", function()
      up:programme { script = { { preset = "busy_503" },
        { preset = "stall_headers", seconds = 1, ending = "answer" } } }
      local r = on_terminal { "chat", "--url", up.url, "hi" }
      assert.equal("echo: hi\n", r.out)
      assert.equal(0, r.rc)
      shows(r.screen, "try 1 of 5: busy, next in %d s")
      shows(r.screen, "try 2 of 5, waiting for the first word %d s")
    end)

    it("tells a server's queue by its keep-alives", function()
      up:programme { script = { { preset = "blank_lines", seconds = 1 } } }
      local r = on_terminal { "chat", "--url", up.url, "--no-stream", "hi" }
      assert.equal("echo: hi\n", r.out)
      shows(r.screen, "waiting for the answer %d s %(keep%-alives: it has queued us%)")
    end)

    it("shows that the model thinks, and its thoughts dimmed when asked to", function()
      up:programme { token_interval = 0.4, answer = { reasoning = true, chunks = 2 } }
      local r = on_terminal { "chat", "--url", up.url, "hi" }
      shows(r.screen, "thinking %d s")
      assert.is_nil(r.screen:find("about", 1, true))
      up:programme { answer = { reasoning = true } }
      r = on_terminal { "chat", "--url", up.url, "--reasoning", "hi" }
      assert.is_truthy(r.screen:find("\27[2mthin\27[22m", 1, true))
      assert.equal("echo: hi\n", r.out)
    end)

    it("erases the line before the answer, and obeys nothing in the answer", function()
      up:programme { latency = 1, answer = { text = "a\27[31mb\7", chunks = 1 } }
      local r = on_terminal({ "chat", "--url", up.url, "hi" }, { all = true })
      assert.is_truthy(r.screen:find "word %d s\r\27%[Ka%[31mb\r\n", r.screen)
    end)

    it("shows nothing with --quiet, nor on a dumb terminal", function()
      up:programme { latency = 0.6 }
      assert.equal("", on_terminal({ "chat", "--quiet", "--url", up.url, "hi" }).screen)
      local r = on_terminal({ "chat", "--url", up.url, "hi" }, { env = { TERM = "dumb" } })
      assert.equal("", r.screen)
      assert.equal("echo: hi\n", r.out)
    end)
  end)
end)
