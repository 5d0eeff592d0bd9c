--- fork() and the like for specs, on both Luas: a small C module, built when it is first asked for.
--
--     local process = require "spec.support.fork"
--     local pid = process.fork()
--     if pid == 0 then … process.leave() end
--     process.wait(pid)
local name = _VERSION == "Lua 5.4" and "lua5.4" or "luajit"
local path = os.tmpname()

local flags = ("-D_GNU_SOURCE -shared -fPIC $(pkg-config --cflags %s)"):format(name)
local built = os.execute(("${CC:-cc} %s -o %s spec/support/fork.c"):format(flags, path))
assert(built == true or built == 0, "fork.c does not compile")
local open, message = package.loadlib(path, "luaopen_fork")
os.remove(path)

return assert(open, message)()
