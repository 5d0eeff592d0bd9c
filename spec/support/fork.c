/*
** fork.c: what specs need to see a process fork. Built by fork.lua.
**   luaopen_fork() -> { fork = () -> pid, wait = (pid), leave = () }
*/
#include <lauxlib.h>
#include <lua.h>
#include <sys/wait.h>
#include <unistd.h>

static int do_fork (lua_State *L) {
  lua_pushinteger(L, fork());
  return 1;
}

static int do_wait (lua_State *L) {
  waitpid((pid_t)luaL_checkinteger(L, 1), NULL, 0);
  return 0;
}

/* End at once, without finalizers or buffers of the parent's. */
static int do_leave (lua_State *L) {
  (void)L;
  _exit(0);
}

int luaopen_fork (lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, do_fork);
  lua_setfield(L, -2, "fork");
  lua_pushcfunction(L, do_wait);
  lua_setfield(L, -2, "wait");
  lua_pushcfunction(L, do_leave);
  lua_setfield(L, -2, "leave");
  return 1;
}
