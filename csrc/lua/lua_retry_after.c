/*
** lua_retry_after.c: the binding of retry_after.h.
**
** core.retry_after is a table of functions; each gives seconds, or nil.
*/
#include "lua/lua_util.h"
#include "parts/retry_after.h"

typedef int reader (const char *bytes, size_t length, double *seconds);

static int readwith (lua_State *L, reader *read) {
  size_t length;
  const char *bytes = luaL_checklstring(L, 1, &length);
  double seconds;
  if (read(bytes, length, &seconds))
    lua_pushnumber(L, seconds);
  else
    lua_pushnil(L);
  return 1;
}

/* core.retry_after.seconds(text) -> seconds | nil; and so on */
static int read_seconds (lua_State *L) {
  return readwith(L, ub_retry_after_seconds);
}

static int read_ms (lua_State *L) {
  return readwith(L, ub_retry_after_ms);
}

static int read_duration (lua_State *L) {
  return readwith(L, ub_duration);
}

static int read_rate_limit (lua_State *L) {
  return readwith(L, ub_rate_limit);
}

static int read_body (lua_State *L) {
  return readwith(L, ub_retry_after_body);
}

/* core.retry_after.date(text, now) -> Unix seconds | nil */
static int read_date (lua_State *L) {
  size_t length;
  const char *bytes = luaL_checklstring(L, 1, &length);
  double now = luaL_checknumber(L, 2);
  int64_t unix_s;
  luaL_argcheck(L, now >= -1e12 && now <= 1e12, 2, "Unix seconds expected");
  if (ub_http_date(bytes, length, (int64_t)now, &unix_s))
    ub_pushwhole(L, unix_s);
  else
    lua_pushnil(L);
  return 1;
}

void ub_open_retry_after (lua_State *L) {
  static const luaL_Reg functions[] = {
    {"seconds", read_seconds}, {"ms", read_ms}, {"date", read_date},
    {"duration", read_duration}, {"rate_limit", read_rate_limit}, {"body", read_body},
    {NULL, NULL}
  };
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_setfield(L, -2, "retry_after");
}
