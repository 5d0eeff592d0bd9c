/*
** lua_cache.c: the binding of cache.h.
**
** The memory of a cache is no Lua memory: the collector would see 64 MB and
** hurry, though most of it was never touched.
*/
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_cache.h"

#define TYPE "unbusy.cache"

/* Upvalues of the methods. */
#define META      lua_upvalueindex(1)  /* the metatable of caches */
#define KEY_META  lua_upvalueindex(2)  /* and of keys */
#define FRESH     lua_upvalueindex(3)  /* of 'get': these words */
#define STALE     lua_upvalueindex(4)

#define LINE  64    /* bytes of a cache line */
#define SMALL 8192  /* values up to this length are put together on the C stack */

typedef struct box {
  ub_cache *cache;  /* on a cache line; NULL: closed */
  void *memory;     /* in which it lies */
  void *late;       /* closed while it was read: to be freed after that */
  int readers;      /* calls of 'get' that hold a place in it */
} box;

static box *checkbox (lua_State *L) {
  box *b = ub_testmeta(L, 1, META);
  return b != NULL ? b : luaL_checkudata(L, 1, TYPE);  /* raises */
}

static ub_cache *opened (lua_State *L, const box *b) {
  luaL_argcheck(L, b->cache != NULL, 1, "the cache is closed");
  return b->cache;
}

static ub_cache *checkcache (lua_State *L) {
  return opened(L, checkbox(L));
}

/* All of it but the seed. */
static void readconfig (lua_State *L, ub_cache_config *c) {
  int64_t entries = ub_fieldwhole(L, 1, "entries"), bytes = ub_fieldwhole(L, 1, "bytes");
  memset(c, 0, sizeof *c);
  luaL_argcheck(L, entries >= 1 && entries <= UB_CACHE_MOST_ENTRIES, 1, "entries out of range");
  luaL_argcheck(L, bytes >= 1 && bytes <= UB_CACHE_MOST_BYTES, 1, "bytes out of range");
  c->entries = (uint32_t)entries;
  c->bytes = (uint64_t)bytes;
  c->wall = (uint32_t)ub_fieldtrue(L, 1, "wall");
  c->ttl_us = ub_fieldus(L, 1, "ttl");
  c->stale_us = ub_fieldus(L, 1, "stale");
  luaL_argcheck(L, c->ttl_us >= 0 && c->stale_us >= 0, 1, "times of at least 0 expected");
}

/* What tells one shared cache from another: it may get other times. */
static uint64_t layout_of (const ub_cache_config *config) {
  ub_cache_config c = *config;
  c.ttl_us = c.stale_us = 0;
  return ub_layout(&c, sizeof c);
}

