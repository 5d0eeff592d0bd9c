/*
** lua_shared_cache.c: the binding of caches that live in a region.
**
** Nothing of Lua happens while a cache is locked: a value is copied first, to the
** stack or to a userdata of the length that the last look found. Mostly there is
** no need for the lock.
*/
#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_cache.h"

#define SHARED "unbusy.shared_cache"
#define KEY_META  lua_upvalueindex(2)
#define FRESH_AT  3  /* upvalues of 'get': these words */
#define STALE_AT  4

#define SMALL 8192  /* values up to this length are copied to the C stack */

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "cache");
}

static ub_self checkcache (lua_State *L) {
  return ub_checkeither(L, SHARED, SHARED);
}

/* The cache without its lock, or NULL. */
static ub_cache *peeked (lua_State *L) {
  uint32_t reader;
  return ub_shared_peek(checkcache(L).shared, &reader);
}

/* Copy the key's value to 'room', if it has 'size' bytes for it, and count it as used. */
static int read_locked (const ub_self *self, const ub_cache_key *key, int64_t now,
                        char *room, size_t size, ub_cache_found *found) {
  ub_cache *c = ub_enter(self);
  if (c == NULL)
    return 0;
  if (ub_cache_find(c, key, now, found) != UB_CACHE_MISS && found->length <= size) {
    ub_cache_copy(c, found, room);
    ub_cache_use(c, found);
  }
  ub_leave(self);
  return 1;
}

/* The same without the lock, where that can be. 0: the room is gone. */
static int read_value (lua_State *L, const ub_cache_key *key, char *room, size_t size,
                       ub_cache_found *found) {
  ub_self self = checkcache(L);
  uint32_t reader;
  ub_cache *c = ub_shared_peek(self.shared, &reader);
  int64_t now;
  if (c == NULL)
    return 0;
  now = ub_cachenow(L, 3, c);
  if (ub_cache_peek(c, key, now, room, size, reader, found) != UB_CACHE_UNSURE)
    return 1;
  return read_locked(&self, key, now, room, size, found);
}

/* c:get(key, now or nil) -> value, "fresh" or "stale", age | nil */
static int cache_get (lua_State *L) {
  ub_cache_key key = ub_checkkey(L, 2, KEY_META);
  char small[SMALL], *room = small;
  size_t size = SMALL;
  ub_cache_found found;
  lua_settop(L, 3);  /* rooms go behind the arguments */
  for (;;) {
    if (!read_value(L, &key, room, size, &found))
      return pushlost(L);
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
  lua_pushvalue(L, lua_upvalueindex(found.state == UB_CACHE_FRESH ? FRESH_AT : STALE_AT));
  lua_pushnumber(L, (double)found.age_us / UB_SECOND_US);
  return 3;
}

/* c:set(key, value; ttl, tags, now, age, or nil) -> true | nil, message, code */
static int cache_set (lua_State *L) {
  ub_self self = checkcache(L);
  ub_cache *c = peeked(L);
  ub_cache_given g;
  int err;
  if (c == NULL)
    return pushlost(L);
  ub_checkgiven(L, c, KEY_META, &g);
  if ((c = ub_enter(&self)) == NULL)
    return pushlost(L);
  err = ub_cache_set(c, &g.key, &g.value, g.ttl_us, g.age_us, g.now_us);
  ub_leave(&self);
  if (err != UB_OK)
    return ub_pushtoolarge(L, ub_cache_bytes(c));
  lua_pushboolean(L, 1);
  return 1;
}

/* c:delete(key, now or nil) -> was it there? */
static int cache_delete (lua_State *L) {
  ub_self self = checkcache(L);
  ub_cache_key key = ub_checkkey(L, 2, KEY_META);
  ub_cache *c = peeked(L);
  int64_t now;
  int there;
  if (c == NULL)
    return pushlost(L);
  now = ub_cachenow(L, 3, c);
  if ((c = ub_enter(&self)) == NULL)
    return pushlost(L);
  there = ub_cache_delete(c, &key, now);
  ub_leave(&self);
  lua_pushboolean(L, there);
  return 1;
}

/* c:purge(tag, now or nil) -> how many; others get their turns in between */
static int cache_purge (lua_State *L) {
  ub_self self = checkcache(L);
  ub_cache *c = peeked(L);
  size_t length;
  const char *tag = ub_checktag(L, 2, &length);
  uint32_t cursor = 0, purged = 0;
  int64_t now;
  if (c == NULL)
    return pushlost(L);
  now = ub_cachenow(L, 3, c);
  while (cursor != UB_CACHE_END) {
    if ((c = ub_enter(&self)) == NULL)
      return pushlost(L);
    purged += ub_cache_purge(c, tag, length, &cursor, now);
    ub_leave(&self);
  }
  ub_pushwhole(L, purged);
  return 1;
}

/* c:next(cursor or nil, now or nil) -> cursor, key, value, about | nil */
static int cache_next (lua_State *L) {
  return ub_pushnext(L, peeked);
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

/* It outlives configurations: the last one says how long its entries are good. */
static void retime (lua_State *L, const ub_cache_config *config) {
  ub_self self = ub_toshared(L, -1);
  ub_cache *c = ub_enter(&self);
  if (c == NULL)
    return;
  ub_cache_retime(c, config->ttl_us, config->stale_us);
  ub_leave(&self);
}

int ub_pushsharedcache (lua_State *L, const ub_cache_config *config, uint64_t layout) {
  int pushed = ub_pushshared(L, SHARED, &ub_cache_part, layout, config, sizeof *config,
                             ub_clock_us());
  if (pushed == 1)
    retime(L, config);
  return pushed;
}

/* Its words are not looked up at each hit. */
static void give_words (lua_State *L) {
  luaL_getmetatable(L, SHARED);
  lua_getfield(L, -1, "__index");
  lua_getfield(L, -1, "get");
  lua_pushliteral(L, "fresh");
  lua_setupvalue(L, -2, FRESH_AT);
  lua_pushliteral(L, "stale");
  lua_setupvalue(L, -2, STALE_AT);
  lua_pop(L, 3);
}

void ub_opensharedcache (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"get", cache_get}, {"set", cache_set}, {"delete", cache_delete},
    {"purge", cache_purge}, {"next", cache_next},
    {"clear", cache_clear}, {"stats", cache_stats}, {"close", cache_close}, {NULL, NULL}
  };
  ub_newsharedwith(L, SHARED, &ub_cache_part, methods, UB_KEY_TYPE);
  give_words(L);
}
