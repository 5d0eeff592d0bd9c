--- For `busted --helper`: LuaJIT interprets only. Code that it has compiled at run time is none
--- that a memory checker knows anything about.
if jit then -- luacheck: ignore 113
  jit.off() -- luacheck: ignore 113
  jit.flush() -- luacheck: ignore 113
end
