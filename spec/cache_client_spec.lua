-- A client whose cache has a file of its own, and clients that cannot have it.
local guard = require "spec.support.leak_guard"
local regions = require "spec.support.regions"
local world = require "spec.support.world"

local good = world.good

describe("a client with a file for its cache", function()
  local path, remove

  after_each(function()
    regions.collect()
    remove()
  end)
  guard.watch(before_each, after_each)
  before_each(function() path, remove = regions.path() end)

  local function new(answer, more, region)
    local cache = { path = path, entries = 10, bytes = 2 ^ 20 }
    for name, value in pairs(more or {}) do cache[name] = value end
    local events = {}
    local w = world.new { script = { a = { good(answer) } }, options = { cache = cache,
      retry = false, region = region,
      on_event = function(event)
        if event.type == "cache" then events[#events + 1] = event end
      end } }
    return w, events
  end

  it("answers what another one was asked", function()
    local w, events = new "first"
    assert.equal("upstream", w:chat().source)
    w.client:close()
    w = new "second"
    local reply = w:chat()
    assert.same({ "cache", "first" }, { reply.source, reply.text })
    assert.equal(1, w.client:status().cache.entries)
    assert.is_nil(w.client:status().cache.file_fault)
    assert.same({}, events)
    w.client:close()
  end)

  it("does so beside a region, which needs no room for it", function()
    local w = new("first", { bytes = 2 ^ 24 }, { name = regions.name() })
    assert.equal("upstream", w:chat().source)
    assert.equal("cache", w:chat().source)
    assert.is_true(w.client.region:stats().bytes < 2 ^ 24)
    w.client:close()
  end)

  for what, broken in pairs {
    ["of somebody else"] = function() regions.write(path, "mine, and nobody else's") end,
    ["that is a directory"] = function() assert(os.execute("mkdir '" .. path .. "'")) end,
    ["that others can read"] = function()
      regions.write(path, "")
      assert(os.execute("chmod 644 '" .. path .. "'"))
    end,
  } do
    it("goes by memory of its own beside a file " .. what .. ", and says so once", function()
      broken()
      local w, events = new "answer"
      assert.equal("upstream", w:chat().source)
      assert.equal("cache", w:chat().source)
      assert.equal("cache", w:chat().source)
      local told = {}
      for _, event in ipairs(events) do
        if event.what == "fault" then told[#told + 1] = event end
      end
      assert.equal(1, #told)
      assert.same({ "file", "invalid" }, { told[1].level, told[1].code })
      assert.matches("^cache: its file: ", told[1].message)
      assert.equal(told[1].message, w.client:status().cache.file_fault)
      w.client:close()
    end)
  end

  it("wants a file's name", function()
    for _, wrong in ipairs { "", "a\0b", 5 } do
      assert.has_error(function() new("answer", { path = wrong }) end)
    end
  end)
end)
