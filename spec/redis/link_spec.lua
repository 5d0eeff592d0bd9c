-- The link in C, by itself: real servers, dead ones, and one that speaks garbage.
local core = require "unbusy.core"
local core_redis = require "unbusy.core_redis"
local files = require "spec.support.files"
local garbage = require "spec.support.garbage"
local guard = require "spec.support.leak_guard"
local lfs = require "lfs"
local process = require "spec.support.fork"
local redis_server = require "spec.support.redis_server"

local PATIENCE = 60 -- seconds

local PRINTS = [[
local link = require("unbusy.core_redis").link { path = %q, port = 6379, database = 0,
  prefix = "t:", most = 1048576 }
assert(link:begin())
local id = assert(link:get("k"))
while link:look() > 0 do link:step() end
local found = link:entry(id, "k") == "v"
for _, stream in ipairs { io.stdout, io.stderr } do
  stream:write "FLUSHALL\r\n"
  stream:flush()
end
assert(link:get("k"))
while link:look() > 0 do link:step() end
local file = io.open(arg[1], "w")
file:write(found and "yes" or "no")
file:close()
]]

local function threads()
  local n = 0
  for _ in lfs.dir "/proc/self/task" do n = n + 1 end
  return n
end

local function new(path, more)
  local o = { path = path, port = 6379, database = 0, prefix = "t:", most = 1048576 }
  for k, v in pairs(more or {}) do o[k] = v end
  local link = assert(core_redis.link(o))
  return link
end

local function begun(path, more)
  local link = new(path, more)
  assert(link:begin())
  return link
end

-- Works until nothing is under way.
local function work(link)
  local limit = core.now() + PATIENCE
  while link:look() > 0 do
    assert(core.now() < limit, "it hangs")
    process.readable(link:descriptor(), 1)
    link:step()
  end
end

local function fetch(link, key)
  local id = assert(link:get(key))
  work(link)
  return link:entry(id, key)
end

local function store(link, key, value, more)
  more = more or {}
  local id = assert(link:set(key, value, more.ttl or 10, more.life or 100,
    more.stored or core.wall(), more.tags))
  work(link)
  return link:take(id)
end

