-- What `unbusy serve` refuses to start, and the configuration it writes.
local address = require "unbusy.cli.address"
local files = require "spec.support.files"
local nginx_conf = require "unbusy.cli.nginx_conf"
local regions = require "spec.support.regions"
local served = require "spec.support.served"
local workers = require "unbusy.gateway.workers"

local quote = files.quote

local function succeeds(line)
  local ok = os.execute(line .. " >/dev/null 2>&1")
  return ok == true or ok == 0
end

local TARGET = "targets = { { name = 'up', url = 'http://127.0.0.1:1' } }"

describe("unbusy serve", function()
  local place

  before_each(function() place = served.place() end)
  after_each(function() place:remove() end)

  local function config(more)
    return place:write("gw.lua", ("return { %s, %s }"):format(TARGET, more or ""))
  end

  -- One line on standard error, a status, nothing else.
  local function refuses(status, text, words, given)
    local before = place:folders()
    local r = place:serve(words, given)
    assert.is_truthy(r.err:find(text, 1, true), r.err)
    assert.is_truthy(r.err:find "^unbusy: [^\n]*\n$", r.err)
    assert.same({ out = "", rc = status }, { out = r.out, rc = r.rc })
    assert.equal(before, place:folders())
  end

  local function printed(words, given)
    table.insert(words, 1, "--print-conf")
    local r = place:serve(words, given)
    assert.same({ err = "", rc = 0 }, { err = r.err, rc = r.rc })
    return r.out
  end

  describe("refuses", function()
    it("wrong arguments", function()
      local file = config()
      for _, case in ipairs {
        { "--listen: an IP address and a port", "--listen", "example.com:80", file },
        { "--listen: an IP address and a port", "--listen", "127.0.0.1:8080; }", file },
        { "--listen: an IP address and a port", "--listen", "0", file },
        { "--workers: a number from 1 to 1024, or auto", "--workers", "0", file },
        { "--workers: a number from 1 to 1024, or auto", "--workers", "two", file },
        { "--drain: a number at least 0", "--drain", "-1", file },
        { "--cert and --key go together", "--cert", file, file },
        { "--cert: cannot read /does/not/exist", "--cert", "/does/not/exist", "--key", file, file },
        { "--prefix goes with --print-conf", "--prefix", "/tmp", file },
        { "did you mean '--listen'?", "--lisen", "1", file },
        { "one configuration file expected, got 2", file, file },
        { "a configuration file expected" },
      } do
        refuses(2, table.remove(case, 1), case)
      end
    end)

    it("a wrong configuration, with its name and what is wrong", function()
      for text, message in pairs {
        ["return {"] = "unexpected symbol", ["return 1"] = "it must return a table",
        ["error 'boo'"] = "boo", ["return { targts = {} }"] = "did you mean 'targets'?",
        ["return { targets = {} }"] = "targets",
        [("return { %s, gateway = { kys = {} } }"):format(TARGET)] = "did you mean",
        [("return { %s, gateway = 1 }"):format(TARGET)] = "gateway: table expected",
      } do
        local path = place:write("bad.lua", text)
        refuses(2, path, { path })
        refuses(2, message, { "--print-conf", path })
      end
      refuses(2, "cannot read /does/not/exist.lua", { "/does/not/exist.lua" })
    end)

    it("an address that others can reach, when there are no client keys", function()
      local path = config()
      for _, where in ipairs { "*:8080", "0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080" } do
        refuses(2, "the configuration has no client keys",
          { "--print-conf", "--listen", where, path })
      end
      refuses(2, "or --open to serve everybody", { "--listen", "*:8080", path })
      local open = printed { "--listen", "*:8080", "--open", path }
      assert.is_truthy(open:find("listen 0.0.0.0:8080", 1, true))
      path = config "gateway = { keys = { 'sk-1' } }"
      local text = printed { "--listen", "*:8080", path }
      assert.is_nil(text:find("sk-1", 1, true))
    end)

    it("an address that is taken", function()
      local server = served.start(place, { config() })
      refuses(1, ("%s is taken by another program (--listen)"):format(server.address),
        { "--listen", server.address, config() })
      refuses(1, "is taken by another program",
        { "--open", "--listen", "*:" .. server.port, config() })
    end)

    it("an nginx that is not there, is none, or runs no Lua", function()
      local path = config()
      refuses(1, "/does/not/exist: no such program", { "--nginx", "/does/not/exist", path })
      refuses(1, "is no nginx", { "--nginx", "/bin/true", path })
      local fake = place:write("nginx", "#!/bin/sh\n"
        .. "echo 'nginx version: nginx/1.22.1' >&2\n"
        .. "echo 'configure arguments: --modules-path=/does/not/exist' >&2\n")
      os.execute("chmod 755 " .. quote(fake))
      refuses(1, "runs no Lua: there is no /does/not/exist/ndk_http_module.so (Debian: apt-get "
        .. "install nginx-light libnginx-mod-http-lua lua-resty-core)", { "--nginx", fake, path })
    end)

    it("to work without a core for LuaJIT", function()
      local dir = quote(place.dir)
      os.execute(("mkdir -p %s/tree %s/only/unbusy && cp -R bin lua %s/tree/ "
        .. "&& cp build/lua5.4/unbusy/core.so %s/only/unbusy/"):format(dir, dir, dir, dir))
      local lua = place.dir .. "/tree/lua"
      local given = { program = place.dir .. "/tree/bin/unbusy", env = {
        LUA_PATH = ("%s/?.lua;%s/?/init.lua;;"):format(lua, lua),
        LUA_CPATH = place.dir .. "/only/?.so;;" } }
      if not succeeds "test -e /usr/local/lib/lua/5.1/unbusy/core.so" then
        refuses(1, "there is no core of unbusy for it: make install", { config() }, given)
      end
      os.execute(("mkdir -p %s/tree/build && cp -R build/luajit %s/tree/build/"):format(dir, dir))
      printed({ config() }, given)
    end)

    it("a user who may not read unbusy, or is none", function()
      if files.trimmed "id -u" ~= "0" then
        return refuses(2, "only root can be somebody else", { "--user", "nobody", config() })
      end
      refuses(2, "there is no user nosuchuser", { "--user", "nosuchuser", config() })
      refuses(2, "there is no user a;b", { "--user", "a;b", config() })
      os.execute(("mkdir -p %s/tree/build && cp -R bin lua %s/tree/ && "
        .. "cp -R build/lua5.4 build/luajit %s/tree/build/ && chmod 700 %s/tree"):gsub("%%s",
        quote(place.dir)))
      refuses(2, "nobody may not read", { "--user", "nobody", config() },
        { program = place.dir .. "/tree/bin/unbusy" })
    end)
  end)

  describe("--print-conf", function()
    it("prints what nginx takes, and no value of the environment", function()
      place:write("gw.lua", ([[return { %s, fallback = os.getenv "MY_TEXT" }]]):format(TARGET))
      for _, lua in ipairs { "lua5.4", "luajit" } do
        local text = printed({ "--prefix", "pre", "gw.lua" }, { lua = lua,
          env = { UP_API_KEY = "sk-very-secret", MY_TEXT = "very private" } })
        assert.is_nil(text:find "very")
        for _, name in ipairs { "UP_API_KEY", "MY_TEXT", "https_proxy", "SSL_CERT_FILE" } do
          assert.is_truthy(text:find(("\nenv %s;\n"):format(name), 1, true), name)
        end
        for _, line in ipairs { "daemon off;", "server_tokens off;", "lua_check_client_abort on;",
          "lua_socket_log_errors off;", "listen 127.0.0.1:8080 so_keepalive" } do
          assert.is_truthy(text:find(line, 1, true), line)
        end
        os.execute("mkdir -p " .. quote(place.dir .. "/pre"))
        local path = place:write("nginx.conf", text)
        assert.equal("", files.trimmed(("nginx -t -q -e stderr -c %s 2>&1"):format(quote(path))))
      end
    end)

    it("leaves no memory behind that the workers would share", function()
      local path = config()
      printed { path }
      assert.is_false(regions.exists(workers.region({}, path).name))
    end)

    it("leaves files and the foreground to whoever runs nginx", function()
      local text = printed { config() }
      assert.is_nil(text:find "daemon" or text:find "\npid" or text:find "_temp_path")
      if files.trimmed "id -u" == "0" then
        local path = place:write("nginx.conf", text)
        assert.equal("", files.trimmed(("nginx -t -q -c %s 2>&1"):format(quote(path))))
      end
    end)

    it("takes the file from UNBUSY_CONFIG or unbusy.conf.lua, too", function()
      os.rename(config(), place.dir .. "/other.lua")
      assert.is_truthy(printed({}, { env = { UNBUSY_CONFIG = "other.lua" } })
        :find(place.dir .. "/other.lua", 1, true))
      os.rename(place.dir .. "/other.lua", place.dir .. "/unbusy.conf.lua")
      assert.is_truthy(printed {}:find(place.dir .. "/unbusy.conf.lua", 1, true))
    end)

    it("runs in any nginx: what it prints answers", function()
      local port = served.free_port()
      local text = printed { "--listen", tostring(port), "--workers", "1", "--prefix", ".",
        config "fallback = 'later', retry = { attempts = 1 }" }
      local path = place:write("nginx.conf", text)
      local pipe = io.popen(("exec nginx -e stderr -p %s -c %s 2>/dev/null >&2"):format(
        quote(place.dir), quote(path)))
      local function body()
        return files.trimmed(("curl -q -s --noproxy '*' http://127.0.0.1:%d/v1/chat/completions "
          .. "-H 'content-type: application/json' -d '%s'"):format(port,
          '{"model":"m","messages":[{"role":"user","content":"hi"}]}'))
      end
      served.wait(function() return body():find("later", 1, true) end, "the fallback text")
      os.execute("kill $(cat " .. quote(place.dir .. "/nginx.pid") .. ")")
      pipe:close()
    end)
  end)

  describe("installed", function()
    for _, lua in ipairs { "lua5.4", "luajit" } do
      it("serves from where it is: " .. lua, function()
        local prefix = place.dir .. "/usr"
        for _, name in ipairs { "lua5.4", "luajit" } do
          assert.is_true(succeeds(("make -s copy LUA=%s PREFIX=%s"):format(name, quote(prefix))))
        end
        local abi = lua == "luajit" and "5.1" or "5.4"
        local share = prefix .. "/share/lua/" .. abi
        local env = { LUA_PATH = ("%s/?.lua;%s/?/init.lua;;"):format(share, share),
          LUA_CPATH = ("%s/lib/lua/%s/?.so;;"):format(prefix, abi) }
        local words = { config "fallback = 'later', retry = { attempts = 1 }" }
        local server = served.start(place, words,
          { lua = lua, program = prefix .. "/bin/unbusy", env = env })
        assert.is_truthy(server:chat "hi":find("later", 1, true))
        assert.is_truthy(files.trimmed("cat " .. quote(place.tmp) .. "/*/nginx.conf")
          :find(prefix .. "/lib/lua/5.1/?.so", 1, true))
      end)
    end
  end)
end)

