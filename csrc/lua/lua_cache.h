/*
** lua_cache.h: what the bindings of private and of shared caches have in common.
*/
#ifndef UB_LUA_CACHE_H
#define UB_LUA_CACHE_H

#include "base/region_peek.h"
#include "lua/lua_key.h"
#include "lua/lua_shared.h"
#include "parts/cache_read.h"

#define UB_TAGS_BYTES  (UB_CACHE_MOST_TAGS * 256)

/* What 'set' is given, at 2 and behind: key, value; ttl, tags, now, age, or nil. */
typedef struct ub_cache_given {
  ub_cache_key key;
  ub_cache_value value;
  int64_t ttl_us, age_us, now_us;
  char tags[UB_TAGS_BYTES];
} ub_cache_given;

/* Raises for what is wrong. 'meta' is as in 'ub_checkkey'. */
void ub_checkgiven (lua_State *L, const ub_cache *c, int meta, ub_cache_given *g);

/* The time argument, which may be left out: the clock of this cache then. */
int64_t ub_cachenow (lua_State *L, int index, const ub_cache *c);

/* The tag argument; 1 to 255 bytes. */
const char *ub_checktag (lua_State *L, int index, size_t *length);

/* nil, message, "full": it was more than 'most' bytes. Returns 3. */
int ub_pushtoolarge (lua_State *L, uint64_t most);

void ub_pushcachestats (lua_State *L, ub_cache_stats stats);

/*
** c:next(cursor or nil, now or nil): 'cache' gives the open cache that is argument 1,
** or NULL, or raises; it is asked again whenever the collector may have run.
*/
int ub_pushnext (lua_State *L, ub_cache *(*cache)(lua_State *L));

/* The cache in the region and of the name that are arguments 3 and 4; as 'core.cache'. */
int ub_pushsharedcache (lua_State *L, const ub_cache_config *config, uint64_t layout);

/* Make the type of shared caches known. */
void ub_opensharedcache (lua_State *L);

#endif
