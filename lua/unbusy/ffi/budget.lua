--- `begin` and `finish` of the budget, which every call passes, through LuaJIT's FFI.
local ffi = require "unbusy.ffi"

local types = { begin = "void (*)(void *)", finish = "int (*)(void *, int)" }

local outcomes = { fail = 0, ok = 1 }

ffi.install("budget", types, function(metatable, slow, call)
  local metatable_of = debug.getmetatable
  local slow_begin, slow_finish = slow.begin, slow.finish
  local c_begin, c_finish = call.begin, call.finish

  local function begin(self)
    if metatable_of(self) ~= metatable then return slow_begin(self) end
    c_begin(self)
  end

  local function finish(self, outcome)
    local clean = outcomes[outcome]
    if metatable_of(self) ~= metatable or not clean then return slow_finish(self, outcome) end
    return c_finish(self, clean) ~= 0
  end

  return { begin = begin, finish = finish }
end)