describe("a link to a Redis server", function()
  guard.watch(before_each, after_each)
  local server
  setup(function() server = redis_server.start { port = true } end)
  teardown(function() server:stop() end)
  before_each(function() server:cli "FLUSHALL" end)

  it("keeps an entry with all that belongs to it", function()
    local link, key = begun(server.path), core.key("chat", { a = 1 })
    assert.same({ true, "OK" }, { store(link, key, "value\0\r\n", { ttl = 7, stored = 12345.5,
      tags = { "model:m", "" } }) })
    assert.same({ "value\0\r\n", 12345.5, 7, { "model:m", "" } }, { fetch(link, key) })
    assert.same({ nil, "miss" }, { fetch(link, core.key("chat", { a = 2 })) })
    link:close()
  end)

  -- A line that such a process prints, an answer's too, was a command of Redis.
  for _, closed in ipairs { "<&- >&-", "<&- 2>&-", "<&- >&- 2>&-" } do
    it("is none of the standard streams of a process that has none: " .. closed, function()
      local script = os.tmpname()
      files.write(script, PRINTS:format(server.path))
      local link = begun(server.path)
      store(link, "k", "v")
      link:close()
      os.execute(("%s %s %s </dev/null >/dev/null 2>/dev/null %s"):format(
        os.getenv "UNBUSY_LUA" or "lua5.4", files.quote(script), files.quote(script .. ".done"),
        closed))
      assert.equal("yes", files.read(script .. ".done"))
      assert.equal("1", server:cli "DBSIZE")
      os.remove(script)
      os.remove(script .. ".done")
    end)
  end

  it("takes values of 0 bytes and of all there may be, and none that are longer", function()
    local link = begun(server.path, { most = 300000 })
    for _, value in ipairs { "", ("x"):rep(300000 - 1) } do
      assert.is_true((store(link, "k", value)))
      assert.equal(value, (fetch(link, "k")))
    end
    assert.equal("invalid", select(3, link:set("k", ("x"):rep(300000), 1, 1, 0)))
    link:close()
  end)

  it("takes keys of a million bytes", function()
    local link, key = begun(server.path, { most = 2000000 }), core.key(("k"):rep(1000000), 1)
    assert.is_true((store(link, key, "v")))
    assert.equal("v", (fetch(link, key)))
    link:close()
  end)

  it("lets Redis forget an entry after its life", function()
    local link = begun(server.path)
    store(link, "k", "v", { life = 50 })
    local left = tonumber(server:cli("PTTL " .. server:cli "KEYS '*'"))
    assert.is_true(left > 0 and left <= 50000)
    link:close()
  end)

  it("calls an entry by a hash: neither key nor prompt", function()
    local link = begun(server.path)
    store(link, "a secret question", "v")
    assert.truthy(server:cli "KEYS '*'":find "^t:%x+$")
    assert.equal(2 + 32, #server:cli "KEYS '*'")
    link:close()
  end)

  it("compares whole keys, and finds what is torn", function()
    local link = begun(server.path)
    store(link, "k", "value")
    local name = server:cli "KEYS '*'"
    store(link, "other", "value")
    local other = server:cli("KEYS '*'"):gsub(name, ""):gsub("%s", "")
    server:cli(("COPY %s %s REPLACE"):format(other, name))
    assert.same({ nil, "other" }, { fetch(link, "k") })
    for _, change in ipairs { "SETRANGE %s 60 x", "APPEND %s x", "SET %s ubc", "SET %s ''",
      "SETRANGE %s 3 x", "SETRANGE %s 32 xxxx" } do
      store(link, "k", ("value"):rep(10))
      assert.equal("value", (fetch(link, "k")):sub(1, 5))
      server:cli(change:format(name))
      assert.same({ nil, "torn" }, { fetch(link, "k") }, change)
    end
    server:cli("DEL " .. name)
    server:cli("LPUSH " .. name .. " x")
    assert.same({ nil, "error", "WRONGTYPE" }, { fetch(link, "k") })
    link:close()
  end)

  it("answers many at once, each with its own", function()
    local link, ids = begun(server.path), {}
    for i = 1, 500 do link:forget(assert(link:set("k" .. i, "v" .. i, 10, 100, 0))) end
    for i = 1, 500 do ids[i] = assert(link:get("k" .. i)) end
    for i = 2, 500, 2 do link:forget(ids[i]) end
    work(link)
    local named = {}
    for id in link.next, link do named[#named + 1] = id end
    assert.equal(250, #named)
    for i = 1, 499, 2 do assert.equal("v" .. i, (link:entry(ids[i], "k" .. i))) end
    assert.same({ nil, "failed", "cancelled" }, { link:entry(ids[2], "k2") })
    assert.same({ nil, "failed", "cancelled" }, { link:entry(ids[1], "k1") })
    link:close()
  end)

  it("goes by an address, a name, a database", function()
    for _, host in ipairs { "127.0.0.1", "localhost" } do
      local link = core_redis.link { host = host, port = server.port, database = 3, prefix = "t:",
        most = 1000 }
      assert(link:begin())
      assert.is_true((store(link, "k", "v")))
      assert.equal("v", (fetch(link, "k")))
      assert.equal("1", server:cli("DBSIZE", "-n 3"))
      link:close()
    end
  end)

  it("fails where there is nobody, and where there is no such name", function()
    local before = threads()
    local link = begun(server.dir .. "/nobody")
    assert.equal("network", select(3, link:get "k"))
    link:close()
    link = assert(core_redis.link { host = "nobody.invalid", port = 1, database = 0, prefix = "t:",
      most = 1000 })
    link:begin()
    assert.same({ nil, "failed", "network" }, { fetch(link, "k") })
    assert.same({ "network", false }, { link:lost() })
    link:close()
    link = assert(core_redis.link { host = "nobody.invalid", port = 1, database = 0, prefix = "t:",
      most = 1000 })
    link:begin()
    link:get "k"
    link:close() -- while the name is looked up
    for _ = 1, 6000 do -- by a thread, which has descriptors of its own
      if threads() == before then return end
      process.nap(10000)
    end
    error "the thread never ends"
  end)

  it("says when a connection was lost, and makes another one", function()
    local link = begun(server.path)
    store(link, "k", "v")
    assert.is_nil(link:lost())
    server:cli "CLIENT KILL TYPE normal"
    local id = link:get "k"
    work(link)
    if id then assert.same({ nil, "failed", "network" }, { link:take(id) }) end
    assert.same({ "network", true }, { link:lost() })
    assert.is_nil(link:lost())
    assert.equal("v", (fetch(link, "k")))
    link:drop()
    assert.same({ "timeout", true }, { link:lost() })
    assert.equal("v", (fetch(link, "k")))
    link:close()
  end)

  it("ends what is under way when it is dropped or closed", function()
    local link = begun(server.path)
    store(link, "k", "v")
    server:freeze()
    local id = link:get "k"
    assert.same({ nil, "late" }, { link:entry(id, "k") })
    link:drop()
    assert.same({ nil, "failed", "timeout" }, { link:entry(id, "k") })
    link:get "k"
    link:close()
    link:close()
    server:thaw()
    assert.has_error(function() link:get "k" end)
    assert.is_false(link:owned())
    assert.is_nil(link:descriptor())
  end)

  it("gives commands and all kinds of replies", function()
    local link = begun(server.path)
    local function say(...)
      local id = assert(link:command { ... })
      work(link)
      return link:take(id)
    end
    assert.same({ true, "PONG" }, { say "PING" })
    assert.same({ true, 1 }, { say("INCR", "n") })
    assert.same({ true, false }, { say("GET", "none") })
    assert.same({ true, { "1", false, "1" } }, { say("MGET", "n", "none", "n") })
    assert.same({ true, {} }, { say("KEYS", "none") })
    assert.same({ nil, "error", "ERR" }, { say("NONSENSE", "a secret") })
    link:close()
  end)

  it("of a parent's is let go of in a child, and both go on", function()
    local link = begun(server.path)
    store(link, "k", "v")
    local id = link:get "k"
    local path = os.tmpname()
    local pid = process.fork()
    if pid == 0 then
      local ok, message = pcall(function()
        assert(not link:owned() and link:descriptor() == nil)
        assert(select(3, link:get "k") == "closed")
        assert(link:begin())
        assert(fetch(link, "k") == "v")
        link:close()
      end)
      local file = io.open(path, "wb")
      file:write(ok and "fine" or tostring(message))
      file:close()
      process.leave()
    end
    process.wait(pid)
    local file = io.open(path, "rb")
    assert.equal("fine", file:read "*a")
    file:close()
    os.remove(path)
    work(link)
    assert.equal("v", (link:entry(id, "k")))
    assert.equal("v", (fetch(link, "k")))
    assert.is_nil(link:lost())
    link:close()
  end)

  it("leaves nothing when memory is short, wherever that is", function()
    local failed = 0
    for n = 1, 40 do
      local link = begun(server.path)
      store(link, "k", "v")
      core_redis.fail_alloc(n)
      local id = link:get "k"
      if id then
        work(link)
        local value, kind, code = link:entry(id, "k")
        if not value then assert.same({ "failed", "nomem" }, { kind, code }) end
      end
      if core_redis.fail_alloc(0) == 0 then failed = failed + 1 end
      assert.equal("v", (fetch(link, "k"))) -- by a new connection, where the old one was lost
      link:close()
    end
    assert.is_true(failed > 0 and failed < 40)
  end)
end)

describe("a link to a Redis server with a password", function()
  guard.watch(before_each, after_each)
  local server
  setup(function()
    server = redis_server.start {
      args = "--requirepass s3cret --user ann on '>pa:ss' '~t:*' +@all" }
  end)
  teardown(function() server:stop() end)

  it("is let in with it, and with a user's own", function()
    for _, who in ipairs { { password = "s3cret" }, { user = "ann", password = "pa:ss" } } do
      local link = begun(server.path, who)
      assert.is_true((store(link, "k", "v")))
      assert.equal("v", (fetch(link, "k")))
      link:close()
    end
  end)

  it("is not let in without, or with a wrong one", function()
    local link = begun(server.path)
    assert.same({ nil, "error", "NOAUTH" }, { fetch(link, "k") })
    link:close()
    link = begun(server.path, { password = "wrong" })
    local value, kind = fetch(link, "k")
    assert.is_nil(value)
    assert.truthy(kind == "error" or kind == "failed")
    assert.same({ "auth", false }, { link:lost(), false })
    link:close()
  end)
end)

describe("a link to a server that speaks garbage", function()
  guard.watch(before_each, after_each)
  local server
  setup(function() server = garbage.start() end)
  teardown(function() server:stop() end)

  -- What becomes of a read, when that is said; it never hangs, and never ends this process.
  local function told(mode, bytes, more)
    server:says(mode, bytes)
    local link = begun(server.path, more or { most = 100000 })
    local result = { fetch(link, "k") }
    for _ = 1, 20 do link:step() end
    local lost = link:lost()
    link:close()
    return result, lost
  end

  it("ends the connection at what is no answer", function()
    for _, bytes in ipairs { "hello\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "\0\0\0\0", "$x\r\n",
      "*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n", "$-5\r\n", "*-5\r\n",
      "$99999999999999999999\r\n" } do
      local result, lost = told("c", bytes)
      assert.same({ nil, "failed" }, { result[1], result[2] }, bytes)
      assert.is_string(lost)
    end
  end)

  it("takes no list that is too long, and no reply either", function()
    for _, bytes in ipairs { "*2147483647\r\n", "*4294967297\r\n" } do
      assert.equal("failed", (told("c", bytes))[2])
    end
    assert.same({ nil, "failed", "upstream" }, (told("f", "$400000000\r\n" .. ("x"):rep(100000))))
    assert.same({ nil, "failed", "upstream" }, (told("f", ("+xxxxxxx"):rep(10000))))
  end)

  it("takes no list that takes too much memory, however short what is unread of it", function()
    local numbers, text = (":1\r\n"):rep(4096), "$100\r\n" .. ("x"):rep(100) .. "\r\n"
    for _, bytes in ipairs { "*4096\r\n" .. ("*4096\r\n" .. numbers):rep(50),
      "*65536\r\n" .. text:rep(9000),
      "*9\r\n*65536\r\n*65536\r\n*65536\r\n:1\r\n" } do
      assert.same({ nil, "failed", "upstream" }, (told("c", bytes)))
    end
    assert.same({ nil, "nonsense" }, (told("k", "*2\r\n" .. ("*4096\r\n" .. numbers):rep(2))))
  end)

  it("knows why it was not let in", function()
    for error, code in pairs {
      ["WRONGPASS invalid username-password pair or user is disabled."] = "auth",
      ["NOAUTH Authentication required."] = "auth", ["ERR invalid password"] = "auth",
      ["ERR Client sent AUTH, but no password is set"] = "auth",
      ["ERR max number of clients reached"] = "busy",
      ["ERR max number of clients + cluster connections reached"] = "busy",
      ["LOADING Redis is loading the dataset in memory"] = "upstream",
      ["MASTERDOWN Link with MASTER is down"] = "upstream" } do
      local result, lost = told("c", "-" .. error .. "\r\n", { password = "s3cret" })
      assert.same({ nil, "failed", code }, result, error)
      assert.equal(code, lost)
    end
    for error, code in pairs { ["ERR DB index is out of range"] = "invalid",
      ["NOAUTH Authentication required."] = "auth", ["BUSY Redis is busy"] = "upstream",
      ["ERR max number of clients reached"] = "busy" } do
      assert.equal(code, (told("c", "-" .. error .. "\r\n", { database = 3 }))[3], error)
    end
    assert.same({ nil, "error", "ERR max number of clients" },
      (told("c", "-ERR max number of clients reached\r\n")))
  end)

  it("gives what is no answer to what was asked as nonsense", function()
    for _, bytes in ipairs { "+OK\r\n", ":1\r\n", "*0\r\n", "*1\r\n$1\r\nx\r\n",
      "*2\r\n:1\r\n*1\r\n$-1\r\n" } do
      assert.same({ nil, "nonsense" }, (told("k", bytes)), bytes)
    end
    assert.same({ nil, "torn" }, (told("k", "$5\r\nhello\r\n")))
    assert.same({ nil, "error", "ERR" }, (told("k", "-s3cret password\r\n")))
    assert.same({ nil, "error", "MOVED" }, (told("k", "-MOVED 1 10.0.0.1:6379\r\n")))
    assert.same({ nil, "error", "LOADING" }, (told("k", "-LOADING Redis is loading\r\n")))
  end)

  it("ends the connection at an answer that nobody has asked for", function()
    local result, lost = told("k", "$-1\r\n+OK\r\n")
    assert.same({ nil, "miss" }, result)
    assert.equal("upstream", lost)
    for _, bytes in ipairs { "+OK\r\n", "-ERR max number of clients reached\r\n", ":1\r\n",
      "*1\r\n+x\r\n", "$-1\r\n" } do
      server:says("g", bytes)
      local link = begun(server.path)
      local id = link:get "k" -- the greeting may be taken for its answer
      work(link)
      if id then link:take(id) end
      link:close()
    end
  end)

  it("sees a connection that is closed in mid-answer", function()
    assert.same({ nil, "failed", "network" }, (told("c", "$5\r\nhel")))
    assert.same({ nil, "failed", "network" }, (told("c", "")))
  end)
end)
