--- The hot methods of some parts, on LuaJIT: compiled Lua over the same C functions.
--
-- Through LuaJIT's C API a call costs about 30 ns and ends what its compiler can see. So a file
-- beside this one replaces the methods of its part that are called most, each by a Lua function
-- that knows only the common way: an object of the right type, right words, plain numbers. Then it
-- calls the C function through the FFI; the compiler sees all of it. Everything else (a wrong
-- object, a wrong word, a failure that needs a sentence) goes to the C method as it came, in a tail
-- call, so that it raises at the caller's line whatever it always raised.
--
-- A type is told by its metatable: debug.getmetatable is compiled to one comparison, sees through
-- `__metatable`, and gives a script that has no debug library nothing to forge.
--
-- Nothing is replaced, and the C methods serve, on Lua 5.4, with the JIT off (the FFI is slow in
-- the interpreter), without the `ffi` module, and with UNBUSY_FFI=off in the environment.
local core = require "unbusy.core"

local ffi = {
  --- Stands for the time when none is given: the C function reads the clock.
  CLOCK = 0 / 0,
}

local function library()
  local jit = jit -- luacheck: ignore 113
  if not core.calls or os.getenv "UNBUSY_FFI" == "off" or not (jit and jit.status()) then return end
  local found, lib = pcall(require, "ffi")
  return found and debug and debug.getregistry and lib
end

local lib = library()

--- The C functions of a part, callable; nil where they do not serve, and the second time.
---@param part string
---@param types table<string, string> C function pointer types, by the names in `core.calls`
---@return table<string, ffi.cdata*>?
function ffi.calls(part, types)
  local addresses = lib and core.calls[part]
  if not addresses then return nil end
  core.calls[part] = nil -- once
  local call = {}
  for name, ctype in pairs(types) do
    call[name] = lib.cast(ctype, lib.cast("uintptr_t", addresses[name]))
  end
  return call
end

--- Replaces methods of a part, unless the C methods have to serve.
---
--- `build(metatable, slow, call, lib)` gives the new methods by name. `metatable` is that of the
--- part's objects, `slow` has the C methods, `call` the C functions of `types`, callable, and `lib`
--- is LuaJIT's FFI.
---@param part string
---@param types table<string, string> C function pointer types, by the names in `core.calls`
---@param build function
function ffi.install(part, types, build)
  local call, slow = ffi.calls(part, types), {}
  if not call then return end
  local metatable = debug.getregistry()["unbusy." .. part]
  for name, method in pairs(metatable.__index) do slow[name] = method end
  for name, method in pairs(build(metatable, slow, call, lib)) do
    metatable.__index[name] = method
  end
end

--- A number of seconds as it is; `otherwise` for nil; nil for all else, and for NaN.
---@param value any
---@param otherwise number
---@return number?
function ffi.seconds(value, otherwise)
  if value == nil then return otherwise end
  if type(value) == "number" and value == value then return value end
end

--- The message of a part's failure, as the C methods give it.
---@param part string
---@param word string code word
---@return string
function ffi.message(part, word)
  for _, err in ipairs(core.errors()) do
    if err.word == word then return part .. ": " .. err.text end
  end
end

return ffi
