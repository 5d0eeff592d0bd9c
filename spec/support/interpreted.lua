--- For `busted --helper`: LuaJIT interprets only, since a memory checker knows nothing of the code
--- that it compiles at run time.
if jit then -- luacheck: ignore 113
  jit.off() -- luacheck: ignore 113
  jit.flush() -- luacheck: ignore 113
end
