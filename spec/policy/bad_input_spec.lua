-- Whatever a policy does wrong, the call still gets its answer, by the built-in decision.
local guest = require "unbusy.policy.guest"
local json = require "unbusy.json"
local world = require "spec.support.world"

local good, status = world.good, world.status

local PROMPT = "my name is Li Wei"

local MB = 1024 * 1024

describe("a policy that", function()
  local path, most
  setup(function()
    path, most = os.tmpname() .. ".lua", guest.BYTES
    guest.BYTES = 4 * MB -- or each of these takes its time
  end)
  teardown(function()
    os.remove(path)
    guest.BYTES = most
  end)

  local function write(text)
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
    return path
  end

  -- A script whose every function has this body; `a` and `b` are what it is given.
  local function script(body)
    local out = { "local kept = {}\nlocal policy = {}\n" }
    for _, name in ipairs { "classify", "retry", "route", "normalise", "cache" } do
      out[#out + 1] = ("function policy.%s(a, b)\n  %s\nend\n"):format(name, body)
    end
    out[#out + 1] = "return policy\n"
    return table.concat(out)
  end

  -- Two calls under the policy, each with a busy first server: as without one.
  local function survive(policy, call_options)
    local w = world.new { script = { a = { status(503) }, b = { good "hello" } },
      order = { "a", "b" }, options = { cache = true, policy = policy } }
    for i = 1, 2 do
      local reply = w.client:chat({ messages = { { role = "user", content = PROMPT .. i } } },
        call_options)
      assert.same({ "hello", "b", "upstream" }, { reply.text, reply.target, reply.source })
    end
    assert.equal(PROMPT .. "1", json.decode(w.log[1].request.body).messages[1].content)
    w:assert_clean()
    return w
  end

  -- The same where each function fails: it is counted each time, and told once.
  local function survive_faults(policy, words)
    local w = survive(policy)
    local s = w.client:status().policy[1]
    -- Two calls, three tries: busy, good, and (a's one rests a moment) good or busy and good.
    assert.is_true(s.faults.classify >= 3, json.encode(s))
    assert.is_true(s.faults.retry >= 1)
    assert.is_true(s.faults.route >= 2)
    assert.same({ 2, 2 }, { s.faults.normalise, s.faults.cache })
    local seen = {}
    for _, e in ipairs(w:seen "policy") do
      assert.equal("fault", e.what)
      assert.is_nil(e.message:find("Li Wei", 1, true), e.message)
      if words then assert.matches(words, e.message) end
      local key = e.decision .. e.message
      assert.is_nil(seen[key], key)
      seen[key] = true
      assert.is_number(e.call)
    end
    assert.is_true(#w:seen "policy" >= 5)
    assert.is_nil(json.encode(s):find("Li Wei", 1, true))
  end

  it("loops for ever", function()
    survive_faults(write(script "while true do end"), "it ran too long$")
    survive_faults(write(script "for i = 1, 1e300 do kept[1] = i end"), "it ran too long$")
    survive_faults(write(script "local function f() return f() end return f()"),
      "it ran too long$")
  end)

  it("grows a table or a text without end, and forgets what it has kept of that", function()
    -- (In a large heap it may take too long before.)
    survive_faults(write(script "while true do kept[#kept + 1] = ('x'):rep(1e5) .. #kept end"),
      "it [tr]")
    survive_faults(write(script "local s = 'x' while true do s = s .. s end"), "it [tr]")
    survive_faults(write(script "return ('x'):rep(5e8)"), "it took too much memory$")
    survive_faults(write(script "return string.rep('x', 5e8)"), "rep: the text would be too long$")
    collectgarbage()
    local before = collectgarbage "count"
    survive(write(script [[
      if #kept > 0 then error 'it has kept something' end
      for i = 1, 1e6 do kept[i] = ('x'):rep(1e4) .. i end]]))
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 4 * 1024)
  end)

  it("throws", function()
    survive_faults(write(script "error 'not today'"), ":%d+: not today$")
    survive_faults(write(script "error(kept)"), ":%d+: it raised a table$")
    survive_faults(write(script "error()"), ":%d+: it raised a nil$")
    survive_faults(write(script "return a.x.y.z"), ":%d+: attempt to index")
    survive_faults(write(script
      "error(a.messages and a.messages[1].content or a.message or a.text)"), "it raised a")
  end)

  it("recurses too deeply", function()
    survive_faults(write(script "local function f(x) return 1 + f(x) end return f(1)"))
    survive_faults(write(script "local function f(s) return (s:gsub('.', f)) end return f 'x'"))
    survive_faults(write(script "local function f() table.sort({ 2, 1 }, f) end f()"))
  end)

  it("tries to yield", function()
    survive_faults(write(script "coroutine.yield(1)"), "attempt to index")
    local function yields() coroutine.yield(1) end
    survive_faults({ classify = yields, retry = yields, route = yields, normalise = yields,
      cache = yields }, "attempt to yield")
  end)

  it("tries to wait for another call", function()
    local w
    local function asks()
      local reply, message = w.client:chat({ messages = { { role = "user", content = "x" } } },
        { policy = {}, cache = false })
      error(reply and "answered" or message)
    end
    w = world.new { script = { a = { good() } }, options = { policy = { classify = asks } } }
    assert.equal("hello", w:chat({ cache = false }).text)
    assert.equal(1, w.client:status().policy[1].faults.classify)
    w:assert_clean()
  end)

  it("says what is no decision", function()
    for _, value in ipairs { "-1", "0 / 0", "1 / 0", "-1 / 0", "1e7", "'soon'",
      "function() end", "tostring", "'\\255'" } do
      local w = survive(write(script("return " .. value)))
      assert.is_not_nil(next(w.client:status().policy[1].faults), value)
    end
    survive_faults(write(script "return function() end"))
    local w = survive(write "return { route = function() return 'nowhere' end }")
    assert.matches("place 1: no target has that name$", w:seen "policy"[1].message)
    w = survive(write "return { route = function() return {} end }")
    assert.matches("at least one name expected$", w:seen "policy"[1].message)
  end)

  it("reaches for what it must not have", function()
    for _, reach in ipairs { "getmetatable('').__index.rep = nil", "string.dump(function() end)",
      "coroutine.wrap(function() end)()", "_G.os.exit(1)", "_ENV._G.os.exit(1)", "os.exit(1)",
      "io.open('/etc/passwd')", "debug.sethook()", "load('return 1')()", "require('os')",
      "rawset(a, 1, 1)", "collectgarbage('stop')", "print(a)", "package.loaded.os.exit(1)",
      "setmetatable(a, {})", "pcall(error)", "xpcall(error, error)", "getfenv(0).os.exit(1)",
      "jit.off()", "(function(...) return arg.x.y end)()" } do
      survive_faults(write(script(reach)), "attempt to ")
    end
  end)

  it("is a string's method, which is the program's, or a text of bytes", function()
    survive(write(script "local code = ('').dump and ('').dump(function() end) return 'default'"))
    assert.equal("ab", ("%s"):rep(2):format("a", "b"))
  end)

  it("changes and keeps what it is given, and changes it again later", function()
    local body = [[
      for _, old in ipairs(kept) do
        for k in pairs(old) do old[k] = nil end
        old.messages, old.code, old.name = 'gone', 'auth', 'nowhere'
      end
      kept[#kept + 1] = a
      kept[#kept + 1] = b
      for k in pairs(a) do a[k] = nil end
      if b then b[1], b[2] = nil, nil end
      string.x, math.floor, string.format = 1, nil, nil
      if number then return "default" end]]
    survive(write((script(body):gsub("retry%(a, b%)", "%0 local number = true"))))
    assert.is_function(math.floor)
    assert.is_function(string.format)
  end)

  it("keeps the table that it returned, and changes it", function()
    local w = world.new { script = { a = { good "one", good "two" } }, options = { cache = true,
      policy = write [[
        local kept = { x = 1 }
        return {
          normalise = function(request)
            kept.x, kept.self = kept.x + 1, nil
            return { of = request.messages[1].content, n = kept }
          end,
          cache = function() kept.self = kept return true end,
        }]] } }
    assert.equal("one", w:chat().text)
    assert.equal("two", w:chat().text)
    assert.same({}, w.client:status().policy[1].faults)
  end)

  it("is handed in as functions that do the same", function()
    local function each(f)
      return { classify = f, retry = f, route = f, normalise = f, cache = f }
    end
    local function loops() while true do end end
    local function grows()
      local t = {}
      while t do t[#t + 1] = {} end
    end
    survive_faults(each(function() error(setmetatable({}, { __tostring = error })) end),
      "it raised a table$")
    survive_faults(each(function() error(PROMPT) end), "it raised an error$")
    survive_faults(each(loops), "it ran too long$")
    survive_faults(each(function() while true do pcall(loops) end end), "it ran too long$")
    survive_faults(each(grows), "it")
    survive_faults(each(function() return -1, 2, 3 end))
  end)

  it("breaks a rule while somebody debugs: the hook is there afterwards", function()
    local was = { debug.gethook() }
    if not was[1] then debug.sethook(function() end, "", 1000) end
    local before = { debug.gethook() }
    survive(write(script "while true do end"))
    local after = { debug.gethook() }
    debug.sethook((table.unpack or unpack)(was)) -- luacheck: ignore
    assert.same(before, after)
  end)

  it("fails while its watcher fails too, or closes the client", function()
    local w
    local function fails() error "x" end
    w = world.new { script = { a = { good() } }, options = { policy = { classify = fails },
      on_event = function() error "y" end } }
    assert.equal("hello", w:chat().text)
    assert.is_true(w.client:status().event_faults > 0)
    for _, decision in ipairs { "classify", "retry", "route" } do
      w = world.new { script = { a = { status(503) }, b = { status(503) } },
        options = { policy = { [decision] = fails }, on_event = function(e)
          if e.type == "policy" then w.client:close() end
        end } }
      local _, _, code = w:chat()
      assert.equal("closed", code, decision)
      assert.is_true(#w.log <= 1)
    end
  end)

  it("takes long does not take a call beyond its deadline unnoticed", function()
    local w
    w = world.new { script = { a = { status(503) } }, options = { policy = {
      retry = function() return 1e6 end } } }
    local _, message, code = w:chat { deadline = 5 }
    assert.same({ "busy", 1 }, { code, #w.log })
    assert.matches("the deadline is too near to try again", message)
    w:assert_clean()
  end)
end)
