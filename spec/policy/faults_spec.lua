-- What is told of a script's fault: enough to find it, and no prompt.
local guest = require "unbusy.policy.guest"
local source = require "unbusy.policy.source"

local PROMPT = "my name is Li Wei, born in 1985"

-- A guest of that text, and what its watcher hears.
local function guest_of(text)
  local g, events = guest.new("spec", "mine.lua"), {}
  local functions = assert(source.of_text(text, "mine.lua", g.world))
  g.report = function(event) events[#events + 1] = event end
  g:install(functions, text)
  return g, events
end

-- What comes of a `retry` of that body, which is told a prompt.
local function said_of(body)
  local g = guest_of("local p = {}\nfunction p.retry(try)\n  local secret = try.message\n  "
    .. body .. "\nend\nreturn p")
  local decided, _, message = g:decide(nil, "retry", { message = PROMPT, number = 1 })
  assert.is_nil((message or ""):find("Li Wei", 1, true), message)
  return decided, message
end

-- The message of a script's fault.
local function fault_of(body)
  local decided, message = said_of(body)
  assert.is_false(decided)
  return message
end

-- The same of a function of the program.
local function fault_of_program(f)
  local g = guest.new "spec"
  g:install { retry = f }
  local decided, _, message = g:decide(nil, "retry", { message = PROMPT })
  assert.is_false(decided)
  assert.is_nil(message:find("Li Wei", 1, true), message)
  return message
end

describe("a script's fault", function()
  it("is told with its line and Lua's words", function()
    assert.equal("mine.lua:4: attempt to index a nil value (field 'nowhere')",
      (fault_of "return try.nowhere.x":gsub("index field 'nowhere' %(a nil value%)",
        "index a nil value (field 'nowhere')")))
    assert.matches("^mine.lua:4: attempt to call .*'what'", fault_of "return what()")
    assert.matches("^mine.lua:4: attempt to compare", fault_of "return 1 < {}")
    assert.matches("^mine.lua:4: bad argument #1 to 'floor'", fault_of "local x = math.floor({})")
  end)

  it("is told in its author's words where they stand in the script", function()
    assert.equal("mine.lua:4: no such tier", fault_of "error 'no such tier'")
    assert.equal("mine.lua:4: no such tier", fault_of "assert(false, 'no such tier')")
    assert.equal("mine.lua:2: no such tier", fault_of "error('no such tier', 0)")
  end)

  it("is told without words that the script put together, which may hold a prompt", function()
    for _, body in ipairs { "error(secret)", "error('bad: ' .. secret)", "error(secret:sub(1, 30))",
      "assert(false, secret)", "error(secret .. '\\nx.lua:1: y')",
      "error('9:' .. secret)", "error(secret, 2)" } do
      assert.matches("it raised an error$", fault_of(body), body)
    end
    assert.equal("mine.lua:2: it raised an error", fault_of "error(secret .. ':12: ', 0)")
    assert.equal("mine.lua:4: x", fault_of "error('x\\n' .. secret)")
  end)

  it("is told without a prompt that Lua itself repeats", function()
    said_of "local x = ('%' .. secret):format(1)"
    said_of "local x = ('x'):gsub('x', secret .. '%')"
    said_of "local x = ('x'):find('[' .. secret)"
    said_of "local x = try[secret].y"
    said_of "local x = secret + 1"
    said_of "local t = {} t[secret].x = 1"
    said_of "return secret"
    said_of "return { [secret] = 1 }"
  end)

  it("may be anything that can be thrown", function()
    assert.equal("mine.lua:2: it raised a table", fault_of "error { message = secret }")
    assert.equal("mine.lua:2: it raised a nil", fault_of "error()")
    assert.equal("mine.lua:2: it raised a boolean", fault_of "error(false)")
    assert.equal("mine.lua:2: it raised a function", fault_of "error(tostring)")
    local angry = setmetatable({}, { __tostring = function() error "twice" end,
      __index = function() error "thrice" end, __concat = error, __name = PROMPT })
    assert.matches("^spec/policy/faults_spec.lua:%d+: it raised a table$",
      fault_of_program(function() error(angry) end))
    assert.matches("it raised an error$", fault_of_program(function() error(PROMPT) end))
    assert.matches("attempt to", fault_of_program(function() return nil + 1 end))
    assert.matches("^spec/policy/faults_spec.lua:%d+: it raised an error$",
      fault_of_program(function() error(PROMPT .. ":1: ", 0) end))
    assert.equal("it raised a table", fault_of_program(error)) -- what it was given
  end)

  it("is short, whatever was thrown", function()
    assert.is_true(#fault_of("error(('" .. ("x"):rep(3000) .. "'))") <= 200)
    assert.is_true(#fault_of "error(('x'):rep(1e6))" <= 200)
  end)

  it("says when it was stopped", function()
    assert.equal("mine.lua:4: it ran too long", fault_of "while true do end")
    assert.equal("mine.lua:2: it took too much memory",
      fault_of "while true do secret = secret .. secret end")
    -- Which limit it meets first is a matter of the garbage that lies about.
    local deep = fault_of "local function f() return 1 + f() end return f()"
    assert.is_true(deep:find "stack overflow" ~= nil or deep:find "it ran too long" ~= nil
      or deep:find "it took too much memory" ~= nil, deep)
  end)

  it("is counted each time and told once; a new version is told anew", function()
    local text = "return { retry = function(try) error(try.number < 3 and 'low' or 'high') end }"
    local g, events = guest_of(text)
    for number = 1, 5 do g:decide(nil, "retry", { number = number }) end
    assert.same({ retry = 5 }, g:status().faults)
    assert.equal(5, g:status().asked)
    assert.equal("retry: mine.lua:1: high", g:status().last_fault)
    assert.equal(2, #events)
    assert.same({ what = "fault", policy = "spec", version = 1, decision = "retry",
      message = "mine.lua:1: low" }, events[1])
    g:install(assert(source.of_text(text, "mine.lua", g.world)), text)
    g:decide(nil, "retry", { number = 1 })
    assert.equal(3, #events)
    assert.same({ 2, 6 }, { events[3].version, g:status().faults.retry })
  end)

  it("tells no more than some different ones", function()
    local g, events = guest_of "return { retry = function(try) return try.number end }"
    for i = 1, 200 do g:decide(nil, "retry", { number = -i }) end
    assert.equal(200, g:status().faults.retry)
    assert.equal(64, #events)
  end)

  it("of the file itself may be told in full: it knows no prompts yet", function()
    for text, message in pairs {
      ["error('x' .. 1)"] = "^f.lua:1: x1$", ["error {}"] = "^f.lua: it raised a table$",
      ["while true do end"] = "^f.lua:1: it ran too long$",
      ["local s = 'x' while true do s = s .. s end"] = "^f.lua: it took too much memory$",
      ["return 1"] = "^f.lua: a table of functions expected, got a number$",
      [""] = "^f.lua: a table of functions expected, got nothing$",
      ["return { rety = function() end }"] =
        "^f.lua:1: no decision is called 'rety', did you mean 'retry'%?$",
      ["return { retry = 5 }"] = "^f.lua: retry: a function expected, got a number$",
      ["return {"] = "^f.lua:1: ", ["\0"] = "^f.lua:1: ",
    } do
      local functions, why = source.of_text(text, "f.lua", guest.new("x").world)
      assert.is_nil(functions)
      assert.matches(message, why)
    end
  end)

  it("needs no watcher", function()
    local g = guest_of "return { retry = function() return -1 end, tiers = { 1, 2 }, name = 'x' }"
    g.report = nil
    assert.is_false((g:decide(nil, "retry", {})))
    assert.same({ retry = 1 }, g:status().faults)
  end)
end)
