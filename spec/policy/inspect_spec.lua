-- What `unbusy check` finds in a script: where it stands, and what it is.
local batch_rules = require "unbusy.batching.rules"
local codes = require "unbusy.codes"
local decisions = require "unbusy.policy.decisions"
local inspect = require "unbusy.policy.inspect"
local policy = require "unbusy.policy"
local pools = require "unbusy.pools"
local samples = require "unbusy.policy.samples"
local tokens = require "unbusy.policy.tokens"
local world = require "spec.support.world"

local NAME = "mine.lua"

-- The problems (or notes) of a text as lines "12: what".
local function lines(list)
  local out = {}
  for i, one in ipairs(list) do out[i] = ("%s: %s"):format(one.line or "-", one.message) end
  return out
end

local function problems(text, known)
  return lines(inspect.text(text, NAME, known).problems)
end

-- A policy with one function, from its second line on.
local function with(name, body)
  return ("local policy = {}\nfunction policy.%s(a, b)\n%s\nend\nreturn policy\n")
    :format(name, body)
end

local function assert_one(pattern, text, known)
  local found = problems(text, known)
  assert.equal(1, #found, table.concat(found, "\n"))
  assert.matches(pattern, found[1])
end

describe("a policy that is looked at", function()
  it("has nothing wrong when all is well", function()
    local report = inspect.text(with("retry", "return 2 ^ a.number"):gsub("2 ^", "2 *"), NAME)
    assert.same({}, report.problems)
    assert.same({}, report.notes)
    assert.same({ "retry" }, report.functions)
    assert.is_true(report.ok)
  end)

  it("may be any that is shipped, and any batch rule", function()
    for _, name in ipairs(policy.names) do
      local report = inspect.file(name)
      assert.same({}, lines(report.problems), name)
      assert.same({}, lines(report.notes), name)
    end
    for _, name in ipairs(batch_rules.names) do
      local report = inspect.file(("lua/unbusy/batch/%s.lua"):format(name))
      assert.same({}, lines(report.problems), name)
      assert.same({}, lines(report.notes), name)
    end
  end)

  describe("is told of what does not load", function()
    it("syntax, with its line", function()
      assert_one("^3: .*near 'x'", "local policy = {}\n\nretrun x\n")
      assert_one("^2: .*<eof>", "return {\n")
    end)

    it("what is returned", function()
      assert.same({ "-: a table of functions expected, got nothing" }, problems "")
      assert.same({ "-: a table of functions expected, got a number" }, problems "return 1")
    end)

    it("bytecode and garbage", function()
      assert.same({ "-: a text expected, got bytecode" },
        problems(string.dump(function() return {} end)))
      assert_one(".", "\0\1\2\255\254")
      assert_one(".", ("\137PNG\r\n\26\n"):rep(1000))
    end)

    it("an error, a loop without end, too much memory", function()
      assert_one("^2: no luck$", "local a = 1\nerror 'no luck'")
      assert_one("^2: it ran too long$", "local policy = {}\nwhile true do end")
      assert_one("it took too much memory$",
        "local t = {}\nfor i = 1, 1000 do t[i] = ('x'):rep(1e6) .. i end")
    end)

    it("files that cannot be read", function()
      local function file_problem(path) return lines(inspect.file(path).problems)[1] end
      assert.equal("-: No such file or directory", file_problem "no/such.lua")
      assert.equal("-: Is a directory", file_problem "lua/unbusy")
      assert.equal("-: there is no 'defualt' among the policies, did you mean 'default'?",
        file_problem "defualt")
      assert.matches("a path without control characters expected", file_problem "a\nb.lua")
      assert.matches("a name, a path", file_problem "a b")
      local path = os.tmpname() .. ".lua"
      local file = assert(io.open(path, "wb"))
      file:write(("-- much\n"):rep(150000), "return {}\n")
      file:close()
      assert.equal("-: larger than 1048576 bytes", file_problem(path))
      os.remove(path)
    end)
  end)

  describe("is told of names", function()
    it("that no decision has, with its line and the nearest one", function()
      assert.same({ "2: no decision is called 'retyr', did you mean 'retry'?" },
        problems(with("retyr", "return 1")))
      assert.same({ "2: no decision is called 'helper'" }, problems(with("helper", "return 1")))
    end)

    it("whose value is no function, with the line where it is given", function()
      assert.same({ "3: cache: a function expected, got a number" },
        problems "local policy = { }\n\npolicy.cache = 300\nreturn policy")
      assert.same({ "2: retry: a function expected, got a table" },
        problems "return {\n  retry = { 1, 2 },\n}")
    end)

    it("but not of what else stands in its table", function()
      assert.same({}, problems "return { version = 3, name = 'mine', retry = function() end }")
    end)

    it("that are outside the sandbox, in branches that nothing reaches, too", function()
      for word in ([[_G io os debug require load loadstring dofile loadfile getmetatable
        setmetatable rawget rawset pcall xpcall coroutine collectgarbage print package unpack
        ngx jit]]):gmatch "%S+" do
        assert_one("^3: '" .. word .. "' is outside the sandbox",
          with("retry", ("if a.code == 'no' then return %s.x end"):format(word)))
      end
      assert_one("_ENV", with("retry", "return _ENV.x and 1 or 2"))
    end)

    it("of libraries, with the nearest one", function()
      assert_one("^3: 'string.dump' is outside the sandbox$", with("retry", "string.dump(a)"))
      assert_one("^3: 'table.isnert' is outside the sandbox, did you mean 'insert'%?",
        with("retry", "if a.code == 'no' then table.isnert(a, 1) end"))
      assert_one("^3: 'math.randomseed' is outside", with("retry", "math['randomseed'](1)"))
      assert_one("^3: 'string.dump' is outside", with("retry", "if b then (''):dump() end"))
    end)

    it("that are nowhere, with the nearest one", function()
      assert_one("^3: nothing is called 'sting' here, did you mean 'string'%?",
        with("retry", "if b then return sting.len(a) end"))
      assert_one("^3: nothing is called 'BASE' here$", with("retry", "return b and BASE or 1"))
    end)

    it("once for each line, and not again where it fails there", function()
      assert.same({ "3: 'os' is outside the sandbox: now() gives the time" },
        problems(with("retry", "return os.time() - os.time()")))
      assert.same({ "1: 'os' is outside the sandbox: now() gives the time" },
        problems "local t = os.time()\nreturn {}")
    end)

    it("but not of its own, global or local, nor of fields of others", function()
      assert.same({}, problems [[
local os, io = { time = now }, 1
function helper(x) return x.debug, x.print end
count = 0
local policy = {}
function policy.retry(load)
  count = count + os.time() * 0 + (helper(load) and 1 or 0)
  for require = 1, 2 do count = require end
  string.mine = null
  return string.mine == null and 1 or 2
end
return policy]])
    end)

    it("that another Lua does not compile, as a note", function()
      if rawget(_G, "jit") then return end
      local report = inspect.text(with("retry",
        "local n <const> = a.number // 2\nreturn n & 3 | 1 ~ 2 << 1 >> 1 + ~0 & 1"), NAME)
      assert.is_true(report.ok)
      local notes = table.concat(lines(report.notes), "\n")
      for _, word in ipairs { "<const>", "//", "&", "|", "~", "<<", ">>" } do
        assert.is_truthy(notes:find(("'%s' is not in LuaJIT"):format(word), 1, true), word)
      end
      assert.equal("3: '//' is not in LuaJIT, which runs policies in nginx", lines(report.notes)[1])
    end)
  end)

  describe("is asked about samples, and told of", function()
    local wrong = {
      classify = { "'bsuy'", "1", "{}" }, retry = { "-1", "0/0", "1/0", "'2'", "true", "1e7" },
      route = { "1", "{}", "{ 1 }", "false" }, queued = { "'go'", "1" }, hedge = { "-1", "'1'" },
      accept = { "1", "'yes'" }, peak = { "1", "'yes'" }, resume = { "true", "'no'" },
      normalise = { "1", "{ print = now }" },
      cache = { "-1", "0", "'x'", "{}" }, batch = { "1", "{}", "{ key = 'k', max = 0 }" },
      fallback = { "1", "true", "'\\255'", "{ modle = 'x' }", "{ text = 1 }" },
    }
    for name, list in pairs(wrong) do
      it("what " .. name .. " may not say", function()
        for _, value in ipairs(list) do
          local found = inspect.text(with(name, "return " .. value), NAME).problems
          assert.equal(1, #found, value)
          assert.equal(2, found[1].line, value)
          assert.equal(name, found[1].decision)
          assert.is_string(found[1].sample)
          assert.equal(name .. ": ", found[1].message:sub(1, #name + 2):gsub("^%l+ option", name))
        end
      end)
    end

    it("every decision that is asked", function()
      for _, name in ipairs(decisions.names) do
        assert.is_truthy(wrong[name] or name == "merge" or name == "split", name)
      end
    end)

    it("errors, with the line and the sample", function()
      local text = with("normalise", "\na.messages[1].content:lower()\nreturn a")
      local report = inspect.text(text, NAME)
      local seen = {}
      for _, p in ipairs(report.problems) do
        assert.equal(4, p.line)
        seen[p.sample] = p.message
      end
      assert.matches("attempt to", seen["a completion"])
      assert.matches("attempt to", seen["a chat with a picture"])
    end)

    it("what only one code, one kind of call, or one hour brings", function()
      local function found(name, condition)
        local list = problems(with(name, ("if %s then return -1 end"):format(condition)))
        return #list
      end
      for _, code in ipairs(decisions.codes) do
        assert.equal(1, found("retry", ("a.code == %q"):format(code)), code)
      end
      for code, traits in pairs(codes) do
        local n = found("fallback", ("b.code == %q"):format(code))
        assert.equal(traits.fallback and 1 or 0, n, code)
      end
      for _, condition in ipairs { "a.stream", "a.kind == 'embed'", "a.kind == 'responses'",
        "a.kind == 'post'", "a.kind == 'complete'", "a.priority == 'batch'", "a.number > 50",
        "a.priority == 'interactive'", "a.remaining < 1", "a.targets == 1", "a.untried",
        "a.tries > a.number", "a.body == nil and a.text == nil", "a.text == ''", "a.queued > 10",
        "a.status == nil", "type(a.body) == 'number'", "a.retry_after == 0", "a.keep_alives > 50",
        "(a.retry_after or 0) > 1e4", "now() % 86400 < 3600 * 2", "now() == 0", "a.phase == 'body'",
        "next(a.headers) == nil", "a.headers['retry-after']" } do
        assert.equal(1, found("retry", condition), condition)
      end
      for _, condition in ipairs { "a.tools", "a.prompt", "a.input", "a.model == nil",
        "#a == 0 and next(a) == nil", "type(a) == 'string'", "b[1].state == 'open'",
        "b[2].price == nil", "b[1].limit == nil", "not b[1].free and not b[2].free" } do
        assert.equal(1, found("route", condition), condition)
      end
    end)

    it("a loop without end, a table without end, a stack without end; once each", function()
      assert_one("^3: retry: it ran too long$", with("retry", "while true do end"))
      assert_one("^2: retry: it took too much memory$",
        with("retry", "local t = {} for i = 1, 1e6 do t[i] = ('x'):rep(1e4) .. i end"))
      assert_one("^[23]: retry: .*stack overflow", -- within the instructions of one decision
        with("retry", "local function f() return (('x'):gsub('x', f)) end return f()"))
      assert_one("^3: classify: it ran too long$",
        with("classify", "if a.code == 'empty' then while true do end end"))
    end)

    it("no more than five faults of one function", function()
      local many = {}
      for i, code in ipairs(decisions.codes) do
        many[i] = ("if a.code == '%s' then return -%d end"):format(code, i)
      end
      assert.equal(5, #problems(with("retry", table.concat(many, "\n"))))
    end)

    it("nothing that is left of the sample before it", function()
      assert.same({},
        problems(with("route", "local n = b[1].name\nb[1], b[2].name = nil, 1\nreturn n")))
      assert.same({}, problems(with("retry", "a.number = a.number + 1\na.body = nil\nreturn 1")))
    end)
  end)

  describe("names targets, pools and models", function()
    local known = { targets = { { name = "edge", pool = "near", models = { small = "s" } },
      { name = "centre", pool = "default", models = { big = "b" } } } }
    known.pools = pools.of(known.targets)

    it("that may be any, where nothing is known of the configuration", function()
      assert.same({}, problems(with("route", "return { 'edge', 'centre' }")))
      assert.same({}, problems(with("fallback", "return { pool = 'near', model = 'small' }")))
    end)

    it("that the configuration has, where it is given", function()
      assert.same({}, problems(with("route", "return { 'edge', b[1].name }"), known))
      assert_one("^2: route: place 1: no target has that name",
        with("route", "return 'egde'"), known)
      assert.same({}, problems(with("fallback", "return { pool = 'near' }"), known))
      assert_one("^2: .*no pool is named 'naer', did you mean 'near'",
        with("fallback", "return { pool = 'naer' }"), known)
      assert_one("^2: .*no target has 'smal', did you mean 'small'",
        with("fallback", "return { model = 'smal' }"), known)
    end)
  end)

  describe("batches", function()
    local function rule(merge, split)
      return ("return {\nbatch = function(r) return r.prompt and { key = 1 } end,\n"
        .. "merge = function(list) %s end,\nsplit = function(body, list) %s end }")
        :format(merge, split)
    end

    it("by merge and split, which go together", function()
      assert.same({}, problems(rule("return { prompt = {} }", "local out = {} "
        .. "for i = 1, #list do out[i] = { choices = { body.choices[i] } } end return out")))
      assert_one("^2: merge without split: a batch needs both", with("merge", "return {}"))
      assert_one("^2: split without merge: a batch needs both", with("split", "return {}"))
    end)

    it("and is told of a merge that cannot be", function()
      assert_one("^3: merge: a request expected", rule("return 1", "return {}"))
      assert_one("^3: merge: attempt to", rule("return list[9].prompt", "return {}"))
      assert_one("^3: merge: it ran too long", rule("while true do end", "return {}"))
    end)

    it("and of a split, as a note, since no server has given that answer", function()
      local report = inspect.text(rule("return {}", "return { {} }"), NAME)
      assert.is_true(report.ok)
      assert.matches("^4: split: an answer at place 2 expected, got nothing, on a made%-up answer",
        lines(report.notes)[1])
      assert_one("^4: split: it ran too long", rule("return {}", "while true do end"))
    end)
  end)

  it("never makes the look itself fail: shipped ones that were changed by chance", function()
    local r = require("spec.support.random").new(3)
    local lists, words_of, loaded = {}, { "nil", "0/0", "{}", "-1", "''", "now", "true", "1e9" }, 0
    for i, name in ipairs(policy.names) do
      local file = assert(io.open(policy.path(name), "rb"))
      lists[i] = tokens.of(file:read "*a")
      file:close()
    end
    for _ = 1, 3000 do
      local words = {}
      for i, token in ipairs(r:pick(lists)) do words[i] = token.text end
      for _ = 1, r:int(3) do
        local at, other = r:int(#words), r:pick(lists)
        words[at] = r:pick { "", words[r:int(#words)], other[r:int(#other)].text, r:pick(words_of) }
      end
      local text = table.concat(words, " ")
      local ok, report = pcall(inspect.text, text, NAME)
      assert.is_true(ok, text .. "\n" .. tostring(report))
      if report.functions[1] then loaded = loaded + 1 end
    end
    assert.is_true(loaded > 100, loaded)
  end)

  it("that decides nothing is told so", function()
    local report = inspect.text("return { version = 1 }", NAME)
    assert.is_true(report.ok)
    assert.same({ "-: it decides nothing: its table has no function" }, lines(report.notes))
  end)

  it("has its place told where its name is long, or holds what patterns mean", function()
    local path = ("d/"):rep(100) .. "[%a+].lua"
    local text = "return { retry = function(try)\nreturn nil + 1 end }"
    local found = inspect.text(text, path).problems
    assert.equal(2, found[1].line)
    assert.matches("^retry: attempt to perform arithmetic", found[1].message)
  end)
end)

describe("the samples that policies are asked about", function()
  local function fields(t)
    local out = {}
    for name in pairs(t) do out[name] = true end
    return out
  end

  -- Of all samples together: a field that is missing in one may be nil there.
  local function all_fields(list, place)
    local out = {}
    for _, one in ipairs(list) do
      for name in pairs(one[place]) do out[name] = true end
    end
    return out
  end

  it("have the fields that calls tell", function()
    local seen = {}
    local w = world.new { script = { a = { world.status(503, { ["retry-after"] = "0" }, "{}"),
        { status = 200, steps = { { 0.1, "\n" } } } } },
      targets = { a = { price = { input = 1, output = 2 }, weight = 1, pool = "p" }, b = {} },
      order = { "a", "b" },
      options = { clocks = { total = 9 }, policy = {
        retry = function(try) seen.try = seen.try or try return try.number < 2 and 0 or nil end,
        route = function(_, targets) seen.target = seen.target or targets[1] end,
        fallback = function(_, failure) seen.failure = failure end,
      } } }
    w.script.b = w.script.a
    w.client:chat({ model = "m", messages = { { role = "user", content = "hi" } } },
      { language = "zh" })
    local tries = all_fields(samples.of.retry, 1)
    for name in pairs(seen.try) do assert.is_true(tries[name], name) end
    for name in pairs(tries) do
      local told = seen.try[name] ~= nil or name == "retry_after" or name == "phase"
      assert.is_true(told, name)
    end
    local targets = {}
    for _, one in ipairs(samples.of.route) do
      for _, t in ipairs(one[2]) do
        for name in pairs(t) do targets[name] = true end
      end
    end
    assert.same(fields(seen.target), targets)
    local failures = all_fields(samples.of.fallback, 2)
    for name in pairs(seen.failure) do assert.is_true(failures[name], name) end
  end)
end)
