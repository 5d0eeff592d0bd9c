/*
** lua_budget.c: the binding of budget.h.
*/
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_shared.h"
#include "parts/budget.h"

#define TYPE    "unbusy.budget"
#define SHARED  "unbusy.shared_budget"

static const char *const kinds[] = {  /* in the order of ub_budget_kind */
  "retry", "throttle", "hedge", NULL
};

static const char *const outcomes[] = {"fail", "ok", NULL};

static ub_self checkbudget (lua_State *L) {
  return ub_checkeither(L, TYPE, SHARED);
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "budget");
}

/*
** core.budget(options) -> budget
** core.budget(options, nil, region, name) -> budget | nil, message, code
*/
static int budget_new (lua_State *L) {
  ub_budget_config config;
  luaL_checktype(L, 1, LUA_TTABLE);
  memset(&config, 0, sizeof config);  /* its hash tells one layout from another */
  config.ratio = ub_fieldnumber(L, 1, "ratio");
  config.floor = ub_fieldnumber(L, 1, "floor");
  config.tokens = ub_fieldnumber(L, 1, "tokens");
  config.retry_cost = ub_fieldnumber(L, 1, "retry_cost");
  config.throttle_cost = ub_fieldnumber(L, 1, "throttle_cost");
  if (!lua_isnoneornil(L, 3))
    return ub_pushshared(L, SHARED, &ub_budget_part, ub_layout(&config, sizeof config),
                         &config, sizeof config, ub_clock_us());
  ub_budget_init(ub_newuserdata(L, ub_budget_size()), &config);
  ub_settype(L, TYPE);
  return 1;
}

/* b:begin() */
static int budget_begin (lua_State *L) {
  ub_self self = checkbudget(L);
  ub_budget *b = ub_enter(&self);
  if (b == NULL)
    return 0;
  ub_budget_begin(b);
  ub_leave(&self);
  return 0;
}

/* b:take(kind) -> permit | nil, message, "budget" */
static int budget_take (lua_State *L) {
  ub_self self = checkbudget(L);
  ub_budget_kind kind = (ub_budget_kind)ub_checkword(L, 2, kinds);
  ub_budget *b = ub_enter(&self);
  uint64_t permit;
  int err;
  if (b == NULL)
    return pushlost(L);
  err = ub_budget_take(b, kind, &permit);
  ub_leave(&self);
  if (err != UB_OK)
    return ub_pushfail(L, err, "budget");
  ub_pushwhole(L, (int64_t)permit);
  return 1;
}

/* b:give(permit, outcome) -> was it out? */
static int budget_give (lua_State *L) {
  ub_self self = checkbudget(L);
  uint64_t permit = ub_checkticket(L, 2);
  int done, ok = ub_checkword(L, 3, outcomes);
  ub_budget *b = ub_enter(&self);
  if (b == NULL)
    return pushlost(L);
  done = ub_budget_give(b, permit, ok);
  ub_leave(&self);
  lua_pushboolean(L, done);
  return 1;
}

/* b:finish(outcome) -> was a call under way? */
static int budget_finish (lua_State *L) {
  ub_self self = checkbudget(L);
  int done, clean = ub_checkword(L, 2, outcomes);
  ub_budget *b = ub_enter(&self);
  if (b == NULL)
    return pushlost(L);
  done = ub_budget_finish(b, clean);
  ub_leave(&self);
  lua_pushboolean(L, done);
  return 1;
}

/* b:stats() -> { active =, permits =, tokens =, refused = } */
static int budget_stats (lua_State *L) {
  ub_self self = checkbudget(L);
  ub_budget *b = ub_enter(&self), copy;
  uint32_t permits;
  if (b == NULL)
    return pushlost(L);
  copy = *b;
  permits = ub_budget_permits(b);
  ub_leave(&self);
  lua_newtable(L);
  ub_setwhole(L, "active", copy.active);
  ub_setwhole(L, "permits", permits);
  ub_setnumber(L, "tokens", copy.tokens);
  ub_setwhole(L, "refused", (int64_t)copy.refused);
  return 1;
}

static void setcalls (lua_State *L) {
#if UB_FFI
  ub_setcall(L, "budget", "begin", (ub_call *)ub_budget_begin);
  ub_setcall(L, "budget", "finish", (ub_call *)ub_budget_finish);
#else
  (void)L;
#endif
}

void ub_open_budget (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"begin", budget_begin}, {"take", budget_take}, {"give", budget_give},
    {"finish", budget_finish}, {"stats", budget_stats}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  ub_newshared(L, SHARED, &ub_budget_part, methods);
  lua_pushcfunction(L, budget_new);
  lua_setfield(L, -2, "budget");
  setcalls(L);
}
