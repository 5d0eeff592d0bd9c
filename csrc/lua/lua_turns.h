/*
** lua_turns.h: priorities as Lua has them: 1 to UB_TURNS.
*/
#ifndef UB_LUA_TURNS_H
#define UB_LUA_TURNS_H

#include "base/turns.h"
#include "lua/lua_util.h"

/* The priority at 'index', from 0. */
static inline uint32_t ub_checkpriority (lua_State *L, int index) {
  lua_Number n = luaL_checknumber(L, index);
  luaL_argcheck(L, n >= 1 && n <= UB_TURNS && n == (uint32_t)n, index, "a priority expected");
  return (uint32_t)n - 1;
}

/* A set of them: bit 0 for the first; not empty. */
static inline uint32_t ub_checkpriorities (lua_State *L, int index) {
  lua_Number n = luaL_checknumber(L, index);
  luaL_argcheck(L, n >= 1 && n < 1 << UB_TURNS && n == (uint32_t)n, index,
                "a set of priorities expected");
  return (uint32_t)n;
}

#endif
