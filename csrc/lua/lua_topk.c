/*
** lua_topk.c: the binding of topk.h.
*/
#include <math.h>

#include "base/alloc.h"
#include "base/err.h"
#include "lua/lua_util.h"
#include "parts/topk.h"

#define TYPE "unbusy.topk"

typedef struct box {
  ub_topk *topk;  /* NULL: closed */
} box;

static ub_topk *check (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  luaL_argcheck(L, b->topk != NULL, 1, "the topk is closed");
  return b->topk;
}

static void checkconfig (lua_State *L, ub_topk_config *config) {
  int64_t counters = ub_fieldwhole(L, 1, "counters");
  int64_t key_bytes = ub_fieldwhole(L, 1, "key_bytes");
  luaL_argcheck(L, counters >= 1 && counters <= UB_TOPK_MOST, 1, "counters out of range");
  luaL_argcheck(L, key_bytes >= 1 && key_bytes <= UB_TOPK_MOST_KEY, 1, "key_bytes out of range");
  config->counters = (uint32_t)counters;
  config->key_bytes = (uint32_t)key_bytes;
  config->seed = ub_fieldseed(L, 1);
}

/* core.topk(options) -> topk | nil, message, code */
static int topk_new (lua_State *L) {
  ub_topk_config config;
  box *b;
  luaL_checktype(L, 1, LUA_TTABLE);
  checkconfig(L, &config);
  b = ub_newuserdata(L, sizeof *b);
  b->topk = NULL;  /* closed first, so that __gc can treat it */
  ub_settype(L, TYPE);
  b->topk = ub_alloc(ub_topk_size(&config));
  if (b->topk == NULL)
    return ub_pushfail(L, UB_ENOMEM, "topk");
  ub_topk_init(b->topk, &config);
  return 1;
}

/* A key argument's bytes, which the stack keeps alive. */
static const char *checkkey (lua_State *L, int index, size_t *length) {
  luaL_checktype(L, index, LUA_TSTRING);
  return lua_tolstring(L, index, length);
}

/* A number of times or of entries: whole and above 0; more than 2^53 is 2^53. */
static uint64_t checktimes (lua_State *L, int index) {
  double n = luaL_checknumber(L, index);
  luaL_argcheck(L, n >= 1 && n == floor(n) && n - n == 0, index,
                "whole number above 0 expected");
  return n < (double)UB_TOPK_END ? (uint64_t)n : UB_TOPK_END;
}

/* t:add(key, n or nil) */
static int topk_add (lua_State *L) {
  ub_topk *t = check(L);
  size_t length;
  const char *key = checkkey(L, 2, &length);
  ub_topk_add(t, key, length, lua_isnoneornil(L, 3) ? 1 : checktimes(L, 3));
  return 0;
}

static void pushentry (lua_State *L, ub_topk_entry e) {
  lua_createtable(L, 0, 3 + e.cut);
  lua_pushlstring(L, e.key, e.length);
  lua_setfield(L, -2, "key");
  ub_setwhole(L, "count", (int64_t)e.count);
  ub_setwhole(L, "error", (int64_t)e.error);
  if (e.cut) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "cut");
  }
}

/* t:top(n or nil) -> { { key =, count =, error =, cut = true or nil }, … } */
static int topk_top (lua_State *L) {
  ub_topk *t = check(L);
  uint64_t wanted = lua_isnoneornil(L, 2) ? UB_TOPK_MOST : checktimes(L, 2);
  uint32_t i, n = wanted < t->used ? (uint32_t)wanted : t->used;
  uint32_t *order = ub_newuserdata(L, n * sizeof *order);
  ub_topk_top(t, order, n);
  lua_createtable(L, (int)n, 0);
  for (i = 0; i < n; i++) {
    pushentry(L, ub_topk_get(t, order[i]));
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* t:stats() -> table */
static int topk_stats (lua_State *L) {
  ub_topk *t = check(L);
  lua_newtable(L);
  ub_setwhole(L, "counters", t->config.counters);
  ub_setwhole(L, "used", t->used);
  ub_setwhole(L, "total", (int64_t)t->total);
  ub_setwhole(L, "least", (int64_t)ub_topk_least(t));
  ub_setwhole(L, "replaced", (int64_t)(t->arrivals - t->used));
  ub_setwhole(L, "bytes", (int64_t)ub_topk_size(&t->config));
  return 1;
}

/* t:clear() */
static int topk_clear (lua_State *L) {
  ub_topk_clear(check(L));
  return 0;
}

/* t:close(); may be called twice, and is __gc and __close */
static int topk_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_free(b->topk);
  b->topk = NULL;
  return 0;
}

void ub_open_topk (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"add", topk_add}, {"top", topk_top}, {"stats", topk_stats}, {"clear", topk_clear},
    {"close", topk_close}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", topk_close}, {"__close", topk_close}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  lua_pushcfunction(L, topk_new);
  lua_setfield(L, -2, "topk");
}
