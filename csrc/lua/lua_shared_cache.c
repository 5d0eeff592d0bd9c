/*
** lua_shared_cache.c: the binding of caches that live in a region.
**
** Nothing of Lua happens while a cache is locked: a value is copied first, to the
** stack or to a userdata of the length that the last look found.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_cache.h"
#include "lua/lua_key.h"

#define SHARED "unbusy.shared_cache"
#define SMALL 8192  /* values up to this length are copied to the C stack */

static const char *const states[] = {  /* in the order of ub_cache_state */
  NULL, "fresh", "stale"
};

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "cache");
}

static ub_self checkcache (lua_State *L) {
  return ub_checkeither(L, SHARED, SHARED);
}

/* The key argument; the metatable of keys goes on the stack for the look. */
static ub_cache_key checkkey (lua_State *L) {
  ub_cache_key key;
  luaL_getmetatable(L, UB_KEY_TYPE);
  key = ub_checkkey(L, 2, lua_gettop(L));
  lua_pop(L, 1);
  return key;
}

/* Copy the key's value to 'room', if it has 'size' bytes for it, and count it as used. */
static ub_cache_state read_value (ub_cache *c, const ub_cache_key *key, int64_t now,
                                  char *room, size_t size, ub_cache_found *found) {
  if (ub_cache_find(c, key, now, found) != UB_CACHE_MISS && found->length <= size) {
    ub_cache_copy(c, found, room);
    ub_cache_use(c, found);
  }
  return found->state;
}

/* c:get(key, now or nil) -> value, "fresh" or "stale", age | nil */
static int cache_get (lua_State *L) {
  ub_self self = checkcache(L);
  ub_cache_key key = checkkey(L);
  int64_t now = ub_optnow(L, 3);
  char small[SMALL], *room = small;
  size_t size = SMALL;
  ub_cache_found found;
  for (;;) {
    ub_cache *c = ub_enter(&self);
    if (c == NULL)
      return pushlost(L);
    read_value(c, &key, now, room, size, &found);
    ub_leave(&self);
    if (found.state == UB_CACHE_MISS) {
      lua_pushnil(L);
      return 1;
    }
    if (found.length <= size)
      break;
    size = found.length;
    room = ub_newuserdata(L, size);
  }
  lua_pushlstring(L, room, found.length);
  lua_pushstring(L, states[found.state]);
  lua_pushnumber(L, (double)found.age_us / UB_SECOND_US);
  return 3;
}

/* c:set(key, value, ttl or nil, now or nil) -> true | nil, message, code */
static int cache_set (lua_State *L) {
  ub_self self = checkcache(L);
  ub_cache_key key = checkkey(L);
  size_t length;
  const char *value;
  int64_t ttl, now;
  uint64_t most;
  ub_cache *c;
  int err;
  luaL_checktype(L, 3, LUA_TSTRING);
  value = lua_tolstring(L, 3, &length);
  ttl = ub_optttl(L, 4);
  now = ub_optnow(L, 5);
  if ((c = ub_enter(&self)) == NULL)
    return pushlost(L);
  err = ub_cache_set(c, &key, value, length, ttl, now);
  most = ub_cache_bytes(c);
  ub_leave(&self);
  if (err != UB_OK)
    return ub_pushtoolarge(L, most);
  lua_pushboolean(L, 1);
  return 1;
}

/* c:delete(key, now or nil) -> was it there? */
static int cache_delete (lua_State *L) {
  ub_self self = checkcache(L);
  ub_cache_key key = checkkey(L);
  int64_t now = ub_optnow(L, 3);
  ub_cache *c = ub_enter(&self);
  int there;
  if (c == NULL)
    return pushlost(L);
  there = ub_cache_delete(c, &key, now);
  ub_leave(&self);
  lua_pushboolean(L, there);
  return 1;
}

/* c:clear() */
static int cache_clear (lua_State *L) {
  ub_self self = checkcache(L);
  ub_cache *c = ub_enter(&self);
  if (c == NULL)
    return pushlost(L);
  ub_cache_clear(c);
  ub_leave(&self);
  return 0;
}

/* c:stats() -> table */
static int cache_stats (lua_State *L) {
  ub_self self = checkcache(L);
  ub_cache *c = ub_enter(&self);
  ub_cache_stats stats;
  if (c == NULL)
    return pushlost(L);
  stats = ub_cache_read(c);
  ub_leave(&self);
  ub_pushcachestats(L, stats);
  return 1;
}

/* c:close(): the others go on with it; may be called twice */
static int cache_close (lua_State *L) {
  ub_closeshared(L, SHARED);
  return 0;
}

int ub_pushsharedcache (lua_State *L, const ub_cache_config *config, uint64_t layout) {
  return ub_pushshared(L, SHARED, &ub_cache_part, layout, config, sizeof *config,
                       ub_clock_us());
}

void ub_opensharedcache (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"get", cache_get}, {"set", cache_set}, {"delete", cache_delete},
    {"clear", cache_clear}, {"stats", cache_stats}, {"close", cache_close}, {NULL, NULL}
  };
  ub_newshared(L, SHARED, &ub_cache_part, methods);
}

/* {== Of both kinds of caches ================================================ */

int64_t ub_optttl (lua_State *L, int index) {
  int64_t us;
  if (lua_isnoneornil(L, index))
    return -1;
  us = ub_checkus(L, index);
  luaL_argcheck(L, us >= 0, index, "seconds of at least 0 expected");
  return us;
}

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
  lua_createtable(L, 0, 9);
  ub_setwhole(L, "entries", stats.entries);
  ub_setwhole(L, "bytes", (int64_t)stats.bytes);
  ub_setwhole(L, "hits", (int64_t)stats.hits);
  ub_setwhole(L, "stale", (int64_t)stats.stale);
  ub_setwhole(L, "misses", (int64_t)stats.misses);
  ub_setwhole(L, "stored", (int64_t)stats.stored);
  ub_setwhole(L, "refused", (int64_t)stats.refused);
  ub_setwhole(L, "evicted", (int64_t)stats.evicted);
  ub_setwhole(L, "expired", (int64_t)stats.expired);
}

/* }============================================================================ */