describe("an address", function()
  it("is an IP address and a port", function()
    for text, wanted in pairs { ["8080"] = "127.0.0.1:8080", ["localhost:1"] = "127.0.0.1:1",
      ["127.9.9.9:65535"] = "127.9.9.9:65535", ["[::1]:80"] = "[::1]:80" } do
      local where = address.read(text)
      assert.equal(wanted, where.text)
      assert.is_true(where.loopback)
    end
    for text, wanted in pairs { ["*:80"] = "0.0.0.0:80", ["10.0.0.1:80"] = "10.0.0.1:80",
      ["[fe80::1]:80"] = "[fe80::1]:80" } do
      local where = address.read(text)
      assert.equal(wanted, where.text)
      assert.is_false(where.loopback)
    end
    for _, text in ipairs { "", "0", "65536", "80 ", "1.2.3:80", "1.2.3.256:80", "::1:80", "[]:80",
      "[1]:80", "a:80", "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:80;", "127.0.0.1:80\n" } do
      assert.is_nil(address.read(text), text)
    end
  end)
end)

describe("a word of nginx.conf", function()
  it("is quoted, or cannot be written", function()
    assert.equal('"/a b;{}#/c"', nginx_conf.word "/a b;{}#/c")
    for _, text in ipairs { 'a"b', "a'b", "a\\b", "a$b", "a\nb", "a\0b" } do
      assert.is_nil(nginx_conf.word(text))
    end
  end)
end)
