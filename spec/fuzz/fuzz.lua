--- Runs a fuzz in Lua: fuzz.lua NAME [FILE…]
--
-- spec/fuzz/NAME_fuzz.lua gives `words`, and `check(input)`, which raises when something that must
-- hold does not, and gives a text that tells kinds of results apart. The inputs are those of
-- spec/fuzz/corpus/NAME, changed at random for UNBUSY_FUZZ_SECONDS (60); inputs with a new kind of
-- result are changed further. With files only these are run. UNBUSY_SEED makes a run again.
local core = require "unbusy.core"
local files = require "spec.support.files"
local mutate = require "spec.fuzz.mutate"

local name = arg[1]
local target = require("spec.fuzz." .. name .. "_fuzz")
local seconds = tonumber(os.getenv "UNBUSY_FUZZ_SECONDS" or 60)
local seed = tonumber(os.getenv "UNBUSY_SEED") or math.floor(core.wall() * 1000) % 2147483646

local LUA = _VERSION == "Lua 5.4" and "lua5.4" or "luajit"

local function corpus()
  local texts, list = {}, assert(io.popen("ls spec/fuzz/corpus/" .. name .. "/*"))
  for path in list:lines() do texts[#texts + 1] = files.read(path) end
  list:close()
  assert(#texts > 0, "no corpus for " .. name)
  return texts
end

-- The input goes to a file, so that it can be run again.
local function tell(input, message)
  local path = os.getenv "UNBUSY_FUZZ_DIR" or "build/fuzz"
  path = ("%s/%s-%d"):format(path, name, math.floor(core.wall() * 1000))
  local file = assert(io.open(path, "wb"))
  file:write(input)
  file:close()
  print(("%s: %s"):format(name, message))
  print(("run it again: sh spec/fuzz/run.sh %s@%s %s"):format(name, LUA, path))
  os.exit(1)
end

local function run(input)
  local ok, result = xpcall(target.check, debug.traceback, input)
  if not ok then tell(input, result) end
  return result
end

if arg[2] then
  for i = 2, #arg do run(files.read(arg[i])) end
  os.exit(0)
end

local m = mutate.new(seed, corpus(), target.words)
local known, kinds, count, stop = {}, 0, 0, core.now() + seconds
repeat
  local input = m:next()
  local kind = run(input)
  count = count + 1
  if not known[kind] then
    known[kind], kinds = true, kinds + 1
    m:keep(input)
  end
until count % 16 == 0 and core.now() >= stop
print(("%s: %d inputs, %d kinds of results, seed %d"):format(name, count, kinds, seed))
