/*
** lua_cache.h: what the bindings of private and of shared caches have in common.
*/
#ifndef UB_LUA_CACHE_H
#define UB_LUA_CACHE_H

#include "lua/lua_shared.h"
#include "parts/cache.h"

/* Seconds that may be left out: microseconds, or -1 then. */
int64_t ub_optttl (lua_State *L, int index);

/* nil, message, "full": key and value were more than 'most' bytes. Returns 3. */
int ub_pushtoolarge (lua_State *L, uint64_t most);

void ub_pushcachestats (lua_State *L, ub_cache_stats stats);

/* The cache in the region and of the name that are arguments 3 and 4; as 'core.cache'. */
int ub_pushsharedcache (lua_State *L, const ub_cache_config *config, uint64_t layout);

/* Make the type of shared caches known. */
void ub_opensharedcache (lua_State *L);

#endif
