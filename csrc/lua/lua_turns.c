/*
** lua_turns.c: the binding of turns.h.
*/
#include "lua/lua_turns.h"

#define TYPE  "unbusy.turns"

static ub_turns *checkturns (lua_State *L) {
  return ub_checkself(L, TYPE);
}

/* core.turns() -> turns */
static int turns_new (lua_State *L) {
  ub_turns_init(ub_newuserdata(L, sizeof(ub_turns)));
  ub_settype(L, TYPE);
  return 1;
}

/* t:join(priority) */
static int turns_join (lua_State *L) {
  ub_turns *t = checkturns(L);
  ub_turns_join(t, ub_checkpriority(L, 2));
  return 0;
}

/* t:next(mask) -> priority */
static int turns_next (lua_State *L) {
  ub_turns *t = checkturns(L);
  ub_pushwhole(L, ub_turns_next(t, ub_checkpriorities(L, 2)) + 1);
  return 1;
}

/* t:take(priority) */
static int turns_take (lua_State *L) {
  ub_turns *t = checkturns(L);
  ub_turns_take(t, ub_checkpriority(L, 2));
  return 0;
}

void ub_open_turns (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"join", turns_join}, {"next", turns_next}, {"take", turns_take}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  lua_pushcfunction(L, turns_new);
  lua_setfield(L, -2, "turns");
}
