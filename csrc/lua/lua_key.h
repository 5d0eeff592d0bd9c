/*
** lua_key.h: keys as userdata, for the bindings that take them.
*/
#ifndef UB_LUA_KEY_H
#define UB_LUA_KEY_H

#include "lua/lua_util.h"
#include "parts/cache.h"

#define UB_KEY_TYPE "unbusy.key"

/*
** The key at 'index': a key userdata (its metatable being the upvalue 'meta'
** of the function that runs) or a plain string, which is the key of that one
** string. Anything else raises. It points into the argument.
*/
ub_cache_key ub_checkkey (lua_State *L, int index, int meta);

/* The byte that stands for a space before a key's bytes, where a key is one string. */
char ub_key_mark (uint32_t space);

#endif
