/*
** lua_topk.c: the binding of topk.h.
*/
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_shared.h"
#include "parts/topk.h"

#define TYPE    "unbusy.topk"
#define SHARED  "unbusy.shared_topk"

typedef struct box {
  ub_topk *topk;  /* NULL: closed */
} box;

static ub_self check (lua_State *L) {
  ub_self self = ub_checkeither(L, TYPE, SHARED);
  if (self.shared == NULL) {  /* the machine lies outside of the userdata */
    self.machine = ((box *)self.machine)->topk;
    luaL_argcheck(L, self.machine != NULL, 1, "the topk is closed");
  }
  return self;
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "topk");
}

/* All of it but the seed. */
static void checkconfig (lua_State *L, ub_topk_config *config) {
  int64_t counters = ub_fieldwhole(L, 1, "counters");
  int64_t key_bytes = ub_fieldwhole(L, 1, "key_bytes");
  memset(config, 0, sizeof *config);
  luaL_argcheck(L, counters >= 1 && counters <= UB_TOPK_MOST, 1, "counters out of range");
  luaL_argcheck(L, key_bytes >= 1 && key_bytes <= UB_TOPK_MOST_KEY, 1, "key_bytes out of range");
  config->counters = (uint32_t)counters;
  config->key_bytes = (uint32_t)key_bytes;
}

/*
** core.topk(options) -> topk | nil, message, code
** core.topk(options, nil, region, name) -> topk | nil, message, code
*/
static int topk_new (lua_State *L) {
  ub_topk_config config;
  uint64_t layout;
  box *b;
  luaL_checktype(L, 1, LUA_TTABLE);
  checkconfig(L, &config);
  layout = ub_layout(&config, sizeof config);
  config.seed = ub_fieldseed(L, 1);
  if (!lua_isnoneornil(L, 3))
    return ub_pushshared(L, SHARED, &ub_topk_part, layout, &config, sizeof config,
                         ub_clock_us());
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
  ub_self self = check(L);
  size_t length;
  const char *key = checkkey(L, 2, &length);
  uint64_t n = lua_isnoneornil(L, 3) ? 1 : checktimes(L, 3);
  ub_topk *t = ub_enter(&self);
  if (t == NULL)
    return pushlost(L);
  ub_topk_add(t, key, length, n);
  ub_leave(&self);
  return 0;
}

static void pushentry (lua_State *L, const ub_topk_entry *e) {
  lua_createtable(L, 0, 3 + e->cut);
  lua_pushlstring(L, e->key, e->length);
  lua_setfield(L, -2, "key");
  ub_setwhole(L, "count", (int64_t)e->count);
  ub_setwhole(L, "error", (int64_t)e->error);
  if (e->cut) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "cut");
  }
}

/* What 'top' shows, with the keys' bytes: a copy, for the list goes on without us. */
typedef struct copies {
  uint32_t *order;         /* room for as many as are wanted */
  ub_topk_entry *entries;
  char *keys;              /* 'key_bytes' for each */
} copies;

/* Room for the copies of n entries, in a userdata left on the stack. */
static copies make_room (lua_State *L, uint32_t n, size_t key_bytes) {
  copies room;
  room.entries = ub_newuserdata(L, n * (sizeof(ub_topk_entry) + sizeof(uint32_t) + key_bytes));
  room.order = (uint32_t *)(room.entries + n);
  room.keys = (char *)(room.order + n);
  return room;
}

static uint32_t copy_top (const ub_topk *t, const copies *room, uint32_t n) {
  uint32_t i, count = ub_topk_top(t, room->order, n);
  for (i = 0; i < count; i++) {
    char *key = room->keys + (size_t)i * t->config.key_bytes;
    room->entries[i] = ub_topk_get(t, room->order[i]);
    memcpy(key, room->entries[i].key, room->entries[i].length);
    room->entries[i].key = key;
  }
  return count;
}

/* t:top(n or nil) -> { { key =, count =, error =, cut = true or nil }, … } */
static int topk_top (lua_State *L) {
  ub_self self = check(L);
  uint64_t wanted = lua_isnoneornil(L, 2) ? UB_TOPK_MOST : checktimes(L, 2);
  ub_topk head;
  const ub_topk *t = ub_look(&self, &head, sizeof head);
  uint32_t i, n;
  copies room;
  if (t == NULL)
    return pushlost(L);
  n = wanted < t->used ? (uint32_t)wanted : t->used;
  room = make_room(L, n, t->config.key_bytes);
  if ((t = ub_enter(&self)) == NULL)
    return pushlost(L);
  n = copy_top(t, &room, n);
  ub_leave(&self);
  lua_createtable(L, (int)n, 0);
  for (i = 0; i < n; i++) {
    pushentry(L, &room.entries[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* t:stats() -> table */
static int topk_stats (lua_State *L) {
  ub_self self = check(L);
  const ub_topk *t = ub_enter(&self);
  ub_topk copy;
  uint64_t least;
  if (t == NULL)
    return pushlost(L);
  copy = *t;
  least = ub_topk_least(t);
  ub_leave(&self);
  lua_newtable(L);
  ub_setwhole(L, "counters", copy.config.counters);
  ub_setwhole(L, "used", copy.used);
  ub_setwhole(L, "total", (int64_t)copy.total);
  ub_setwhole(L, "least", (int64_t)least);
  ub_setwhole(L, "replaced", (int64_t)(copy.arrivals - copy.used));
  ub_setwhole(L, "bytes", (int64_t)ub_topk_size(&copy.config));
  return 1;
}

/* t:clear() */
static int topk_clear (lua_State *L) {
  ub_self self = check(L);
  ub_topk *t = ub_enter(&self);
  if (t == NULL)
    return pushlost(L);
  ub_topk_clear(t);
  ub_leave(&self);
  return 0;
}

/* t:close() of a shared one: the others go on with it */
static int topk_leave (lua_State *L) {
  ub_closeshared(L, SHARED);
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
  static const luaL_Reg shared[] = {
    {"add", topk_add}, {"top", topk_top}, {"stats", topk_stats}, {"clear", topk_clear},
    {"close", topk_leave}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", topk_close}, {"__close", topk_close}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  ub_newshared(L, SHARED, &ub_topk_part, shared);
  lua_pushcfunction(L, topk_new);
  lua_setfield(L, -2, "topk");
}
