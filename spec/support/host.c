/*
** host.c: runs a Lua script, as the Lua command does. Built with a sanitizer it
** runs the specs without LD_PRELOAD, which their children would inherit.
**   host SCRIPT [ARGUMENT…]
** LUA_INIT, Lua's own, may be set: a chunk that is run first.
*/
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static void set_arg (lua_State *L, int argc, char **argv) {
  int i;
  lua_newtable(L);
  for (i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - 1);
  }
  lua_setglobal(L, "arg");
}

static int run (lua_State *L, int argc, char **argv) {
  const char *first = getenv("LUA_INIT");
  int i;
  if (first != NULL && luaL_dostring(L, first) != 0)
    return 1;
  if (luaL_loadfile(L, argv[1]) != 0)
    return 1;
  if (!lua_checkstack(L, argc))
    return 1;
  for (i = 2; i < argc; i++)
    lua_pushstring(L, argv[i]);
  return lua_pcall(L, argc - 2, 0, 0);
}

int main (int argc, char **argv) {
  lua_State *L = luaL_newstate();
  int failed;
  if (L == NULL || argc < 2) {
    fputs("usage: host SCRIPT [ARGUMENT...]\n", stderr);
    return 2;
  }
  luaL_openlibs(L);
  set_arg(L, argc, argv);
  failed = run(L, argc, argv);
  if (failed)
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  lua_close(L);
  return failed ? 1 : 0;
}
