--- For `busted --helper`: garbage is collected as hard as it goes, so that a value which nothing
-- keeps is gone by the time it is used.
--
-- UNBUSY_COLLECTOR says how: "incremental" (a new cycle begins when the last one has ended, and
-- each allocation pays for a part of it) or, on Lua 5.4, "generational". Either way there is a full
-- collection after each so many instructions, in every coroutine.
local INSTRUCTIONS = 50000

local mode = os.getenv "UNBUSY_COLLECTOR" or "incremental"
if mode == "generational" then
  collectgarbage("generational", 1, 1)
else
  collectgarbage("setpause", 1) -- a percentage; 0 would be 5.4's own choice
  collectgarbage("setstepmul", 1000)
end

local function collect()
  collectgarbage()
end

debug.sethook(collect, "", INSTRUCTIONS)

-- A hook belongs to a coroutine on 5.4, and to all of them on LuaJIT.
if not rawget(_G, "jit") then
  local create = coroutine.create
  local function hooked(f)
    local co = create(f)
    debug.sethook(co, collect, "", INSTRUCTIONS)
    return co
  end
  coroutine.create = hooked -- luacheck: ignore 122
end
