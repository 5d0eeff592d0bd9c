/*
** lua_backoff.c: the binding of backoff.h.
*/
#include "lua/lua_util.h"
#include "parts/backoff.h"

#define TYPE "unbusy.backoff"

static const char *const kinds[] = {  /* in the order of ub_backoff_kind */
  "exponential", "full", "equal", "decorrelated", "constant", "linear", NULL
};

/* core.backoff(options) -> backoff */
static int backoff_new (lua_State *L) {
  ub_backoff_config config;
  luaL_checktype(L, 1, LUA_TTABLE);
  config.kind = (ub_backoff_kind)ub_fieldword(L, 1, "kind", kinds);
  config.base = ub_fieldnumber(L, 1, "base");
  config.factor = ub_fieldnumber(L, 1, "factor");
  config.cap = ub_fieldnumber(L, 1, "cap");
  config.jitter = ub_fieldnumber(L, 1, "jitter");
  config.seed = ub_fieldseed(L, 1);
  ub_backoff_init(ub_newuserdata(L, sizeof(ub_backoff)), &config);
  ub_settype(L, TYPE);
  return 1;
}

/* b:delay(n, previous or nil) -> seconds */
static int backoff_delay (lua_State *L) {
  ub_backoff *b = luaL_checkudata(L, 1, TYPE);
  double n = luaL_checknumber(L, 2);
  double previous = luaL_optnumber(L, 3, 0);
  luaL_argcheck(L, n == n, 2, "whole number expected, got NaN");
  n = n < 1 ? 1 : n < 1e15 ? n : 1e15;
  lua_pushnumber(L, ub_backoff_delay(b, (int64_t)n, previous));
  return 1;
}

void ub_open_backoff (lua_State *L) {
  static const luaL_Reg methods[] = {{"delay", backoff_delay}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, NULL);
  lua_pushcfunction(L, backoff_new);
  lua_setfield(L, -2, "backoff");
}
