--- Reads what benches have told (bench/support/results.lua), and puts together what both Luas say
--- of the same thing, in the order in which it was told.
local json = require "unbusy.json"

local collected = {}

collected.luas = { "lua5.4", "luajit" }
collected.shown = { ["lua5.4"] = "Lua 5.4", luajit = "LuaJIT" }

-- An entry of a list, found by its key, or put at its end.
local function entry(list, key, new)
  if not list[key] then
    new.by_lua = new.by_lua or {}
    list[#list + 1], list[key] = new, new
  end
  return list[key]
end

-- (Axes are logarithmic.)
local function positive(value) return type(value) == "number" and value > 0 end

-- Each gives false when it is no such fact.
local add = {}

function add.run(bench, lua, fact)
  bench.runs[lua] = fact
end

add["end"] = function(bench, lua, fact)
  bench.runs[lua].seconds, bench.runs[lua].failed = fact.seconds, fact.failed
end

function add.row(bench, lua, fact)
  local table_of = entry(bench.tables, fact.title, { title = fact.title, rows = {} })
  table_of.by_lua[lua] = true
  entry(table_of.rows, fact.name, { name = fact.name, unit = fact.unit }).by_lua[lua] = fact
end

function add.goal(bench, lua, fact)
  for number = 1, math.huge do -- a bench may say the same of one thing after the other
    local goal = entry(bench.goals, number .. "\0" .. fact.what,
      { what = fact.what, unit = fact.unit, at_least = fact.at_least })
    if not goal.by_lua[lua] then
      goal.by_lua[lua] = fact
      return
    end
  end
end

function add.peer(bench, lua, fact)
  if not positive(fact.ratio) then return false end
  entry(bench.peers, fact.peer .. "\0" .. fact.what,
    { peer = fact.peer, what = fact.what }).by_lua[lua] = fact
end

function add.point(bench, lua, fact)
  if not (positive(fact.x) and positive(fact.y)) then return false end
  local curve = entry(bench.curves, fact.curve, { title = fact.curve, of = fact.of,
    unit = fact.unit, lines = {} })
  curve.by_lua[lua] = true
  local line = entry(curve.lines, fact.line, { name = fact.line })
  line.by_lua[lua] = line.by_lua[lua] or {}
  table.insert(line.by_lua[lua], { x = fact.x, y = fact.y })
end

local function read(bench, lua, path)
  local number = 0
  for text in io.lines(path) do
    number = number + 1
    local fact = json.decode(text)
    local take = type(fact) == "table" and add[fact.kind]
    if not take or take(bench, lua, fact) == false then
      error(("%s:%d: not a result of a bench"):format(path, number), 0)
    end
  end
end

--- All results below a folder, by bench.
---@param folder string with files NAME.LUA.jsonl
---@return table[] benches in the order of their names: name, runs (lua -> fact), tables, goals,
---  peers, curves; each of these has by_lua
function collected.read(folder)
  local benches = {}
  local pipe = assert(io.popen("cd '" .. folder .. "' && LC_ALL=C ls"))
  for file in pipe:lines() do
    local name, lua = file:match "^(.-)%.(lua.*)%.jsonl$"
    if name then
      read(entry(benches, name, { name = name, runs = {}, tables = {}, goals = {}, peers = {},
        curves = {} }), lua, folder .. "/" .. file)
    end
  end
  pipe:close()
  return benches
end

return collected
