--- Where a script lives: its environment, and how a text becomes a function in it.
--
-- A script sees `assert error ipairs next pairs select tonumber tostring type`, libraries of its
-- own (`fold math string table utf8`), `now()` in Unix seconds and `null`; nothing that reads or
-- writes anything, waits, catches an error, or makes code out of a text. It is guarded against
-- accidents, not against enemies: a method of a string (`("x"):rep(9)`) is the program's own.
local fold = require "unbusy.fold"
local json = require "unbusy.json"
local utf8 = require "unbusy.policy.utf8"

local sandbox = {}

local unpack = table.unpack or unpack -- luacheck: ignore
local jit = jit -- luacheck: ignore 113

local MOST = 16 * 1024 * 1024 -- bytes, and repetitions, of `string.rep`

-- What every Lua has.
local libraries = {
  fold = { lib = fold, "case", "marks", "question", "spaces", "text", "width" },
  math = { lib = math, "abs", "ceil", "cos", "exp", "floor", "fmod", "huge", "log", "max", "min",
    "modf", "pi", "sin", "sqrt", "tan" },
  string = { lib = string, "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower",
    "match", "reverse", "sub", "upper" },
  table = { lib = table, "concat", "insert", "remove", "sort" },
  utf8 = { lib = utf8, "char", "charpattern", "codepoint", "codes", "len", "offset" },
}

local plain = { ipairs = ipairs, next = next, pairs = pairs, select = select, tonumber = tonumber,
  tostring = tostring, type = type }

-- No text that no memory could hold, nor a loop over nothing that takes for ever.
local function rep(text, count, between)
  text = type(text) == "number" and tostring(text) or text
  if type(text) == "string" and type(count) == "number" and count > 0 then
    local length = #text + (type(between) == "string" and #between or 0)
    if count * math.max(length, 1) > MOST then error("rep: the text would be too long", 2) end
  end
  return string.rep(text, count, between)
end

local function random_of(world)
  return function(low, high)
    local chance = world.chance()
    if low == nil then return chance end
    if high == nil then low, high = 1, low end
    if type(low) ~= "number" or type(high) ~= "number" or low > high then
      error("random: two numbers expected, the lower one first", 2)
    end
    return low + math.floor(chance * (high - low + 1))
  end
end

-- As Lua's own, but known to come from the script: what a script says may hold what it was told.
local function raisers(world)
  local function raise(message, level)
    world.raised = true
    level = level == nil and 1 or level
    error(message, level == 0 and 0 or level + 1)
  end
  local function check(...)
    local ok, message = ...
    if ok then return ... end
    if select("#", ...) == 0 then error("assert: a value expected", 2) end
    world.raised = select("#", ...) > 1
    error(message == nil and "assertion failed" or message, 2)
  end
  return raise, check
end

local function library(list)
  local out = {}
  for _, name in ipairs(list) do out[name] = list.lib[name] end
  return out
end

--- A new environment. `world` is what changes about it: `clock()` gives Unix seconds, `chance()` a
--- number in [0, 1), and `raised` turns true when the script raises an error of its own.
---@param world table
---@return table environment
function sandbox.environment(world)
  local env = { null = json.null }
  for name, value in pairs(plain) do env[name] = value end
  for name, list in pairs(libraries) do env[name] = library(list) end
  env.string.rep, env.math.random = rep, random_of(world)
  env.table.unpack = unpack
  env.error, env.assert = raisers(world)
  function env.now() return world.clock() end
  return env
end

--- Keeps a function, and all that stand in it, out of LuaJIT's compiler: hooks see nothing of
--- compiled code, so it could not be stopped.
---@param f function
function sandbox.interpret(f)
  if jit then pcall(jit.off, f, true) end -- which a function of C has no use for
end

--- A script's text without what editors put before it, a byte order mark, and without a first line
--- that is for the shell (`#!`): no Lua but LuaJIT knows of these in a text.
---@param text string
---@return string
function sandbox.bare(text)
  text = text:gsub("^\239\187\191", "")
  return (text:gsub("^#[^\r\n]*", ""))
end

--- A text as a function that will run in `env`; never bytecode.
---@param text string
---@param name string what its errors call it
---@param env table
---@return function? chunk, string? message
function sandbox.compile(text, name, env)
  if text:sub(1, 1) == "\27" then return nil, name .. ": a text expected, got bytecode" end
  local chunk, message = load(sandbox.bare(text), "@" .. name, "t", env)
  if not chunk then return nil, message end
  sandbox.interpret(chunk)
  return chunk
end

return sandbox
