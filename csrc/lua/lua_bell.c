/*
** lua_bell.c: the binding of bell.h.
*/
#include "engine/bell.h"
#include "base/err.h"
#include "lua/lua_util.h"

#define TYPE "unbusy.bell"

typedef struct box {
  ub_bell *bell;  /* NULL: closed */
} box;

/* core.bell(descriptor) -> bell | nil, message, code */
static int bell_new (lua_State *L) {
  int fd = (int)luaL_checknumber(L, 1), err;
  box *b = ub_newuserdata(L, sizeof *b);
  b->bell = NULL;  /* closed first, so that __gc can treat it */
  ub_settype(L, TYPE);
  b->bell = ub_bell_open(fd, &err);
  return b->bell != NULL ? 1 : ub_pushfail(L, err, "bell");
}

static ub_bell *check (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  luaL_argcheck(L, b->bell != NULL, 1, "the bell is closed");
  return b->bell;
}

/* b:path() -> where the host connects */
static int bell_path (lua_State *L) {
  lua_pushstring(L, ub_bell_path(check(L)));
  return 1;
}

/* b:begin() -> true | nil, message, code */
static int bell_begin (lua_State *L) {
  int err = ub_bell_begin(check(L));
  if (err != UB_OK)
    return ub_pushfail(L, err, "bell");
  lua_pushboolean(L, 1);
  return 1;
}

/* b:arm() */
static int bell_arm (lua_State *L) {
  ub_bell_arm(check(L));
  return 0;
}

/* b:ring() */
static int bell_ring (lua_State *L) {
  ub_bell_ring(check(L));
  return 0;
}

/* b:heard() */
static int bell_heard (lua_State *L) {
  ub_bell_heard(check(L));
  return 0;
}

/* b:close(); may be called twice, and is __gc and __close */
static int bell_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_bell *bell = b->bell;
  b->bell = NULL;
  ub_bell_close(bell);
  return 0;
}

void ub_open_bell (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"path", bell_path}, {"begin", bell_begin}, {"arm", bell_arm}, {"ring", bell_ring},
    {"heard", bell_heard}, {"close", bell_close}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", bell_close}, {"__close", bell_close}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  lua_pushcfunction(L, bell_new);
  lua_setfield(L, -2, "bell");
}
