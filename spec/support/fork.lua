--- fork() for specs, on both Luas: a small C module, built when it is first asked for.
--
--     local process = require "spec.support.fork"
--     local pid = process.fork()
--     if pid == 0 then … process.leave() end
--     process.wait(pid)
local name = _VERSION == "Lua 5.4" and "lua5.4" or "luajit"
local path = os.tmpname()

local built = os.execute(("${CC:-cc} -shared -fPIC $(pkg-config --cflags %s) -o %s %s")
  :format(name, path, "spec/support/fork.c"))
assert(built == true or built == 0, "fork.c does not compile")
local open, message = package.loadlib(path, "luaopen_fork")
os.remove(path)

return assert(open, message)()
