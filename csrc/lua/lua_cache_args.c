/*
** lua_cache_args.c: arguments and results of both kinds of caches.
*/
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_cache.h"

#define SMALL  8192  /* entries up to this length are copied to the C stack */

/* {== Arguments ============================================================== */

int64_t ub_cachenow (lua_State *L, int index, const ub_cache *c) {
  if (lua_isnoneornil(L, index) && ub_cache_wall(c))
    return ub_clock_wall_us();
  return ub_optnow(L, index);
}

const char *ub_checktag (lua_State *L, int index, size_t *length) {
  luaL_checktype(L, index, LUA_TSTRING);
  luaL_argcheck(L, lua_rawlen(L, index) >= 1 && lua_rawlen(L, index) <= 255, index,
                "a tag of 1 to 255 bytes expected");
  return lua_tolstring(L, index, length);
}

/* Seconds that may be left out. */
static int64_t optseconds (lua_State *L, int index, int64_t otherwise) {
  int64_t us;
  if (lua_isnoneornil(L, index))
    return otherwise;
  us = ub_checkus(L, index);
  luaL_argcheck(L, us >= 0, index, "seconds of at least 0 expected");
  return us;
}

/* The list at 'index' in the form that a cache keeps: how many bytes. */
static uint32_t opttags (lua_State *L, int index, char *tags) {
  size_t i, count, length, at = 0;
  if (lua_isnoneornil(L, index))
    return 0;
  luaL_checktype(L, index, LUA_TTABLE);
  count = lua_rawlen(L, index);
  luaL_argcheck(L, count <= UB_CACHE_MOST_TAGS, index, "at most 16 tags expected");
  for (i = 1; i <= count; i++) {
    const char *tag;
    lua_rawgeti(L, index, (int)i);
    tag = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
    luaL_argcheck(L, tag != NULL && length >= 1 && length <= 255, index,
                  "tags of 1 to 255 bytes expected");
    tags[at] = (char)length;
    memcpy(tags + at + 1, tag, length);
    at += 1 + length;
    lua_pop(L, 1);
  }
  return (uint32_t)at;
}

void ub_checkgiven (lua_State *L, const ub_cache *c, int meta, ub_cache_given *g) {
  g->key = ub_checkkey(L, 2, meta);
  luaL_checktype(L, 3, LUA_TSTRING);
  g->value.bytes = lua_tolstring(L, 3, &g->value.length);
  g->ttl_us = optseconds(L, 4, -1);
  g->value.tags = g->tags;
  g->value.tags_length = opttags(L, 5, g->tags);
  g->now_us = ub_cachenow(L, 6, c);
  g->age_us = optseconds(L, 7, 0);
}

/* }============================================================================ */

/* {== Results ================================================================ */

int ub_pushtoolarge (lua_State *L, uint64_t most) {
  char text[80];
  snprintf(text, sizeof text, "cache: key and value of more than %llu bytes",
           (unsigned long long)most);
  lua_pushnil(L);
  lua_pushstring(L, text);
  lua_pushstring(L, ub_err_word(UB_EFULL));
  return 3;
}

void ub_pushcachestats (lua_State *L, ub_cache_stats stats) {
  lua_createtable(L, 0, 11);
  ub_setwhole(L, "entries", stats.entries);
  ub_setwhole(L, "bytes", (int64_t)stats.bytes);
  ub_setwhole(L, "hits", (int64_t)stats.hits);
  ub_setwhole(L, "stale", (int64_t)stats.stale);
  ub_setwhole(L, "misses", (int64_t)stats.misses);
  ub_setwhole(L, "stored", (int64_t)stats.stored);
  ub_setwhole(L, "refused", (int64_t)stats.refused);
  ub_setwhole(L, "evicted", (int64_t)stats.evicted);
  ub_setwhole(L, "expired", (int64_t)stats.expired);
  ub_setwhole(L, "purged", (int64_t)stats.purged);
  ub_setwhole(L, "rebuilt", (int64_t)stats.rebuilt);
}

static void push_tags (lua_State *L, const char *tags, size_t bytes) {
  int n = 0;
  lua_newtable(L);
  while (bytes > 0) {
    unsigned char length = (unsigned char)*tags;
    lua_pushlstring(L, tags + 1, length);
    lua_rawseti(L, -2, ++n);
    tags += 1 + length;
    bytes -= 1u + length;
  }
}

/* What 'next' has found: 'room' has a byte for the key's space before the rest. */
static int push_entry (lua_State *L, uint32_t cursor, char *room, const ub_cache_found *f) {
  const char *value = room + 1 + f->key_length;
  room[0] = ub_key_mark(f->space);
  ub_pushwhole(L, cursor);
  lua_pushlstring(L, room, f->key_length + 1);
  lua_pushlstring(L, value, f->length);
  lua_createtable(L, 0, 4);
  ub_setnumber(L, "age", (double)f->age_us / UB_SECOND_US);
  ub_setnumber(L, "ttl", (double)f->left_us / UB_SECOND_US);
  lua_pushstring(L, f->state == UB_CACHE_FRESH ? "fresh" : "stale");
  lua_setfield(L, -2, "state");
  push_tags(L, value + f->length, f->tags_length);
  lua_setfield(L, -2, "tags");
  return 4;
}

int ub_pushnext (lua_State *L, ub_cache *(*cache)(lua_State *L)) {
  double from = luaL_optnumber(L, 2, 0);
  char small[SMALL], *room = small;
  size_t size = SMALL - 1;
  ub_cache *c = cache(L);
  uint32_t cursor;
  luaL_argcheck(L, from >= 0 && from <= UB_CACHE_MOST_ENTRIES + 1, 2,
                "what 'next' gave expected");
  cursor = (uint32_t)from;
  lua_settop(L, 3);  /* rooms go behind the arguments */
  for (; c != NULL; c = cache(L)) {
    ub_cache_found found;
    int how = ub_cache_next(c, &cursor, ub_cachenow(L, 3, c), room + 1, size, &found);
    if (how == 1)
      return push_entry(L, cursor, room, &found);
    if (how == 0) {
      lua_pushnil(L);
      return 1;
    }
    size = found.key_length + found.length + found.tags_length;
    room = ub_newuserdata(L, size + 1);
  }
  return ub_pushfail(L, UB_EFULL, "cache");
}

/* }============================================================================ */
