/*
** lua_ends.c: the binding of ends.h. A request is the number that its address is.
*/
#include <stdint.h>

#include "base/err.h"
#include "engine/ends.h"
#include "lua/lua_util.h"

#define TYPE "unbusy.ends"

typedef struct box {
  ub_ends *ends;  /* NULL: closed */
} box;

/* core.ends() -> ends | nil, message, code */
static int ends_new (lua_State *L) {
  int err;
  box *b = ub_newuserdata(L, sizeof *b);
  b->ends = NULL;  /* closed first, so that __gc can treat it */
  ub_settype(L, TYPE);
  b->ends = ub_ends_open(&err);
  return b->ends != NULL ? 1 : ub_pushfail(L, err, "ends");
}

static ub_ends *check (lua_State *L) {
  box *b = ub_checkself(L, TYPE);
  luaL_argcheck(L, b->ends != NULL, 1, "it is closed");
  return b->ends;
}

static void *request_at (lua_State *L, int i) {
  uintptr_t request = (uintptr_t)luaL_checknumber(L, i);
  luaL_argcheck(L, request != 0, i, "a request expected");
  return (void *)request;
}

/* e:watch(request) -> true | nil, message, code */
static int ends_watch (lua_State *L) {
  ub_ends *e = check(L);
  int err = ub_ends_watch(e, request_at(L, 2));
  if (err != UB_OK)
    return ub_pushfail(L, err, "ends");
  lua_pushboolean(L, 1);
  return 1;
}

/* e:left(request) -> boolean */
static int ends_left (lua_State *L) {
  check(L);
  lua_pushboolean(L, ub_ends_left(request_at(L, 2)));
  return 1;
}

/* e:next() -> request or nil */
static int ends_next (lua_State *L) {
  void *request = ub_ends_next(check(L));
  if (request == NULL)
    lua_pushnil(L);
  else
    ub_pushwhole(L, (int64_t)(uintptr_t)request);  /* 47 bits */
  return 1;
}

/* e:close(); may be called twice, and is __gc and __close */
static int ends_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_ends *e = b->ends;
  b->ends = NULL;
  ub_ends_close(e);
  return 0;
}

void ub_open_ends (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"watch", ends_watch}, {"left", ends_left}, {"next", ends_next}, {"close", ends_close},
    {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", ends_close}, {"__close", ends_close}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  lua_pushcfunction(L, ends_new);
  lua_setfield(L, -2, "ends");
}
