/*
** lua_util.c: what all bindings share.
*/
#include "lua/lua_util.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/rand.h"

#define MOST_WHOLE 9007199254740992.0  /* 2^53: what a double holds exactly */

int ub_pushfail (lua_State *L, int err, const char *what) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", what, ub_err_text(err));
  lua_pushstring(L, ub_err_word(err));
  return 3;
}

void ub_pushwhole (lua_State *L, int64_t n) {
#if LUA_VERSION_NUM >= 503
  lua_pushinteger(L, (lua_Integer)n);
#else
  lua_pushnumber(L, (lua_Number)n);
#endif
}

uint64_t ub_toticket (double n) {
  return n >= 1 && n < MOST_WHOLE && n == floor(n) ? (uint64_t)n : 0;
}

uint64_t ub_checkticket (lua_State *L, int index) {
  return ub_toticket(luaL_checknumber(L, index));
}

int64_t ub_tous (double seconds) {
  double us = seconds * UB_SECOND_US;
  if (us > MOST_WHOLE) return (int64_t)MOST_WHOLE;
  if (us < -MOST_WHOLE) return -(int64_t)MOST_WHOLE;
  return (int64_t)floor(us + 0.5);
}

int64_t ub_checkus (lua_State *L, int index) {
  double seconds = luaL_checknumber(L, index);
  luaL_argcheck(L, seconds == seconds, index, "seconds expected, got NaN");
  return ub_tous(seconds);
}

int64_t ub_optnow (lua_State *L, int index) {
  return lua_isnoneornil(L, index) ? ub_clock_us() : ub_checkus(L, index);
}

static double badfield (lua_State *L, const char *name, const char *expected) {
  return luaL_error(L, "option '%s': %s expected, got %s", name, expected,
                    luaL_typename(L, -1));
}

double ub_fieldnumber (lua_State *L, int index, const char *name) {
  double n;
  lua_getfield(L, index, name);
  n = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : badfield(L, name, "number");
  lua_pop(L, 1);
  return n;
}

int64_t ub_fieldwhole (lua_State *L, int index, const char *name) {
  double n = ub_fieldnumber(L, index, name);
  if (!(n >= -MOST_WHOLE && n <= MOST_WHOLE) || n != floor(n))
    luaL_error(L, "option '%s': whole number expected", name);
  return (int64_t)n;
}

int64_t ub_fieldus (lua_State *L, int index, const char *name) {
  double seconds = ub_fieldnumber(L, index, name);
  if (seconds != seconds)
    luaL_error(L, "option '%s': seconds expected, got NaN", name);
  return ub_tous(seconds);
}

int ub_fieldtrue (lua_State *L, int index, const char *name) {
  int truth;
  lua_getfield(L, index, name);
  truth = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return truth;
}

static int isnil (lua_State *L, int index, const char *name) {
  int nil;
  lua_getfield(L, index, name);
  nil = lua_isnil(L, -1);
  lua_pop(L, 1);
  return nil;
}

double ub_optfieldnumber (lua_State *L, int index, const char *name, double otherwise) {
  return isnil(L, index, name) ? otherwise : ub_fieldnumber(L, index, name);
}

int64_t ub_optfieldus (lua_State *L, int index, const char *name, int64_t otherwise) {
  return isnil(L, index, name) ? otherwise : ub_fieldus(L, index, name);
}

int ub_fieldword (lua_State *L, int index, const char *name, const char *const words[]) {
  const char *word;
  int i;
  lua_getfield(L, index, name);
  word = lua_isstring(L, -1) ? lua_tostring(L, -1) : "";
  for (i = 0; words[i] != NULL && strcmp(words[i], word) != 0;)
    i++;
  if (words[i] == NULL)
    luaL_error(L, "option '%s': unknown word '%s'", name, word);
  lua_pop(L, 1);
  return i;
}

int ub_checkword (lua_State *L, int index, const char *const words[]) {
  return luaL_checkoption(L, index, NULL, words);
}

uint64_t ub_fieldseed (lua_State *L, int index) {
  return isnil(L, index, "seed") ? ub_rand_seed() : (uint64_t)ub_fieldwhole(L, index, "seed");
}

void ub_setnumber (lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

void ub_setwhole (lua_State *L, const char *name, int64_t value) {
  ub_pushwhole(L, value);
  lua_setfield(L, -2, name);
}

void ub_newtype (lua_State *L, const char *type, const luaL_Reg *methods,
                 const luaL_Reg *meta) {
  luaL_newmetatable(L, type);
  if (meta != NULL)
    luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, type);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");  /* a script cannot take a method away */
  lua_pop(L, 1);
  ub_addmethods(L, type, NULL, methods);
}

void ub_settype (lua_State *L, const char *type) {
  luaL_getmetatable(L, type);
  lua_setmetatable(L, -2);
}

void ub_addmethods (lua_State *L, const char *type, const char *other,
                    const luaL_Reg *methods) {
  luaL_getmetatable(L, type);
  lua_getfield(L, -1, "__index");
  for (; methods->name != NULL; methods++) {
    lua_pushvalue(L, -2);
    if (other != NULL)
      luaL_getmetatable(L, other);
    lua_pushcclosure(L, methods->func, other != NULL ? 2 : 1);
    lua_setfield(L, -2, methods->name);
  }
  lua_pop(L, 2);
}

void *ub_testmeta (lua_State *L, int index, int meta) {
  void *object = lua_touserdata(L, index);
  int same;
  if (object == NULL || !lua_getmetatable(L, index))
    return NULL;
  same = lua_rawequal(L, -1, meta);
  lua_pop(L, 1);
  return same ? object : NULL;
}

void *ub_checkself (lua_State *L, const char *type) {
  void *self = ub_testmeta(L, 1, lua_upvalueindex(1));
  return self != NULL ? self : luaL_checkudata(L, 1, type);  /* raises */
}

#if UB_FFI

/* Push the table top[name], made where it is missing. */
static void subtable (lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  if (!lua_isnil(L, -1))
    return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, name);
}

void ub_setcall (lua_State *L, const char *part, const char *name, ub_call *function) {
  subtable(L, "calls");
  subtable(L, part);
  ub_setnumber(L, name, (double)(uintptr_t)function);  /* no system goes over 2^53 */
  lua_pop(L, 2);
}

int64_t ub_callnow (double seconds) {
  return seconds == seconds ? ub_tous(seconds) : ub_clock_us();
}

#endif
