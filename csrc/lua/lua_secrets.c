/*
** lua_secrets.c: the binding of secrets.h.
*/
#include "lua/lua_secrets.h"
#include "lua/lua_util.h"

#define TYPE "unbusy.secrets"

const ub_secrets *ub_optsecrets (lua_State *L, int index) {
  return lua_isnoneornil(L, index) ? NULL : luaL_checkudata(L, index, TYPE);
}

/* The i-th string of the list at 1, which keeps it alive. */
static const char *string_at (lua_State *L, int i, size_t *length) {
  const char *bytes;
  lua_rawgeti(L, 1, i);
  if (lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "secrets: item %d is no string", i);
  bytes = lua_tolstring(L, -1, length);
  lua_pop(L, 1);
  return bytes;
}

/* core.secrets({ string, … }) -> secrets; empty strings are passed over */
static int secrets_new (lua_State *L) {
  size_t count, bytes = 0, length, i;
  ub_secrets *s;
  luaL_checktype(L, 1, LUA_TTABLE);
  count = lua_rawlen(L, 1);
  for (i = 1; i <= count; i++) {
    string_at(L, (int)i, &length);
    bytes += length;
  }
  s = ub_newuserdata(L, ub_secrets_size(count, bytes));
  ub_secrets_init(s);
  for (i = 1; i <= count; i++) {
    const char *string = string_at(L, (int)i, &length);
    if (length > 0)
      ub_secrets_add(s, string, length);
  }
  ub_settype(L, TYPE);
  return 1;
}

/* s:found(table) -> does a value of the table hold one of them? */
static int secrets_found (lua_State *L) {
  const ub_secrets *s = ub_checkself(L, TYPE);
  int found = 0;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  for (lua_pushnil(L); !found && lua_next(L, 2); lua_settop(L, 3)) {
    size_t length;
    if (lua_type(L, 4) == LUA_TSTRING) {
      const char *text = lua_tolstring(L, 4, &length);
      found = ub_secrets_in(s, text, length);
    }
  }
  lua_pushboolean(L, found);
  return 1;
}

void ub_open_secrets (lua_State *L) {
  static const luaL_Reg methods[] = {{"found", secrets_found}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, NULL);
  lua_pushcfunction(L, secrets_new);
  lua_setfield(L, -2, "secrets");
}
