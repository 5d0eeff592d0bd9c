-- What each function of a policy may say.
local guest = require "unbusy.policy.guest"
local json = require "unbusy.json"
local decisions = require "unbusy.policy.decisions"

local unpack = table.unpack or unpack -- luacheck: ignore

local targets = { { name = "edge" }, { name = "centre" } }

-- What a function comes to that says this: decided, a, b; the third is the fault's message.
local function says(name, ...)
  local n, values = select("#", ...), { ... }
  local g = guest.new "spec"
  g:install { [name] = function() return unpack(values, 1, n) end }
  local given = name == "route" and targets or nil
  return g:decide(nil, name, {}, given)
end

local cyclic = {}
cyclic.self = cyclic

local shared = {}
for _ = 1, 60 do shared = { shared, shared } end -- 2^60 values, in few tables

local NAN, HUGE = 0 / 0, math.huge

-- Function -> what it may say; { given, decided } where that is another value.
local good = {
  classify = decisions.codes,
  retry = { 0, 1, 0.001, 1e6 },
  queued = { "wait", "switch", "hedge" },
  hedge = { 0, 1.5, 1e6 },
  accept = { true, false },
  peak = { true, false },
  resume = { "prefix", "prompt", false },
  normalise = { { a = 1 }, {}, { deep = { list = { 1, "x", json.null } } } },
  cache = { 1, 0.5, 1e9, true, false, { ttl = 5, tools = false }, { tags = { "a" }, tools = true },
    { ttl = 0.5, tags = { "1", "2", "3", "4", "5", "6", "7", "8", "9", ("x"):rep(64) },
      tools = false } },
  batch = { false, { key = "k", max = 2, window = 0.02 }, { key = { "m", { a = 1 } }, max = 10000 },
    { key = 1, max = 1, window = 0, endpoint = true }, { rule = "embeddings", max = 4 } },
  merge = { { input = { "a" } } },
  split = { {}, { { id = 1 }, { error = { message = "no" } } } },
  fallback = { "系统繁忙", "", "stale", false, { text = "busy", status = 503 }, { model = "small" } },
}

local bad = {
  classify = { "bsy", "cancelled", "closed", "nomem", "open", 1, true, {}, "policy" },
  retry = { -1, NAN, HUGE, -HUGE, 1e6 + 1, "1", "soon", {}, true, false },
  route = { {}, { "nowhere" }, { 1 }, { "edge", "nowhere" }, "nowhere", 1, true, { {} } },
  queued = { "go", 1, true, {} },
  hedge = { -1, NAN, HUGE, 1e6 + 1, "1", {}, true },
  accept = { 1, "yes", {} },
  peak = { 1, "yes", {} },
  resume = { "so", true, 1 },
  normalise = { "x", 1, true, { f = print }, cyclic, shared, { [true] = 1 }, { [{}] = 1 } },
  cache = { 0, -1, NAN, HUGE, 1e9 + 1, "1", {}, { ttl = 0 }, { ttl = NAN }, { ttl = "5" },
    { tags = "a" }, { tags = { "" } }, { tags = { ("x"):rep(65) } }, { tags = { "a\n" } },
    { tags = { 5 } }, { tags = { "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11" } },
    { tools = 1 }, { seconds = 5 } },
  batch = { true, "k", {}, { max = 2 }, { key = print }, { key = cyclic }, { key = 1, max = 0 },
    { key = 1, max = 10001 }, { key = 1, max = 2.5 }, { key = 1, max = NAN },
    { key = 1, window = -1 }, { key = 1, window = NAN }, { key = 1, window = HUGE }, { rule = {} },
    { key = 1, endpoint = 1 } },
  merge = { "x", 1, true, cyclic, { f = print } },
  split = { "x", 1, cyclic, { print } },
  fallback = { 1, true, "\255", "\229\164", { text = "\255" }, cyclic, { f = print } },
}

describe("a policy's decision", function()
  it("is taken as it is where it may be so", function()
    for name, values in pairs(good) do
      for _, value in ipairs(values) do
        local decided, a = says(name, value)
        assert.is_true(decided, name)
        assert.same(value, a, name)
        if type(value) == "table" then assert.not_equal(value, a, name) end -- a copy
      end
    end
  end)

  it("comes to nothing where it may not, with the place and what was expected", function()
    for name, values in pairs(bad) do
      for i, value in ipairs(values) do
        local decided, a, message = says(name, value)
        local what = ("%s[%d]"):format(name, i)
        assert.is_false(decided, what)
        assert.is_nil(a)
        assert.matches("^[^\n]*decisions_spec.lua:%d+: .+", message, what)
      end
    end
  end)

  it("shows numbers and types, never a text that was given", function()
    local _, _, message = says("retry", -1)
    assert.matches('seconds from 0 to 1000000, "default" or nil expected, got %-1$', message)
    _, _, message = says("retry", NAN)
    assert.matches("got %-?nan$", message)
    for _, name in ipairs { "classify", "retry", "queued", "hedge", "cache", "route" } do
      _, _, message = says(name, "tell nobody")
      assert.is_nil(message:find("tell nobody", 1, true), message)
    end
  end)

  it("is the built-in one where nil stands for that, and nil where nil is a decision", function()
    for _, name in ipairs { "classify", "route", "queued", "accept", "resume", "normalise", "cache",
      "batch", "fallback", "peak" } do
      assert.same({ false, nil, nil }, { says(name, nil) }, name)
    end
    for _, name in ipairs { "retry", "hedge" } do assert.is_true(says(name, nil), name) end
    for _, name in ipairs { "merge", "split" } do
      assert.matches("got nothing$", select(3, says(name, nil)))
    end
    assert.same({ false, nil, nil }, { says("retry", "default") })
  end)

  it("routes to one name or a list, each once", function()
    assert.same({ "edge" }, select(2, says("route", "edge")))
    assert.same({ "centre", "edge" }, select(2, says("route", { "centre", "edge", "centre" })))
  end)

  it("merges to another path perhaps", function()
    local _, merged, path = says("merge", { a = 1 }, "/api/v1/batch?x=1")
    assert.same({ { a = 1 }, "/api/v1/batch?x=1" }, { merged, path })
    for _, wrong in ipairs { "no", "/a b", "/a#b", "/\n", 1, {}, "" } do
      local decided, _, message = says("merge", { a = 1 }, wrong)
      assert.is_false(decided)
      assert.matches("a path that starts with / expected$", message)
    end
  end)

  it("knows all functions by their names", function()
    assert.equal("accept batch cache classify fallback hedge merge normalise peak queued resume "
      .. "retry route split", table.concat(decisions.names, " "))
    for _, name in ipairs(decisions.names) do
      assert.is_true(good[name] ~= nil or name == "route", name)
      assert.is_not_nil(bad[name], name)
    end
  end)

  it("stays what it was, whatever the script does with its tables afterwards", function()
    local kept = { a = { b = 1 } }
    local g = guest.new "spec"
    g:install { normalise = function() return kept end }
    local _, first = g:decide(nil, "normalise", {})
    kept.a.b, kept.c = 2, 3
    assert.same({ a = { b = 1 } }, first)
  end)

  it("runs no metamethod of the program's own tables", function()
    local trap = setmetatable({ x = 1 }, { __pairs = error, __index = error, __len = error,
      __newindex = error })
    local decided, copy = says("normalise", trap)
    assert.is_true(decided)
    assert.same({ x = 1 }, copy)
    assert.is_nil(getmetatable(copy))
    local _, list = says("split", { json.array { json.array {} } })
    assert.is_true(json.is_array(list[1]) and json.is_array(list[1][1]))
  end)
end)
