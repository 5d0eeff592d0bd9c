-- A cache in a file of its own: it outlives processes, kills and reboots.
local cache = require "unbusy.cache"
local chance = require "spec.support.random"
local counters = require "unbusy.counters"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local process = require "spec.support.fork"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local KILLED = 9
local BOOT = 24 -- where the file says of which boot it is
local PAGE = 4096

local path, remove

local function open(more)
  local o = { path = path, entries = 200, bytes = 2 ^ 20, ttl = 1000 }
  for name, value in pairs(more or {}) do o[name] = value end
  return cache.new(o)
end

-- A value that shows whether it is whole.
local function value_of(k, n) return ("%d:%d;"):format(k, n):rep(1 + (k * 37 + n) % 400) end

local function number_in(k, value)
  local n = value:match("^" .. k .. ":(%d+);")
  return n and value == value_of(k, tonumber(n)) and tonumber(n) or nil
end

local function with_bytes(file, at, bytes)
  return file:sub(1, at) .. bytes .. file:sub(at + #bytes + 1)
end

-- The machine has been started anew since.
local function reboot(file)
  regions.write(path, with_bytes(file or files.read(path), BOOT, ("another boot id!"):sub(1, 16)))
end

-- The file with so many bytes changed behind its head.
local function broken(file, random, count)
  local places, pieces, last = {}, {}, 0
  for i = 1, count do places[i] = PAGE * 8 + random:int(#file - PAGE * 8 - 8) end
  table.sort(places)
  for _, at in ipairs(places) do
    if at > last then
      pieces[#pieces + 1] = file:sub(last + 1, at - 1) .. string.char(random:int(255))
      last = at
    end
  end
  return table.concat(pieces) .. file:sub(last + 1)
end

describe("a cache in a file", function()
  local writers

  local function end_all()
    for w, pid in pairs(writers) do
      process.kill(pid, KILLED)
      process.wait(pid)
      writers[w] = nil
    end
  end

  after_each(function()
    end_all()
    regions.collect()
    remove()
  end)
  guard.watch(before_each, after_each)
  before_each(function()
    path, remove = regions.path()
    writers = {}
  end)

  it("is there for the next process, and for others at the same time", function()
    local c = assert(open())
    c:set("k", "v", nil, { "t" })
    assert.equal("v\n", regions.run(([[
      local c = require "unbusy.cache".new { path = %q, entries = 200, bytes = 2 ^ 20, ttl = 1000 }
      print((c:get "k"))
      c:set("other", "w")]]):format(path)))
    assert.equal("w", (c:get "other"))
    c:close()
    local d = assert(open())
    local value, state, age = d:get "k"
    assert.same({ "v", "fresh" }, { value, state })
    assert.is_true(age >= 0 and age < 1000)
    assert.equal(0, d:stats().rebuilt)
    assert.equal(1, d:purge "t")
    d:close()
  end)

  it("gets its times from who opened it last", function()
    local c = assert(open { ttl = 1000, stale = 0 })
    c:set("k", "v", 0)
    assert.is_nil(c:get "k")
    c:set("k", "v", 0)
    local d = assert(open { ttl = 5, stale = 50 })
    assert.equal("stale", select(2, d:get "k"))
    c:set("l", "v")
    assert.is_true(select(4, c:next()).ttl <= 5 or select(4, c:next(1)).ttl <= 5)
    c:close()
    d:close()
  end)

  it("goes by wall time, and takes what is of the future for stale", function()
    local time = 1e9
    local c = assert(open { ttl = 100, stale = 50, clock = function() return time end })
    c:set("k", "v")
    time = time + 99
    assert.same({ "v", "fresh", 99 }, { c:get "k" })
    time = time - 99.5 -- a clock that is set a little
    assert.same({ "v", "fresh", 0 }, { c:get "k" })
    time = time - 1000
    assert.same({ "v", "stale", 0 }, { c:get "k" })
    c:set("k", "w")
    assert.same({ "w", "fresh", 0 }, { c:get "k" })
    time = time + 1e6
    assert.is_nil(c:get "k")
    c:close()
    local own = assert(open())
    own:set("now", "v")
    own:close()
    local later = assert(open { clock = function() return os.time() + 10 end })
    local _, state, age = later:get "now"
    assert.equal("fresh", state)
    assert.is_true(age >= 8.9 and age < 1000) -- (os.time may be a few milliseconds late)
    later:close()
  end)

  describe("after a reboot", function()
    local function filled(count)
      local c = assert(open())
      for k = 1, count do assert(c:set(tostring(k), value_of(k, k), nil, { "t" .. k % 2 })) end
      return c
    end

    it("has all that was in it", function()
      filled(150):close()
      reboot()
      local c = assert(open())
      for k = 1, 150 do assert.equal(k, number_in(k, (c:get(tostring(k))))) end
      assert.equal(1, c:stats().rebuilt)
      assert.equal(75, c:purge "t1")
      c:close()
      c = assert(open())
      assert.equal(75, c:stats().entries)
      assert.equal(1, c:stats().rebuilt)
      c:close()
    end)

    it("that came in the middle of one, too", function()
      filled(150):close()
      reboot()
      local file = files.read(path)
      for n = 1, os.getenv "UNBUSY_KILLS" and 8 or 4 do
        regions.write(path, file)
        local pid = process.fork()
        if pid == 0 then
          process.step(n * n * n * 500, function() open() end)
          process.leave()
        end
        process.wait(pid)
        local c = assert(open())
        for k = 1, 150 do assert.equal(k, number_in(k, (c:get(tostring(k))))) end
        c:close()
      end
    end)

    it("has nothing that is torn, whichever pages were written last", function()
      local random = chance.new(chance.seed(7))
      local c = filled(150)
      local older = files.read(path)
      for k = 50, 190 do c:set(tostring(k), value_of(k, k + 1000)) end
      for k = 1, 20 do c:delete(tostring(k)) end
      c:close()
      local newer, seen = files.read(path), 0
      for _ = 1, 30 do
        local pages = {}
        local share = random:float()
        for at = 1, #newer, PAGE do
          pages[#pages + 1] = (random:chance(share) and older or newer):sub(at, at + PAGE - 1)
        end
        reboot(table.concat(pages))
        local d = assert(open())
        for k = 1, 200 do
          local value = d:get(tostring(k))
          if value then
            seen = seen + 1
            assert.is_truthy(number_in(k, value), "torn: " .. k)
          end
        end
        for k = 1, 200 do -- all room can be had
          d:set(tostring(k), value_of(k, 5000 + k))
        end
        local s = d:stats()
        assert.is_true(s.entries <= 200 and s.bytes <= 2 ^ 20)
        assert.is_true(d:set("large", ("x"):rep(2 ^ 20 - 5)))
        assert.equal(1, d:stats().entries)
        d:close()
      end
      assert.is_true(seen > 500, seen)
    end)

    it("with bytes that were changed has what was not", function()
      filled(150):close()
      local file, random = files.read(path), chance.new(chance.seed(9))
      local whole = 0
      for _ = 1, 60 do
        reboot(broken(file, random, 20))
        local d = assert(open())
        for k = 1, 150 do
          local value = d:get(tostring(k))
          if value then assert.equal(k, number_in(k, value)) end
          whole = whole + (value and 1 or 0)
        end
        d:close()
      end
      assert.is_true(whole > 60 * 100, whole)
    end)
  end)

  describe("that cannot be had", function()
    local function refused(o)
      local c, message, code = open(o)
      assert.is_nil(c)
      return { message, code }
    end

    it("says why", function()
      assert.same({ "cache: its file: open: No such file or directory", "invalid" },
        refused { path = path .. "/not/there" })
      assert.same({ "cache: its file: open: Is a directory", "invalid" },
        refused { path = path:match "^(.*)/" })
      assert.same({ "cache: its file: it is no plain file", "invalid" },
        refused { path = "/dev/null" })
      local shm = "/dev/shm/" .. regions.name()
      assert.same({ "cache: its file: making the file: No space left on device", "full" },
        refused { path = shm, bytes = 2 ^ 39 })
      assert(os.remove(shm))
      regions.write(path, "somebody else's")
      assert.same({ "cache: its file: the file is no region of unbusy", "invalid" }, refused())
      assert.equal("somebody else's", files.read(path))
    end)

    -- (That the rest of the disk is not taken for a moment is seen by nobody here.)
    it("where the disk has less space than that, and leaves nothing there", function()
      local fs = io.popen("stat -f -c '%a %S' " .. path:match "^(.*)/")
      local blocks, size = fs:read("*n", "*n")
      fs:close()
      local bytes = 2 * blocks * size
      if bytes > 2 ^ 40 then return pending "the disk has more space than a region may take" end
      assert.same({ "cache: its file: making the file: No space left on device", "full" },
        refused { bytes = bytes })
      assert.equal("", files.read(path))
    end)

    it("since it was cut short", function()
      assert(open()):close()
      local file = files.read(path)
      regions.write(path, file:sub(1, 5 * PAGE))
      assert.same({ "cache: its file: the file was cut short or is damaged", "invalid" }, refused())
      regions.write(path, file:sub(1, 7))
      assert.same({ "cache: its file: the file is no region of unbusy", "invalid" }, refused())
    end)

    it("since others have it in another size", function()
      local child, _, finish = regions.family()
      local one = child:fork(function(say, told)
        local c = assert(open())
        say "opened"
        told "go"
        c:close()
      end)
      one:said "opened"
      assert.same({ "cache: its file: another process uses it, in another size or version",
        "invalid" }, refused { bytes = 2 ^ 21 })
      one:tell "go"
      finish(one)
      local c = assert(open { bytes = 2 ^ 21 }) -- nobody has it: it begins anew
      assert.equal(0, c:stats().entries)
      c:close()
    end)

    it("begins anew when it is of another version", function()
      local c = assert(open())
      c:set("k", "v")
      c:close()
      regions.write(path, with_bytes(files.read(path), 8, "\1"))
      c = assert(open())
      assert.is_nil(c:get "k")
      assert.is_true(c:set("k", "v"))
      c:close()
    end)

    it("with options that contradict each other raises", function()
      for _, o in ipairs { { path = "" }, { path = "a\0b" }, { path = path, name = "x" } } do
        assert.has_error(function() cache.new(o) end)
      end
    end)
  end)

  it("loses nothing, and tears nothing, when processes are killed time and again", function()
    local kills = os.getenv "UNBUSY_KILLS" and 1000 or os.getenv "UNBUSY_SANITIZED" and 20 or 100
    local r = assert(region.new { bytes = 256 * 1024 })
    local acks = assert(counters.new { region = r, name = "acks", counters = 16 })
    local random, number = chance.new(chance.seed(5)), 0
    -- Writer w has the keys w, w + 3, w + 6, …; each value has the number of its set in it.
    local function write(w)
      local c, n = assert(open()), math.floor(acks:get("w" .. w))
      while true do
        n = n + 1
        local k = w + 3 * (n % 40)
        assert(c:set(tostring(k), value_of(k, n), nil, { "w" .. w }))
        acks:peak("w" .. w, n, 1e6) -- it is said to be stored
        local other = tostring(random:int(120))
        local value = c:get(other)
        assert(not value or number_in(tonumber(other), value))
      end
    end
    local function start(w)
      number = number + 1
      local pid = process.fork()
      if pid > 0 then return pid end
      random = chance.new(number)
      pcall(write, w)
      process.leave()
    end
    local function check(c)
      for w = 1, 3 do
        local last = math.floor(acks:get("w" .. w))
        for n = math.max(1, last - 39), last do
          local k = w + 3 * (n % 40)
          local value = c:get(tostring(k))
          assert.is_truthy(value, ("lost: %d of %d, which said %d"):format(n, w, last))
          local has = number_in(k, value)
          assert.is_truthy(has, "torn: " .. k)
          assert.is_true(has >= n)
        end
      end
    end
    for w = 1, 3 do writers[w] = start(w) end
    for n = 1, kills do
      process.nap(random:int(2000))
      local w = random:int(3)
      process.kill(writers[w], KILLED)
      assert.equal(KILLED, process.wait(writers[w])) -- it has not ended by an error
      if n % 10 == 0 then
        local c = assert(open())
        check(c)
        c:close()
      end
      writers[w] = start(w)
    end
    end_all()
    local c = assert(open())
    check(c)
    assert.is_true(acks:get "w1" > 0)
    if kills >= 1000 then assert.is_true(c:stats().rebuilt > 0) end -- of 100 none may have hit
    c:close()
    acks = nil -- luacheck: ignore 311
    r:close()
  end)
end)
