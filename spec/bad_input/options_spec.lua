-- Every option of a client and of a call, made from the schema: each wrong type, each number out of
-- its bounds and each misspelt name raises at the caller's line and names the option.
local config = require "unbusy.config"
local guard = require "spec.support.leak_guard"
local unbusy = require "unbusy"

local QUESTION = { messages = { { role = "user", content = "hi" } } }

-- {== Values of a wrong type ==============================================

local samples = {
  number = 1.5, whole = 3, string = "x", boolean = true, table = {}, ["function"] = print,
  thread = coroutine.create(print), userdata = io.stdout, nan = 0 / 0,
}
-- What may stand for what: whole numbers are numbers, tables lists.
local stands_for = { number = { number = true, whole = true }, whole = { whole = true },
  list = { table = true, list = true } }

local function fits(sample, types)
  for word in types:gmatch "[^|]+" do
    if word == sample or stands_for[word] and stands_for[word][sample] then return true end
  end
end

-- Calls `f(value, what)` for every value that `field` must refuse.
local function each_wrong(field, f)
  for sample, value in pairs(samples) do
    if not fits(sample, field.type) then f(value, sample) end
  end
  local takes_numbers = fits("whole", field.type)
  if takes_numbers and field.min then f(field.min - 1, "below") end
  if takes_numbers and field.above then f(field.above, "at the bound") end
  if takes_numbers and field.max then f(field.max * 2 + 1, "above") end
  if takes_numbers then f(-math.huge, "no end") end
  if field.one_of then f("no such word", "word") end
end

-- }========================================================================

-- {== Options at any depth ================================================

-- Options that are right but for what `change(options)` does to the table at `path`.
local function target()
  return { name = "a", url = "http://a", price = { input = 1, output = 1 } }
end

-- Every table of the options: its schema, its name in messages, and how to put it in.
local tables = {
  { schema = config.client, name = "", put = function(o) return o end },
  { schema = config.target, name = "targets[1].", put = function(o, t)
    o.targets[1] = t
  end, base = target },
}

local function add_tables(schema, name, into)
  for key, field in pairs(schema) do
    if field.fields and key ~= "targets" then
      tables[#tables + 1] = { schema = field.fields, name = name .. key .. ".",
        put = function(o, t) into(o)[key] = t end,
        base = function() return key == "price" and { input = 1, output = 1 } or {} end }
    end
  end
end
add_tables(config.client, "", function(o) return o end)
add_tables(config.target, "targets[1].", function(o) return o.targets[1] end)

-- The options with `value` under `key` of one of the tables.
local function options_with(place, key, value)
  local o = { targets = { target() } }
  local t = place.base and place.base() or o
  t[key] = value
  if place.base then place.put(o, t) end
  return o
end

-- }========================================================================

local function make(o)
  local client = unbusy.new(o)
  return client
end

local client
local function call(o)
  local reply = client:chat(QUESTION, o)
  return reply
end

-- The line where `f` does its work, as messages name it.
local function line_of(f)
  return ("options_spec%%.lua:%d: "):format(debug.getinfo(f, "S").linedefined + 1)
end

local function refuses(f, o, option, what)
  local ok, message = pcall(f, o)
  if ok then error(("accepted: %s, %s"):format(option, what), 2) end
  if not (type(message) == "string" and message:find(line_of(f))
    and message:find(option, 1, true)) then
    error(("%s, %s: %s"):format(option, what, tostring(message)), 2)
  end
  return message
end

describe("an option", function()
  guard.watch(before_each, after_each)

  it("of a client has its type and its bounds", function()
    local count = 0
    for _, place in ipairs(tables) do
      for key, field in pairs(place.schema) do
        each_wrong(field, function(value, what)
          refuses(make, options_with(place, key, value), place.name .. key, what)
          count = count + 1
        end)
      end
    end
    assert.is_true(count > 400, count)
  end)

  it("of a client that is misspelt names the one that was meant", function()
    for _, place in ipairs(tables) do
      for key in pairs(place.schema) do
        for _, wrong in ipairs { key .. "_", "x" .. key } do
          local message = refuses(make, options_with(place, wrong, 1), place.name .. wrong, wrong)
          assert.matches(("unknown option '%s%s', did you mean '%s'?"):format(place.name, wrong,
            key), message, 1, true)
        end
      end
      refuses(make, options_with(place, "nothing_like_any_of_them", 1), place.name .. "nothing", "")
      refuses(make, options_with(place, 1, "x"), "unknown option '" .. place.name .. "1'", "1")
      refuses(make, options_with(place, true, "x"), "unknown option '" .. place.name .. "true'", "")
    end
  end)

  it("of a call is held to the same", function()
    client = make { targets = { target() } }
    local count = 0
    local function check(schema, name, wrap)
      for key, field in pairs(schema) do
        each_wrong(field, function(value, what)
          refuses(call, wrap { [key] = value }, name .. key, what)
          count = count + 1
        end)
        local message = refuses(call, wrap { [key .. "_"] = 1 }, name .. key .. "_", "misspelt")
        assert.matches(("did you mean '%s'?"):format(key), message, 1, true)
      end
    end
    check(config.call, "", function(o) return o end)
    check(config.call.clocks.fields, "clocks.", function(o) return { clocks = o } end)
    refuses(call, 5, "table of options expected, got 5", "")
    refuses(call, "x", "table of options expected, got a string", "")
    assert.is_true(count > 60, count)
    assert.equal(0, client:status().active)
    client = nil
  end)

  it("that is a list has neither holes nor names", function()
    local t = target()
    refuses(make, { targets = { [2] = t } }, "targets: a list without holes expected", "")
    refuses(make, { targets = { t, x = t } }, "targets: a list expected, got key 'x'", "")
    refuses(make, { targets = { t, [0] = t } }, "targets: a list without holes expected", "")
    refuses(make, { targets = { t, [1.5] = t } }, "targets: a list without holes expected", "")
    refuses(make, { targets = { t, "x" } }, "targets[2]: table expected, got a string", "")
    t.keys = { "a", 5 }
    refuses(make, { targets = { t } }, "targets[1].keys[2]: string expected, got 5", "")
  end)

  it("that is needed is missed by its name", function()
    refuses(make, {}, "targets is missing", "")
    refuses(make, { targets = { { name = "a" } } }, "targets[1].url is missing", "")
    refuses(make, { targets = { { url = "http://a" } } }, "targets[1].name is missing", "")
    refuses(make, { targets = { { name = "a", url = "http://a", price = {} } } },
      "targets[1].price.input is missing", "")
    refuses(make, { targets = { target() }, fallback = {} }, "text is missing", "")
  end)
end)
