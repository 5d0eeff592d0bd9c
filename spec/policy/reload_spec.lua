-- A policy's file that changes while the client is used.
local world = require "spec.support.world"

local status = world.status

describe("a policy's file", function()
  local path
  before_each(function() path = os.tmpname() .. ".lua" end)
  after_each(function() os.execute("rm -rf " .. path) end)

  local clock = 0

  -- Writes it, as at another second each time: what lies a moment back may change unseen.
  local function write(text, where)
    local f = assert(io.open(where or path, "wb"))
    f:write(text)
    f:close()
    clock = clock + 1
    os.execute(("touch -d @%d %s"):format(1600000000 + clock, where or path))
  end

  local function waits(seconds)
    return ("return { retry = function() return %g end }"):format(seconds)
  end

  local function new_world(options)
    options = options or {}
    options.policy = options.policy or path
    return world.new { script = { a = function(_, n) return n % 2 == 1 and status(503)
      or world.good() end }, options = options }
  end

  -- How long one call waits between its two tries, `seconds` after the one before.
  local function wait_of(w, seconds, call)
    w.loop.run(function() w.loop.sleep(seconds or 1) end)
    w:chat(call)
    return math.floor((w.log[#w.log].at - w.log[#w.log - 1].at - 0.1) * 1000 + 0.5) / 1000
  end

  local function version(w) return w.client:status().policy[1].version end

  it("is loaded anew when two looks have found the same change", function()
    write(waits(1))
    local w = new_world()
    assert.equal(1, wait_of(w))
    write(waits(2))
    assert.equal(1, wait_of(w)) -- seen
    assert.equal(2, wait_of(w)) -- and seen again
    assert.equal(2, version(w))
    local told = w:seen "policy"
    assert.equal(1, #told)
    assert.same({ "reload", path, 2 }, { told[1].what, told[1].policy, told[1].version })
    assert.is_number(told[1].at)
    for _ = 1, 5 do assert.equal(2, wait_of(w)) end
    assert.equal(2, version(w))
    w:assert_clean()
  end)

  it("is looked at once a second at most", function()
    local core = require "unbusy.core"
    write(waits(0))
    local w, looks, stamp = new_world(), 0, core.stamp
    core.stamp = function(...)
      looks = looks + 1
      return stamp(...)
    end
    finally(function() core.stamp = stamp end)
    for _ = 1, 40 do wait_of(w, 0) end -- of 0.2 s each
    assert.equal(7, looks)
  end)

  it("is not loaded while it is being written", function()
    write(waits(1))
    local w = new_world()
    wait_of(w)
    local text = waits(3)
    for i = 1, #text, 5 do -- one piece a second
      write(text:sub(1, i + 4))
      assert.equal(1, wait_of(w))
    end
    assert.same({ 1, 0 }, { version(w), #w:seen "policy" })
    assert.equal(3, wait_of(w))
    assert.equal(2, version(w))
  end)

  it("is not loaded when it changes while it is read", function()
    local source = require "unbusy.policy.source"
    write(waits(1))
    local w, read, moving = new_world(), source.read, true
    source.read = function(p)
      if moving then write(waits(4)) end
      return read(p)
    end
    finally(function() source.read = read end)
    write(waits(2))
    for _ = 1, 6 do assert.equal(1, wait_of(w)) end
    moving = false
    wait_of(w)
    wait_of(w)
    assert.equal(4, wait_of(w))
  end)

  it("that is broken changes nothing, and is told once for each version", function()
    write(waits(1))
    local w = new_world()
    wait_of(w)
    for i, broken in ipairs { "return { retry = ", "error 'no'", "return 5", "while true do end",
      string.dump(function() return {} end), "", "return { rety = function() end }" } do
      write(broken)
      for _ = 1, 4 do assert.equal(1, wait_of(w)) end
      local told = w:seen "policy"
      assert.equal(i, #told)
      assert.same({ "broken", 1 }, { told[i].what, told[i].version })
      assert.is_true(told[i].message:find(path, 1, true) ~= nil, told[i].message)
      assert.equal(told[i].message, w.client:status().policy[1].last_fault)
    end
    write(waits(2))
    wait_of(w)
    assert.equal(2, wait_of(w))
    assert.equal(2, version(w))
  end)

  it("that is gone, or is a directory now, changes nothing, until it is back", function()
    write(waits(1))
    local w = new_world()
    wait_of(w)
    os.remove(path)
    for _ = 1, 4 do assert.equal(1, wait_of(w)) end
    assert.equal(1, #w:seen "policy")
    assert.matches("No such file", w:seen "policy"[1].message)
    assert.equal("broken", w:seen "policy"[1].what)
    os.execute("mkdir " .. path)
    for _ = 1, 4 do assert.equal(1, wait_of(w)) end
    assert.equal(1, #w:seen "policy") -- still no file
    os.execute("rmdir " .. path)
    write(waits(2))
    wait_of(w)
    assert.equal(2, wait_of(w))
  end)

  it("that is put in its place by a rename is loaded, though its time is older", function()
    write(waits(1), path .. ".old")
    write(waits(2))
    local w = new_world()
    assert.equal(2, wait_of(w))
    os.rename(path .. ".old", path)
    wait_of(w)
    assert.equal(1, wait_of(w))
  end)

  it("that was touched, and says the same, is no new version", function()
    write(waits(1))
    local w = new_world()
    wait_of(w)
    write(waits(1))
    for _ = 1, 4 do wait_of(w) end
    assert.same({ 1, 0 }, { version(w), #w:seen "policy" })
  end)

  it("that was written just before it was loaded may change again with the same stamp", function()
    local core = require "unbusy.core"
    write(waits(1))
    local stamp = core.stamp
    core.stamp = function(...)
      local text = stamp(...)
      return text and "the same", core.wall()
    end
    finally(function() core.stamp = stamp end)
    local w = new_world()
    assert.equal(1, wait_of(w))
    write(waits(2))
    wait_of(w)
    assert.equal(2, wait_of(w))
  end)

  it("belongs to a target or a call as well", function()
    write(waits(1))
    local w = world.new { script = { a = { status(503), world.good() } },
      targets = { a = { policy = path } } }
    w:chat()
    write(waits(2))
    for _ = 1, 3 do
      w.sent.a = 0
      w.loop.run(function() w.loop.sleep(1) end)
      w:chat()
    end
    assert.is_true(w.log[#w.log].at - w.log[#w.log - 1].at > 2)
    local other = path .. ".mine.lua"
    write(waits(3), other)
    w = new_world { policy = { cache = function() end } }
    assert.equal(3, wait_of(w, 1, { policy = other }))
    write(waits(5), other)
    wait_of(w, 1, { policy = other })
    assert.equal(5, wait_of(w, 1, { policy = other }))
    os.remove(other)
    assert.equal(5, wait_of(w, 1, { policy = other }))
  end)

  it("is neither looked at nor read in a request, where the loop has a nursery", function()
    local jobs = {}
    write(waits(1))
    local w = new_world()
    w.loop.nursery = function(f)
      jobs[#jobs + 1] = f
      return true
    end
    write(waits(2))
    for _ = 1, 4 do assert.equal(1, wait_of(w)) end
    assert.equal(1, #jobs) -- one at a time
    jobs[1]()
    wait_of(w)
    jobs[2]()
    assert.equal(2, wait_of(w))
    assert.equal(2, wait_of(w))
    assert.equal(3, #jobs) -- a third look is on its way; it may be lost
    w.loop.run(function() w.loop.sleep(60) end)
    w.loop.nursery = function() return nil, "nginx has no timer left", "full" end
    write(waits(3))
    for _ = 1, 3 do assert.equal(2, wait_of(w)) end
    w.loop.nursery = function() error "no memory" end
    for _ = 1, 3 do assert.equal(2, wait_of(w)) end
    w.loop.nursery = function(f) f() return true end
    wait_of(w)
    assert.equal(3, wait_of(w))
  end)
end)

describe("client:reload", function()
  local a, b
  before_each(function() a, b = os.tmpname(), os.tmpname() end)
  after_each(function()
    os.remove(a)
    os.remove(b)
  end)

  local function write(path, text)
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
  end

  local function version(seconds)
    return ("return { retry = function() return %g end }"):format(seconds)
  end

  local function versions(w)
    local list = w.client:status().policy
    return { list[1].version, list[2].version }
  end

  it("loads the client's and the targets' policies at once, all or none", function()
    write(a, version(1))
    write(b, version(1))
    local w = world.new { script = { x = { world.good() } }, options = { policy = a },
      targets = { x = { policy = b } } }
    assert.is_true(w.client:reload())
    assert.same({ 1, 1 }, versions(w)) -- nothing new
    write(a, version(2))
    write(b, version(2))
    assert.is_true(w.client:reload())
    assert.same({ 2, 2 }, versions(w))
    assert.equal(2, #w:seen "policy")
    write(a, version(3))
    write(b, "return {")
    local ok, message, code = w.client:reload()
    assert.same({ nil, "policy" }, { ok, code })
    assert.matches("^reload: .*" .. b:gsub("%p", "%%%0") .. ":1: ", message)
    assert.same({ 2, 2 }, versions(w))
    os.remove(b)
    assert.is_nil((w.client:reload()))
    write(b, version(3))
    assert.is_true(w.client:reload())
    assert.same({ 3, 3 }, versions(w))
  end)

  it("has nothing to do with functions of the program and policies of single calls", function()
    write(a, version(1))
    local w = world.new { script = { x = { world.good() } },
      options = { policy = { retry = function() return 1 end } } }
    w:chat { policy = a }
    write(a, "return {")
    assert.is_true(w.client:reload())
  end)
end)