/*
** core.cache(options) -> cache | nil, message, code
** core.cache(options, nil, region, name) -> cache | nil, message, code
*/
static int cache_new (lua_State *L) {
  ub_cache_config config;
  uint64_t layout;
  box *b;
  luaL_checktype(L, 1, LUA_TTABLE);
  readconfig(L, &config);
  layout = layout_of(&config);
  config.seed = ub_fieldseed(L, 1);
  if (!lua_isnoneornil(L, 3))
    return ub_pushsharedcache(L, &config, layout);
  b = ub_newuserdata(L, sizeof *b);
  memset(b, 0, sizeof *b);  /* closed first, so that __gc can treat it */
  ub_settype(L, TYPE);
  b->memory = ub_alloc(ub_cache_size(&config) + LINE);
  if (b->memory == NULL)
    return ub_pushfail(L, UB_ENOMEM, "cache");
  b->cache = (void *)(((uintptr_t)b->memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
  ub_cache_init(b->cache, &config);
  return 1;
}

/* core.cache_room(options, name) -> bytes of a region that holds just this cache */
static int cache_room (lua_State *L) {
  ub_cache_config config;
  size_t length;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checklstring(L, 2, &length);
  readconfig(L, &config);
  ub_pushwhole(L, (int64_t)ub_region_room(&ub_cache_part, &config, length));
  return 1;
}

static void stop_reading (box *b) {
  if (--b->readers > 0)
    return;
  ub_free(b->late);
  b->late = NULL;
}

/*
** Push what was found. The collector may run meanwhile, and a finalizer do
** anything with this cache: false when entries came or went, and then the
** string may be none. Its memory stays, since we read. (Lua may raise when its
** own is short: then we count as readers for good, and 'close' leaves the
** memory to the collector.)
*/
static int pushvalue (lua_State *L, box *b, const ub_cache_found *found) {
  char small[SMALL], *copy = small;
  ub_cache *c = b->cache;
  const char *bytes = ub_cache_whole(c, found);
  b->readers++;
  if (bytes == NULL) {
    if (found->length > SMALL)
      copy = ub_newuserdata(L, found->length);
    bytes = ub_cache_copy(c, found, copy) ? copy : NULL;
  }
  lua_pushlstring(L, bytes, bytes != NULL ? found->length : 0);
  stop_reading(b);
  if (b->cache != NULL && ub_cache_use(c, found))
    return 1;
  lua_settop(L, 3);
  return 0;
}

/* c:get(key, now or nil) -> value, "fresh" or "stale", age | nil */
static int cache_get (lua_State *L) {
  box *b = checkbox(L);
  ub_cache_key key = ub_checkkey(L, 2, KEY_META);
  int64_t now = ub_optnow(L, 3);
  ub_cache_found found;
  do {
    if (ub_cache_find(opened(L, b), &key, now, &found) == UB_CACHE_MISS) {
      lua_pushnil(L);
      return 1;
    }
  } while (!pushvalue(L, b, &found));
  lua_pushvalue(L, found.state == UB_CACHE_FRESH ? FRESH : STALE);
  lua_pushnumber(L, (double)found.age_us / UB_SECOND_US);
  return 3;
}

/* c:set(key, value; ttl, tags, now, age, or nil) -> true | nil, message, code */
static int cache_set (lua_State *L) {
  ub_cache *c = checkcache(L);
  ub_cache_given g;
  ub_checkgiven(L, c, KEY_META, &g);
  if (ub_cache_set(c, &g.key, &g.value, g.ttl_us, g.age_us, g.now_us) == UB_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  return ub_pushtoolarge(L, ub_cache_bytes(c));
}

/* c:delete(key, now or nil) -> was it there? */
static int cache_delete (lua_State *L) {
  ub_cache *c = checkcache(L);
  ub_cache_key key = ub_checkkey(L, 2, KEY_META);
  lua_pushboolean(L, ub_cache_delete(c, &key, ub_optnow(L, 3)));
  return 1;
}

/* c:purge(tag, now or nil) -> how many */
static int cache_purge (lua_State *L) {
  ub_cache *c = checkcache(L);
  size_t length;
  const char *tag = ub_checktag(L, 2, &length);
  int64_t now = ub_optnow(L, 3);
  uint32_t cursor = 0, purged = 0;
  while (cursor != UB_CACHE_END)
    purged += ub_cache_purge(c, tag, length, &cursor, now);
  ub_pushwhole(L, purged);
  return 1;
}

/* c:next(cursor or nil, now or nil) -> cursor, key, value, about | nil */
static int cache_next (lua_State *L) {
  return ub_pushnext(L, checkcache);
}

/* c:clear() */
static int cache_clear (lua_State *L) {
  ub_cache_clear(checkcache(L));
  return 0;
}

/* c:stats() -> table */
static int cache_stats (lua_State *L) {
  ub_pushcachestats(L, ub_cache_read(checkcache(L)));
  return 1;
}

/* c:close(), and __close; may be called twice */
static int cache_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  if (b->readers > 0 && b->cache != NULL)
    b->late = b->memory;
  else
    ub_free(b->memory);
  b->cache = NULL;
  b->memory = NULL;
  return 0;
}

/* Nobody reads any more. */
static int cache_gc (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_free(b->memory);
  ub_free(b->late);
  memset(b, 0, sizeof *b);
  return 0;
}

/* The method 'get' has two more upvalues than the others. */
static void add_get (lua_State *L) {
  luaL_getmetatable(L, TYPE);
  lua_getfield(L, -1, "__index");
  luaL_getmetatable(L, TYPE);
  luaL_getmetatable(L, UB_KEY_TYPE);
  lua_pushstring(L, "fresh");
  lua_pushstring(L, "stale");
  lua_pushcclosure(L, cache_get, 4);
  lua_setfield(L, -2, "get");
  lua_pop(L, 2);
}

void ub_open_cache (lua_State *L) {
  static const luaL_Reg plain[] = {{"close", cache_close}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
    {"set", cache_set}, {"delete", cache_delete}, {"clear", cache_clear},
    {"purge", cache_purge}, {"next", cache_next}, {"stats", cache_stats}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", cache_gc}, {"__close", cache_close}, {NULL, NULL}};
  ub_newtype(L, TYPE, plain, meta);
  ub_addmethods(L, TYPE, UB_KEY_TYPE, methods);
  add_get(L);
  ub_opensharedcache(L);
  lua_pushcfunction(L, cache_new);
  lua_setfield(L, -2, "cache");
  lua_pushcfunction(L, cache_room);
  lua_setfield(L, -2, "cache_room");
}
