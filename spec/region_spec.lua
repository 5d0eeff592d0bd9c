-- Regions within one process: made, found, closed; files that are none; room and parts.
local breaker = require "unbusy.breaker"
local chance = require "spec.support.random"
local core = require "unbusy.core"
local files = require "spec.support.files"
local guard = require "spec.support.leak_guard"
local nomem = require "spec.support.nomem"
local region = require "unbusy.region"
local regions = require "spec.support.regions"

local LEAST = 256 * 1024

-- Fails as the world does: nil, a message, a code.
local function assert_fails(pattern, code, r, message, got)
  assert.is_nil(r)
  assert.matches(pattern, message)
  assert.equal(code, got)
end

local function fail_some(b, n)
  for _ = 1, n do b:report(assert(b:allow()), "fail") end
end

describe("a region", function()
  guard.watch(before_each, after_each)
  local path, remove, before

  -- Regions open since the test began.
  local function opened()
    return core.stats().regions - before
  end

  before_each(function()
    regions.collect()
    path, remove = regions.path()
    before = core.stats().regions
  end)
  after_each(function() remove() end)

  describe("is made", function()
    it("for this process and its children", function()
      local r = assert(region.new {})
      local stats = r:stats()
      assert.equal(8 * 1024 * 1024, stats.bytes)
      assert.equal(0, stats.parts)
      assert.equal(0, stats.processes)
      assert.is_true(stats.used > 0 and stats.used < 65536)
      r:close()
    end)

    it("in the size asked for, in whole pages", function()
      local r = assert(region.new { bytes = LEAST + 1 })
      assert.equal(LEAST + 4096, r:stats().bytes)
      r:close()
    end)

    it("once under a name in one process, whichever state asks", function()
      local name = regions.name()
      local one = assert(region.new { name = name, bytes = LEAST })
      local two = assert(region.new { name = name })
      assert.equal(1, opened())
      local b = assert(breaker.new { region = one, name = "b", consecutive = 3 })
      local c = assert(breaker.new { region = two, name = "b", consecutive = 3 })
      fail_some(b, 3)
      assert.equal("open", c:state())
      one:close()
      assert.equal("open", b:state())
      assert.equal(1, two:stats().parts)
      two:close()
      assert.equal("open", c:state())
    end)

    it("in a file, once under all its names", function()
      local r = assert(region.new { path = path, bytes = LEAST })
      assert(os.execute(("ln '%s' '%s.too'"):format(path, path)))
      local same = assert(region.new { path = path .. ".too" })
      assert.equal(1, opened())
      assert.equal(LEAST, #files.read(path))
      r:close()
      same:close()
    end)

    it("anew each time without a name", function()
      local a, b = assert(region.new { bytes = LEAST }), assert(region.new { bytes = LEAST })
      assert.equal(2, opened())
      a:close()
      b:close()
    end)
  end)

  describe("ends", function()
    it("when it is closed, which may be done twice", function()
      local r = assert(region.new { bytes = LEAST })
      r:close()
      r:close()
      assert.equal(0, opened())
      for _, method in ipairs { "stats", "process", "wake_fd", "drain", "wake" } do
        assert.has_error(function() r[method](r) end, "region: it is closed")
      end
      assert.has_error(function() r:waiting(1) end, "region: it is closed")
      assert.has_error(function() breaker.new { region = r, name = "b" } end,
        "breaker: region: an open region expected")
    end)

    it("when it is collected, but not before its parts", function()
      local b = assert(breaker.new { region = assert(region.new { bytes = LEAST }), name = "b" })
      regions.collect()
      assert.equal(1, opened())
      assert.is_true(b:report(b:allow(), "ok"))
      b = nil -- luacheck: ignore 311
      regions.collect()
      assert.equal(0, opened())
    end)

    it("under a name when the last one closes it, in a file never", function()
      local name = regions.name()
      local r = assert(region.new { name = name, bytes = LEAST })
      local same = assert(region.new { name = name, bytes = LEAST })
      assert.is_true(regions.exists(name))
      r:close()
      assert.is_true(regions.exists(name))
      same:close()
      assert.is_false(regions.exists(name))
      r = assert(region.new { path = path, bytes = LEAST })
      r:close()
      assert.equal(LEAST, #files.read(path))
    end)
  end)

  describe("of a file keeps what is in it", function()
    local function open(bytes)
      local r = assert(region.new { path = path, bytes = bytes })
      return r, assert(breaker.new { region = r, name = "b", consecutive = 3, open_for = 1000 })
    end

    -- Trips the breaker, and gives all up.
    local function trip(bytes)
      local r, b = open(bytes)
      fail_some(b, 3)
      assert.equal("open", b:state())
      r:close()
      b, r = nil, nil -- luacheck: ignore 311
      regions.collect()
      assert.equal(0, opened())
    end

    it("within a boot", function()
      trip(LEAST)
      local r, b = open()
      assert.equal("open", b:state())
      r:close()
    end)

    it("but not in another size", function()
      trip(LEAST)
      local r, b = open(2 * LEAST)
      assert.equal("closed", b:state())
      assert.equal(2 * LEAST, r:stats().bytes)
      r:close()
    end)

    -- Bytes of the stamp: magic 8, version 4, header 4, size 8, boot 16, pid namespace 8.
    for what, at in pairs { ["another boot"] = 30, ["another pid namespace"] = 41,
      ["another version"] = 9, ["another layout"] = 13 } do
      it("but not of " .. what, function()
        trip(LEAST)
        local bytes = files.read(path)
        local changed = string.char((bytes:byte(at) + 1) % 256)
        regions.write(path, bytes:sub(1, at - 1) .. changed .. bytes:sub(at + 1))
        local r, b = open(LEAST)
        assert.equal("closed", b:state())
        r:close()
      end)
    end

    it("but not when its maker died at it", function()
      regions.write(path, "unb_half")
      local r, b = open(LEAST)
      assert.equal("closed", b:state())
      r:close()
    end)
  end)

  describe("refuses", function()
    local function refuse(pattern, code, options)
      assert_fails(pattern, code, region.new(options or { path = path }))
      assert.equal(0, opened())
    end

    local function whole_region()
      local r = assert(region.new { path = path, bytes = LEAST })
      assert(breaker.new { region = r, name = "b" })
      r:close()
      regions.collect()
      return files.read(path)
    end

    it("a file that is none, and leaves it as it is", function()
      for _, bytes in ipairs { "x", "not a region at all", ("\0"):rep(5000), ("z"):rep(LEAST),
        "unbusy_1", ("\255"):rep(100) } do
        regions.write(path, bytes)
        refuse("^region: the file is no region of unbusy$", "invalid")
        assert.equal(bytes, files.read(path))
      end
    end)

    it("a file that was cut short or made longer", function()
      local bytes = whole_region()
      for _, cut in ipairs { bytes:sub(1, 100), bytes:sub(1, 4096), bytes:sub(1, -2),
        bytes .. "x" } do
        regions.write(path, cut)
        refuse("^region: the file was cut short or is damaged$", "invalid")
      end
    end)

    it("a file whose blocks are damaged", function()
      local bytes = whole_region()
      local from = bytes:find("breaker\0", 1, true) - 16 -- the block's front
      for at = from, from + 40, 4 do
        regions.write(path, bytes:sub(1, at) .. "\255\255\255\255" .. bytes:sub(at + 5))
        local r, message, code = region.new { path = path }
        if r then r:close() else
          assert.equal("region: its memory is damaged", message)
          assert.equal("invalid", code)
        end
      end
      regions.write(path, bytes:sub(1, from - 1) .. ("\0"):rep(8) .. bytes:sub(from + 8))
      refuse("damaged", "invalid")
    end)

    it("what is no plain file, or none that can be made", function()
      refuse("^region: open: Is a directory$", "invalid", { path = path:gsub("/region$", "") })
      refuse("^region: open: No such file or directory$", "invalid", { path = path .. "/x/y" })
      assert(os.execute(("mkfifo -m 600 '%s'"):format(path)))
      refuse("^region: it is no plain file$", "invalid")
    end)

    it("a symbolic link", function()
      regions.write(path .. ".real", "")
      assert(os.execute(("ln -s '%s.real' '%s'"):format(path, path)))
      refuse("^region: open: ", "invalid")
    end)

    it("a file that others may read or write", function()
      for _, mode in ipairs { "640", "602", "660" } do
        regions.write(path, "")
        os.execute(("chmod %s '%s'"):format(mode, path))
        refuse("^region: others may read or write the file", "invalid")
      end
    end)

    it("more space than there is", function()
      refuse("^region: ", "full", { path = path, bytes = 2 ^ 40 })
      refuse("^region: ", "full", { name = regions.name(), bytes = 2 ^ 40 })
    end)

    it("one that this process has open in another size", function()
      local name = regions.name()
      local r = assert(region.new { name = name, bytes = LEAST })
      assert_fails("^region: this process has it open in another size$", "invalid",
        region.new { name = name, bytes = 2 * LEAST })
      assert.equal(1, opened())
      r:close()
    end)
  end)

  describe("raises", function()
    for options, message in pairs {
      [{ bytes = LEAST - 1 }] = "bytes: a number at least 262144 expected",
      [{ bytes = 2 ^ 41 }] = "bytes: a number at most",
      [{ bytes = 300000.5 }] = "bytes: whole expected",
      [{ bytes = "1000000" }] = "bytes: whole expected",
      [{ name = "" }] = "name: 1 to 64 letters",
      [{ name = "a/b" }] = "name: 1 to 64 letters",
      [{ name = ".a" }] = "name: 1 to 64 letters",
      [{ name = "a b" }] = "name: 1 to 64 letters",
      [{ name = "a\0b" }] = "name: 1 to 64 letters",
      [{ name = ("x"):rep(65) }] = "name: 1 to 64 letters",
      [{ name = 5 }] = "name: string expected",
      [{ path = "" }] = "path: a file's name expected",
      [{ path = "a\0b" }] = "path: a file's name expected",
      [{ path = "a", name = "b" }] = "name or path expected, got both",
      [{ size = 5 }] = "unknown option 'size'",
    } do
      it("for " .. message, function()
        local fine, said = pcall(region.new, options)
        assert.is_false(fine)
        assert.is_truthy(said:find(message, 1, true), said)
      end)
    end

    it("at the caller's line", function()
      local _, said = pcall(function() region.new { name = "a/b" } end)
      assert.matches("^spec/region_spec.lua:%d+: region: name", said)
    end)

    it("for a wrong count of waiting callers", function()
      local r = assert(region.new { bytes = LEAST })
      for _, wrong in ipairs { -1, 0.5, 2 ^ 32, 0 / 0, "x", {} } do
        assert.has_error(function() r:waiting(wrong) end)
      end
      r:waiting(2 ^ 32 - 1)
      r:waiting(0)
      r:close()
    end)
  end)

  describe("has parts", function()
    local r
    before_each(function() r = assert(region.new { bytes = LEAST }) end)
    after_each(function()
      regions.collect()
      r:close()
    end)

    it("only with a region and a name", function()
      for options, message in pairs {
        [{ name = "b" }] = "breaker: name: belongs to a region, but none is given",
        [{ region = r }] = "breaker: name: missing, which tells it from others in the region",
        [{ region = r, name = "" }] = "breaker: name: 1 to 255 bytes expected, got 0",
        [{ region = r, name = ("x"):rep(256) }] = "breaker: name: 1 to 255 bytes expected, got 256",
        [{ region = 5, name = "b" }] = "breaker: region: an open region expected",
        [{ region = {}, name = "b" }] = "breaker: region: an open region expected",
        [{ region = io.stdout, name = "b" }] = "breaker: region: an open region expected",
        [{ region = r, name = 5 }] = "breaker: name: string expected, got 5",
      } do
        local fine, said = pcall(breaker.new, options)
        assert.is_false(fine)
        assert.equal(message, (said:gsub("^spec/region_spec.lua:%d+: ", "")))
      end
    end)

    it("found by any name, and told apart by it and by their options", function()
      local names, kept = { "a", "b", "a\0", "\0", ("x"):rep(255), "größe" }, {}
      local function open(name, n)
        return assert(breaker.new { region = r, name = name, consecutive = n, slots = 9 })
      end
      for i, name in ipairs(names) do
        kept[i] = open(name, 1)
        fail_some(kept[i], 1)
      end
      for _, name in ipairs(names) do
        assert.equal("open", open(name, 1):state())
        assert.equal("closed", open(name, 2):state())
      end
    end)

    it("whatever their seed", function()
      local b = assert(breaker.new { region = r, name = "b", seed = 1 })
      b:force "open"
      assert.equal("open", assert(breaker.new { region = r, name = "b", seed = 2 }):state())
    end)

    it("until its room is full, and gives back what nobody uses", function()
      local kept = {}
      while true do
        local b, message, code = breaker.new { region = r, name = "b" .. #kept }
        if not b then
          assert.matches("^region: no room for a breaker of %d+ bytes$", message)
          assert.equal("full", code)
          break
        end
        kept[#kept + 1] = b
      end
      assert.is_true(#kept >= 3)
      local full = r:stats()
      assert.equal(#kept, full.parts)
      assert.is_true(full.used <= full.bytes)
      for i, b in ipairs(kept) do
        assert.equal("closed", b:state())
        if i % 2 == 0 then b:force "open" end
      end
      kept[2] = nil
      regions.collect()
      assert(breaker.new { region = r, name = "another" })
      for i, b in pairs(kept) do assert.equal(i % 2 == 0 and "open" or "closed", b:state()) end
    end)

    it("of other options in the room of the old ones", function()
      local used
      for i = 1, 100 do
        assert(breaker.new { region = r, name = "b", open_for = i })
        regions.collect()
        used = used or r:stats().used
        assert.equal(used, r:stats().used)
        assert.equal(1, r:stats().parts)
      end
    end)

    it("that are too large for it", function()
      assert_fails("^region: no room for a breaker of %d+ bytes$", "full",
        breaker.new { region = r, name = "b", slots = 65534 })
      assert.equal(0, r:stats().parts)
    end)

    it("whose methods are not those of private ones", function()
      local shared, private = assert(breaker.new { region = r, name = "b" }), breaker.new {}
      assert.has_error(function() shared.state(private) end)
      assert.has_error(function() private.state(shared) end)
      assert.has_error(function() shared.state(io.stdout) end)
      assert.has_error(function() shared.state() end)
      assert.has_error(function() shared:report("x", "ok") end)
      assert.has_error(function() shared:report(1, "good") end)
      assert.has_error(function() shared:force "half_open" end)
      assert.has_error(function() shared:allow(0 / 0) end)
      assert.is_true(shared:report(shared:allow(), "ok")) -- nothing was left locked
    end)

    it("with a clock of their own", function()
      local now = 100
      local b = assert(breaker.new { region = r, name = "b", consecutive = 1,
        clock = function() return now end })
      fail_some(b, 1)
      assert.equal("open", b:state())
      now = 106
      assert.equal("half_open", b:state())
    end)

    it("whose tickets come back when the process closes them", function()
      local r2 = assert(region.new { bytes = LEAST })
      local b = assert(breaker.new { region = r2, name = "b" })
      b:allow()
      b:allow()
      assert.equal(2, b:stats().outstanding)
      b = nil -- luacheck: ignore 311
      regions.collect()
      b = assert(breaker.new { region = r2, name = "b" })
      assert.equal(0, b:stats().outstanding)
      r2:close()
    end)
  end)

  it("behaves as private ones do", function()
    local now, seed = 0, 7
    local function clock() return now end
    local r = assert(region.new { bytes = 4 * LEAST })
    for n, options in ipairs {
      { min_calls = 5, window = 2, buckets = 4 }, { count = 10, min_calls = 4 },
      { consecutive = 3, open_for = 0.5, permits = 2 }, { count = 1, min_calls = 1 },
      { window = 1, buckets = 1, slow_after = 0.5, slow_rate = 0.5 }, { slots = 3, min_calls = 9 },
    } do
      options.clock, options.seed, options.region, options.name = clock, seed, nil, nil
      local private = breaker.new(options)
      options.region, options.name = r, "b" .. n
      local shared = assert(breaker.new(options))
      local random = chance.new(n)
      local out = {}
      for _ = 1, 3000 do
        now = now + random:float() * 0.05
        local dice = random:float()
        if dice < 0.5 then
          local a, b = private:allow(), shared:allow()
          assert.equal(a, b)
          out[#out + 1] = a
        elseif dice < 0.95 and out[1] then
          local ticket = table.remove(out, random:int(#out))
          local outcome = ({ "ok", "fail", "neutral", "busy" })[random:int(4)]
          assert.equal(private:report(ticket, outcome, dice), shared:report(ticket, outcome, dice))
        elseif dice < 0.97 then
          local ticket = random:int(5000000)
          assert.equal(private:record(ticket, "fail"), shared:record(ticket, "fail"))
        end
        assert.equal(private:state(), shared:state())
        assert.equal(private:retry_after(), shared:retry_after())
        assert.same(private:stats(), shared:stats())
      end
    end
    r:close()
  end)

  describe("without memory", function()
    it("is not opened", function()
      for _, options in ipairs { { bytes = LEAST }, { path = path, bytes = LEAST },
        { name = regions.name(), bytes = LEAST } } do
        local failed, r = nomem.each(function() return region.new(options) end,
          function(_, made, message, code)
            assert.is_nil(made)
            assert.equal("region: not enough memory", message)
            assert.equal("nomem", code)
          end)
        assert.is_true(failed > 0)
        r:close()
      end
    end)

    it("makes no part", function()
      local r = assert(region.new { bytes = LEAST })
      local failed, b = nomem.each(
        function() return breaker.new { region = r, name = "b" } end,
        function(_, made, message, code)
          assert.is_nil(made)
          assert.equal("region: not enough memory", message)
          assert.equal("nomem", code)
          assert.equal(0, r:stats().parts)
        end)
      assert.is_true(failed > 0)
      assert.equal("closed", b:state())
      r:close()
    end)
  end)
end)
