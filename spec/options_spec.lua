local guard = require "spec.support.leak_guard"
local options = require "unbusy.options"

-- The message for `given`, as a module's `new` would raise it.
local function refusal(schema, given)
  local ok, message = pcall(function() options.check(schema, given, "thing", 0) end)
  assert.is_false(ok, "accepted")
  return message
end

local function accept(schema, given)
  return options.check(schema, given, "thing")
end

local function refused(expected, schema, given)
  assert.equal("thing: " .. expected, refusal(schema, given))
end

local NAN = 0 / 0

describe("options", function()
  guard.watch(before_each, after_each)

  describe("types:", function()
    local samples = {
      number = 1.5, whole = 3, string = "s", boolean = true, ["function"] = print,
      table = { x = 1 }, list = { 1 },
    }
    local also = { number = { whole = true }, table = { list = true } }

    it("each takes its own and refuses the others", function()
      for kind in pairs(samples) do
        for other, value in pairs(samples) do
          local schema = { o = { type = kind } }
          if kind == other or (also[kind] or {})[other] then
            assert.equal(value, accept(schema, { o = value }).o)
          else
            local shown = type(value) == "number" and tostring(value) or "a " .. type(value)
            refused(kind == "list" and other == "table" and "o: a list expected, got key 'x'"
              or ("o: %s expected, got %s"):format(kind, shown), schema, { o = value })
          end
        end
      end
    end)

    it("any takes everything, false too", function()
      for _, value in ipairs { 1, "s", true, false, print, {} } do
        assert.equal(value, accept({ o = { type = "any" } }, { o = value }).o)
      end
      assert.is_nil(accept({ o = { type = "any" } }, {}).o)
    end)

    it("several are joined by a bar", function()
      local schema = { o = { type = "boolean|number|string", min = 2, one_of = { "a", "b" } } }
      for _, value in ipairs { true, false, 2, "a" } do
        assert.equal(value, accept(schema, { o = value }).o)
      end
      refused("o: boolean or number or string expected, got a table", schema, { o = {} })
      refused("o: a number at least 2 expected, got 1", schema, { o = 1 })
      refused("o: one of a, b expected, did you mean 'a'?", schema, { o = "c" })
    end)

    it("no number is NaN, no whole number is infinite or broken", function()
      assert.equal(math.huge, accept({ o = { type = "number" } }, { o = math.huge }).o)
      assert.matches("o: number expected, got %-?nan", refusal({ o = { type = "number" } },
        { o = NAN }))
      for _, value in ipairs { math.huge, -math.huge, NAN, 0.5, -1e-9 } do
        assert.matches("o: whole expected", refusal({ o = { type = "whole" } }, { o = value }))
      end
      for _, value in ipairs { 0, -0.0, 1e15, -7, 2 ^ 53, 1e300 } do
        assert.equal(value, accept({ o = { type = "whole" } }, { o = value }).o)
      end
      assert.matches("number expected, got a string", refusal({ o = { type = "number" } },
        { o = "1" }))
    end)
  end)

  describe("bounds:", function()
    local schema = { o = { type = "number", min = -1, max = 10 } }

    it("min and max are allowed, beyond is not", function()
      assert.equal(-1, accept(schema, { o = -1 }).o)
      assert.equal(10, accept(schema, { o = 10 }).o)
      refused("o: a number at least -1 expected, got -1.5", schema, { o = -1.5 })
      refused("o: a number at most 10 expected, got 11", schema, { o = 11 })
      assert.matches("at most 10", refusal(schema, { o = math.huge }))
    end)

    it("`above` leaves its bound out", function()
      schema = { o = { type = "number", above = 0 } }
      assert.equal(1e-300, accept(schema, { o = 1e-300 }).o)
      refused("o: a number above 0 expected, got 0", schema, { o = 0 })
      refused("o: a number above 0 expected, got -1", schema, { o = -1 })
    end)

    it("bound whole numbers too, and not the default", function()
      schema = { o = { type = "whole", min = 1, default = 0 } }
      assert.equal(0, accept(schema, {}).o)
      refused("o: a number at least 1 expected, got 0", schema, { o = 0 })
    end)
  end)

  describe("defaults:", function()
    it("fill what is nil, and not what is false", function()
      local schema = { a = { type = "boolean", default = true }, b = { type = "number|boolean",
        default = 5 } }
      assert.same({ a = true, b = 5 }, accept(schema, {}))
      assert.same({ a = true, b = 5 }, accept(schema, nil))
      assert.same({ a = false, b = false }, accept(schema, { a = false, b = false }))
      assert.is_false(accept({ a = { type = "boolean", default = false } }, {}).a)
    end)

    it("are for a copy: the given table stays as it was", function()
      local schema = { a = { type = "number", default = 1 },
        deep = { type = "table", fields = { b = { type = "number", default = 2 } } } }
      local given = { deep = {} }
      local o = accept(schema, given)
      assert.same({ a = 1, deep = { b = 2 } }, o)
      assert.same({ deep = {} }, given)
      o.deep.b = 9
      assert.equal(2, accept(schema, given).deep.b)
    end)

    it("a required one has none", function()
      local schema = { o = { type = "any", required = true } }
      refused("o is missing", schema, {})
      refused("o is missing", schema, nil)
      assert.is_false(accept(schema, { o = false }).o)
    end)
  end)

  describe("tables with fields:", function()
    local schema = {
      retry = { type = "boolean|table", fields = {
        attempts = { type = "whole", default = 5, min = 1 },
        pause = { type = "table", fields = { base = { type = "number", default = 1 } } },
      } },
    }

    it("are filled when they are left out", function()
      assert.same({ retry = { attempts = 5, pause = { base = 1 } } }, accept(schema, {}))
    end)

    it("are named with all that is around them", function()
      refused("retry.pause.base: number expected, got a string", schema,
        { retry = { pause = { base = "1" } } })
      refused("unknown option 'retry.pause.bse', did you mean 'base'?", schema,
        { retry = { pause = { bse = 1 } } })
      refused("retry.attempts: a number at least 1 expected, got 0", schema,
        { retry = { attempts = 0 } })
      refused("retry.pause: table expected, got 5", schema, { retry = { pause = 5 } })
    end)

    it("may be another type where the schema says so", function()
      assert.is_false(accept(schema, { retry = false }).retry)
      assert.is_true(accept(schema, { retry = true }).retry)
      refused("retry: boolean or table expected, got 3", schema, { retry = 3 })
    end)

    it("stay nil when optional, and take a default of their own", function()
      local inner = { x = { type = "number", default = 1 } }
      assert.is_nil(accept({ t = { type = "table", optional = true, fields = inner } }, {}).t)
      assert.same({ x = 1 }, accept({ t = { type = "table", optional = true, fields = inner } },
        { t = {} }).t)
      assert.is_false(accept({ t = { type = "table|boolean", default = false, fields = inner } },
        {}).t)
    end)

    it("are missed when something in them is required", function()
      local s = { t = { type = "table", fields = { x = { type = "number", required = true } } } }
      refused("t.x is missing", s, {})
      refused("t.x is missing", s, { t = {} })
      refused("t is missing", { t = { type = "table", required = true, fields = {} } }, {})
    end)
  end)

  describe("lists:", function()
    local schema = { l = { type = "list", min = 1, max = 3, each = { type = "string" } } }

    it("check every item, and copy", function()
      local given = { l = { "a", "b" } }
      local o = accept(schema, given)
      assert.same(given, o)
      assert.are_not.equal(given.l, o.l)
      refused("l[2]: string expected, got 5", schema, { l = { "a", 5 } })
      refused("l: list expected, got a string", schema, { l = "a" })
    end)

    it("have a length", function()
      refused("l: a list of length at least 1 expected, got 0", schema, { l = {} })
      refused("l: a list of length at most 3 expected, got 4", schema, { l = { "a", "b", "c",
        "d" } })
      local bare = { l = { type = "list", min = 1, max = 2 } }
      refused("l: a list of length at least 1 expected, got 0", bare, { l = {} })
      refused("l: a list of length at most 2 expected, got 3", bare, { l = { 1, 2, 3 } })
      assert.same({ 1, {} }, accept(bare, { l = { 1, {} } }).l)
    end)

    it("have no names, no holes and nothing beside", function()
      refused("l: a list expected, got key 'x'", schema, { l = { "a", x = 1 } })
      refused("l: a list expected, got key 'true'", schema, { l = { "a", [true] = 1 } })
      local hole = "l: a list without holes expected"
      refused(hole, schema, { l = { "a", nil, "c" } })
      refused(hole, schema, { l = { nil, "b" } })
      refused(hole, schema, { l = { [2] = "b" } })
      refused(hole, schema, { l = { "a", [1.5] = "b" } })
      refused(hole, schema, { l = { [0] = "z", "a" } })
      refused(hole, schema, { l = { [-1] = "z" } })
      refused(hole, schema, { l = { [math.huge] = "z" } })
      refused(hole, schema, { l = { "a", nil, "c", [0] = "z" } }) -- as many keys as the length says
      local loose = { l = { type = "list", each = { type = "any" } } }
      refused(hole, loose, { l = { "a", nil, "c", "d", [0] = "z" } })
    end)

    it("may hold false, tables and lists", function()
      assert.same({ false, true }, accept({ l = { type = "list", each = { type = "boolean" } } },
        { l = { false, true } }).l)
      local deep = { l = { type = "list", each = { type = "table", fields = {
        name = { type = "string", required = true },
        tags = { type = "list", each = { type = "whole" } },
        n = { type = "number", default = 7 },
      } } } }
      assert.same({ { name = "a", n = 7 }, { name = "b", n = 1, tags = { 1 } } },
        accept(deep, { l = { { name = "a" }, { name = "b", n = 1, tags = { 1 } } } }).l)
      refused("l[2].name is missing", deep, { l = { { name = "a" }, {} } })
      refused("l[1].tags[3]: whole expected, got 0.5", deep, { l = { { name = "a", tags = { 1, 2,
        0.5 } } } })
      refused("unknown option 'l[1].nam', did you mean 'name'?", deep, { l = { { nam = "a" } } })
    end)
  end)

  describe("names:", function()
    it("unknown ones are refused, with the nearest", function()
      local schema = { attempts = { type = "any" }, base = { type = "any" },
        cap = { type = "any" } }
      refused("unknown option 'atempts', did you mean 'attempts'?", schema, { atempts = 1 })
      refused("unknown option 'Base', did you mean 'base'?", schema, { Base = 1 })
      refused("unknown option 'something_else'", schema, { something_else = false })
      refused("unknown option '1'", schema, { "value" })
      refused("unknown option 'true'", schema, { [true] = 1 })
      refused("unknown option 'x'", {}, { x = 1 })
    end)

    it("nearest: a distance of two, or a third of a long word", function()
      local names = { "breaker", "budget", "cache", "failure_rate" }
      assert.equal("breaker", options.nearest("braeker", names))
      assert.equal("budget", options.nearest("budgets", names))
      assert.equal("budget", options.nearest("BUDGET", names))
      assert.equal("failure_rate", options.nearest("failureRates", names))
      assert.is_nil(options.nearest("zzzzzz", names))
      assert.is_nil(options.nearest("x", {}))
      assert.is_nil(options.nearest(("x"):rep(1000), names))
      assert.equal("b", options.nearest("", { "abc", "b" })) -- the nearest, not the first
    end)

    it("words of a string likewise", function()
      local schema = { kind = { type = "string", one_of = { "full", "equal", "linear" } } }
      assert.equal("equal", accept(schema, { kind = "equal" }).kind)
      refused("kind: one of full, equal, linear expected, did you mean 'linear'?", schema,
        { kind = "lineer" })
      refused("kind: one of full, equal, linear expected", schema, { kind = ("q"):rep(100) })
    end)
  end)

  describe("refusals:", function()
    it("show no value of a string, table or function", function()
      local schema = { key = { type = "number" }, list = { type = "list",
        each = { type = "whole" } },
        word = { type = "string", one_of = { "a" } } }
      for _, given in ipairs { { key = "sk-secret" }, { list = { "sk-secret" } },
        { word = "sk-secret" },
        { "sk-secret" } } do
        assert.is_nil(refusal(schema, given):find("secret", 1, true))
      end
    end)

    it("come at the line of the caller's caller, or where `level` says", function()
      local schema = { x = { type = "number" } }
      local function new(given, level) options.check(schema, given, "thing", level) return true end
      local function outer(given) new(given, 4) return true end
      local line
      local function raised(f, expected)
        local ok, message = pcall(f)
        assert.is_false(ok)
        assert.matches(("options_spec%%.lua:%d: thing: %s$"):format(line + 1, expected), message)
      end
      raised(function()
        line = debug.getinfo(1, "l").currentline
        new { elsewhere = 1 }
      end, "unknown option 'elsewhere'")
      raised(function()
        line = debug.getinfo(1, "l").currentline
        new(5)
      end, "a table of options expected, got 5")
      raised(function()
        line = debug.getinfo(1, "l").currentline
        outer { x = "1" }
      end, "x: number expected, got a string")
    end)

    it("of what is no table at all", function()
      refused("a table of options expected, got a string", {}, "x")
      refused("a table of options expected, got a boolean", {}, false)
      refused("a table of options expected, got a function", {}, print)
    end)

    it("`field` gives them as nil and a message", function()
      local value, message = options.field({ type = "number" }, "x", "here")
      assert.is_nil(value)
      assert.equal("here: number expected, got a string", message)
      assert.equal(3, options.field({ type = "number" }, 3, "here"))
      value, message = options.field({ type = "boolean" }, false, "here")
      assert.is_false(value)
      assert.is_nil(message)
    end)
  end)
end)
