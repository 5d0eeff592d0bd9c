-- A finalizer closed what a call had just found, when that call made something of Lua's: it then
-- went on with memory that was free. So in `topk:top`, in the metrics' `text`, `list` and `set`,
-- and where a part was made in a region. Under ASan a byte that is read too late ends the run.
local core = require "unbusy.core"
local metrics = require "unbusy.metrics"
local region = require "unbusy.region"
local topk = require "unbusy.topk"
local when_collected = require "spec.support.when_collected"

-- Lua 5.4 can collect everything in one step of its collector, whatever else there is.
local function in_steps_of(log2)
  if _VERSION == "Lua 5.4" then collectgarbage("incremental", 200, 100, log2) end
end

-- Calls f with garbage about that runs `close`: was it run within f, and what f gave or raised.
local function closing(close, f)
  local inside, hit = false, false
  collectgarbage "collect"
  collectgarbage "stop"
  in_steps_of(60)
  when_collected(function()
    hit = inside
    close()
  end)
  collectgarbage "restart"
  inside = true
  local ok, result = pcall(f)
  inside = false
  in_steps_of(13) -- as by default
  return hit, ok, result
end

describe("closed by a finalizer, in the middle of a call,", function()
  -- `whole(result)` looks at what came although it was closed: nothing was read after that.
  local function try(rounds, make, whole)
    local hits = 0
    for _ = 1, rounds do
      local close, call = make()
      local hit, ok, result = closing(close, call)
      close()
      if hit then
        hits = hits + 1
        if ok then whole(result) else assert.matches("closed", result) end
      end
    end
    if _VERSION == "Lua 5.4" then assert.is_true(hits > 0) end -- LuaJIT collects elsewhere
  end

  local function list(where)
    local options = { counters = 64, key_bytes = 512, region = where, name = where and "list" }
    local t = assert(topk.new(options))
    for i = 1, 64 do t:add(("key %d "):format(i):rep(40)) end
    return t
  end

  local function is_whole(top)
    local seen = {}
    for _, entry in ipairs(top) do
      local i = entry.key:match "^key (%d+) "
      assert.equal(("key %d "):format(i):rep(40), entry.key)
      assert.equal(1, entry.count)
      assert.is_nil(seen[i])
      seen[i] = true
    end
    assert.equal(64, #top)
  end

  it("a list of the most frequent is told whole or not at all", function()
    try(100, function()
      local t = list()
      return function() t:close() end, function() return t:top(64) end
    end, is_whole)
  end)

  it("one in a region as well", function()
    try(50, function()
      local r = assert(region.new { bytes = 2 ^ 20 })
      local t = list(r)
      return function()
        t:close()
        r:close()
      end, function() return t:top(64) end
    end, is_whole)
  end)

  it("a region takes no part any more", function()
    try(50, function()
      local r = assert(region.new { bytes = 2 ^ 20 })
      return function() r:close() end, function()
        return core.topk({ counters = 64, key_bytes = 512 }, nil, r, "list")
      end
    end, function(t) t:top(1) end)
  end)

  local function counted(where)
    local m = assert(metrics.new { region = where, name = where and "metrics" })
    for i = 1, 50 do m:open("counter", ('jobs_total{queue="%d"}'):format(i)) end
    return m
  end

  for _, shares in ipairs { false, true } do
    -- Metrics, and what closes them.
    local function made()
      local r = shares and assert(region.new { bytes = 2 ^ 21 }) or nil
      local m = counted(r)
      return m, function()
        m:close()
        if r then r:close() end
      end
    end

    describe(shares and "shared metrics" or "metrics", function()
      it("are written whole or not at all", function()
        try(50, function()
          local m, close = made()
          return close, function() return m:text "jobs_total" end
        end, function(text)
          assert.equal(50, select(2, text:gsub('jobs_total{queue="%d+"} 0\n', "")))
        end)
      end)

      it("are listed whole or not at all", function()
        try(50, function()
          local m, close = made()
          return close, function() return m:list "jobs_total" end
        end, function(all)
          for i, one in ipairs(all) do
            assert.same({ labels = ('{queue="%d"}'):format(i), value = 0 }, one)
          end
          assert.equal(50, #all)
        end)
      end)

      it("give a set that counts, or none", function()
        local wanted = {}
        for i = 1, 12 do wanted[i] = { "counter", ('jobs_total{queue="%d"}'):format(i) } end
        try(50, function()
          local m, close = made()
          return close, function() return m:set(wanted) end
        end, function(set) assert.is_false(set:note(1)) end)
      end)
    end)
  end
end)
