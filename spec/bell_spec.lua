local core = require "unbusy.core"
local direct = require "spec.support.direct"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"

local jit = package.loaded.jit -- only LuaJIT can open sockets and pipes by itself

-- The threads of this process (it is its child that looks), each with its mask of blocked signals.
local function threads()
  local out = {}
  for mask in files.output("cat /proc/$PPID/task/*/status"):gmatch "SigBlk:%s+(%x+)" do
    out[#out + 1] = mask
  end
  return out
end

local function folders()
  local out = {}
  for path in files.output "ls -d /tmp/unbusy.* 2>/dev/null":gmatch "[^\n]+" do out[path] = true end
  return out
end

-- None has come to stay since `before`: other processes' are there for a moment, too.
local function no_more_folders(before)
  local left = folders()
  for _ = 1, 100 do
    for path in pairs(left) do
      if before[path] then left[path] = nil end
    end
    if not next(left) then return end
    direct.pause(0.05)
    local now = folders()
    for path in pairs(left) do
      if not now[path] then left[path] = nil end
    end
  end
  error("left behind: " .. next(left))
end

describe("the bell", function()
  local e
  before_each(function() e = core.engine() end)
  after_each(function() e:close() end)
  guard.watch(before_each, after_each)

  it("opens a door without a path on any disk, and closes it", function()
    local before = folders()
    local bell = assert(core.bell(e:fd()))
    assert.matches("^/proc/self/fd/%d+$", bell:path())
    no_more_folders(before)
    assert.equal(1, #threads())
    bell:arm()
    bell:ring() -- nobody is there
    bell:heard()
    bell:close()
    bell:close()
    assert.has_error(function() bell:ring() end)
    assert.has_error(function() core.bell() end)
    assert(core.bell(e:fd())) -- and this one is left to the collector
  end)

  it("does not begin before anybody has come, or for a stranger", function()
    local bell = core.bell(e:fd())
    local ok, message, code = bell:begin()
    assert.same({ nil, "bell: the connection failed", "network" }, { ok, message, code })
    assert.not_equal("", bell:path())
    local number = bell:path():match "%d+$"
    local stranger = io.popen(("curl -s --max-time 5 --unix-socket /proc/$PPID/fd/%s http://a/")
      :format(number))
    direct.pause(0.3)
    assert.is_nil((bell:begin()))
    assert.equal("", stranger:read "*a") -- it was sent away
    stranger:close()
    assert.equal(1, #threads())
    bell:close()
  end)

  it("cannot be made of nothing", function()
    local before = folders()
    for _, fd in ipairs { -1, 9999 } do
      assert.equal("network", (select(3, core.bell(fd))))
    end
    core.fail_alloc(1)
    assert.equal("nomem", (select(3, core.bell(e:fd()))))
    core.fail_alloc(0)
    no_more_folders(before)
  end)

  it("hears of no requests outside of nginx", function()
    local ends, _, code = core.ends()
    assert.is_nil(ends)
    assert.equal("invalid", code)
  end)
end)

if not jit then return end

local ffi = require "ffi"
ffi.cdef [[
  struct unbusy_spec_address { unsigned short family; char path[108]; };
  int socket (int domain, int type, int protocol);
  int connect (int fd, const struct unbusy_spec_address *address, unsigned size);
  int pipe2 (int fds[2], int flags);
  long read (int fd, void *to, size_t size);
  long write (int fd, const void *from, size_t size);
  int close (int fd);
  int usleep (unsigned us);
  struct unbusy_spec_limit { unsigned long now, most; };
  int getrlimit (int what, struct unbusy_spec_limit *limit);
  int setrlimit (int what, const struct unbusy_spec_limit *limit);
]]
local C, AF_UNIX, SOCK_STREAM, O_NONBLOCK, RLIMIT_AS = ffi.C, 1, 1, 2048, 9

describe("the bell rings", function()
  local e, bell, fd, fds, before

  local function connect(path)
    local address = ffi.new("struct unbusy_spec_address", AF_UNIX, path)
    local s = C.socket(AF_UNIX, SOCK_STREAM + O_NONBLOCK, 0)
    assert.equal(0, C.connect(s, address, ffi.sizeof(address)))
    return s
  end

  before_each(function()
    e = core.engine()
    fds = ffi.new "int[2]"
    assert.equal(0, C.pipe2(fds, O_NONBLOCK))
    assert(e:listen(fds[0]))
    before = folders()
    bell = core.bell(e:fd())
    fd = connect(bell:path())
    assert(bell:begin())
  end)

  after_each(function()
    C.close(fd)
    bell:close()
    e:close()
    C.close(fds[0])
    C.close(fds[1])
  end)
  guard.watch(before_each, after_each)

  local byte = ffi.new "char[16]"

  -- How many bytes come within so many seconds.
  local function rings(seconds)
    local count, limit = 0, core.now() + seconds
    repeat
      local n = C.read(fd, byte, 16)
      if n > 0 then count = count + tonumber(n) end
      C.usleep(2000)
    until core.now() > limit
    return count
  end

  local function await_ring()
    local limit = core.now() + 30
    while C.read(fd, byte, 1) ~= 1 do
      assert(core.now() < limit, "it does not ring")
      C.usleep(2000)
    end
    bell:heard()
  end

  local function poke()
    assert.equal(1, tonumber(C.write(fds[1], "x", 1)))
  end

  -- (The sanitizers end a process that gets no memory for a thread.)
  local without = os.getenv "UNBUSY_SANITIZED" and pending or it
  without("once there is a thread to be had, if there was none at first", function()
    local open = core.stats().descriptors
    local second = core.bell(e:fd())
    local own = connect(second:path())
    local limit = ffi.new "struct unbusy_spec_limit"
    assert.equal(0, C.getrlimit(RLIMIT_AS, limit))
    local before_that = limit.now
    limit.now = 1e6 -- of memory: a thread's stack gets none
    assert.equal(0, C.setrlimit(RLIMIT_AS, limit))
    local ok, _, code = second:begin()
    limit.now = before_that
    assert.equal(0, C.setrlimit(RLIMIT_AS, limit))
    assert.same({ nil, "nomem" }, { ok, code })
    assert.is_true(second:begin())
    second:close()
    C.close(own)
    assert.equal(open, core.stats().descriptors)
  end)

  it("when a step is due: once, until it is heard and armed", function()
    assert.equal("", bell:path())
    no_more_folders(before)
    poke()
    assert.equal(1, rings(0.3))
    bell:heard()
    e:step()
    assert.is_true(e:heard())
    bell:arm()
    poke()
    await_ring()
  end)

  it("when it was due before it was armed", function()
    poke()
    await_ring()
    poke() -- not armed: nothing, but for the look around every half second
    bell:arm()
    await_ring()
    e:step()
    assert.is_true(e:heard())
    assert.is_false(e:heard())
  end)

  it("when it is told to, once until it is heard", function()
    bell:ring()
    bell:ring()
    assert.equal(1, rings(0.3))
    bell:ring()
    assert.equal(0, rings(0.1))
    bell:heard()
    bell:ring()
    await_ring()
  end)

  it("every half second, so that the host can look around", function()
    await_ring()
    await_ring()
  end)

  it("in a thread that no signal reaches, and that ends with it", function()
    local tries, all = 0
    repeat -- one that has just begun still has all of them blocked
      C.usleep(1000)
      all, tries = threads(), tries + 1
      assert.equal(2, #all)
      table.sort(all)
    until all[2] ~= "fffffffffffbfeff" or tries > 5000
    assert.equal("fffffffe7ffbfeff", all[2]) -- all but KILL and STOP, and two of the C library's
    bell:close()
    assert.equal(1, #threads())
    bell = core.bell(e:fd()) -- one that was never begun
  end)

  it("for nobody when the host has gone", function()
    C.close(fd)
    bell:ring()
    bell:ring()
    poke()
    C.usleep(50000)
    bell:arm()
    bell:close()
    fd = -1
    bell = core.bell(e:fd())
  end)

  it("and the engine no longer listens to what it was told to leave", function()
    e:ignore(fds[0])
    poke()
    e:step()
    assert.is_false(e:heard())
    assert.is_nil((e:listen(9999)))
  end)
end)
