/*
** lua_budget.c: the binding of budget.h.
*/
#include "base/err.h"
#include "lua/lua_util.h"
#include "parts/budget.h"

#define TYPE "unbusy.budget"

static const char *const kinds[] = {  /* in the order of ub_budget_kind */
  "retry", "throttle", "hedge", NULL
};

static const char *const outcomes[] = {"fail", "ok", NULL};

static ub_budget *checkbudget (lua_State *L) {
  return ub_checkself(L, TYPE);
}

/* core.budget(options) -> budget */
static int budget_new (lua_State *L) {
  ub_budget_config config;
  luaL_checktype(L, 1, LUA_TTABLE);
  config.ratio = ub_fieldnumber(L, 1, "ratio");
  config.floor = ub_fieldnumber(L, 1, "floor");
  config.tokens = ub_fieldnumber(L, 1, "tokens");
  config.retry_cost = ub_fieldnumber(L, 1, "retry_cost");
  config.throttle_cost = ub_fieldnumber(L, 1, "throttle_cost");
  ub_budget_init(ub_newuserdata(L, ub_budget_size()), &config);
  ub_settype(L, TYPE);
  return 1;
}

/* b:begin() */
static int budget_begin (lua_State *L) {
  ub_budget_begin(checkbudget(L));
  return 0;
}

/* b:take(kind) -> permit | nil, message, "budget" */
static int budget_take (lua_State *L) {
  ub_budget *b = checkbudget(L);
  uint64_t permit;
  int err = ub_budget_take(b, (ub_budget_kind)ub_checkword(L, 2, kinds), &permit);
  if (err != UB_OK)
    return ub_pushfail(L, err, "budget");
  ub_pushwhole(L, (int64_t)permit);
  return 1;
}

/* b:give(permit, outcome) -> was it out? */
static int budget_give (lua_State *L) {
  ub_budget *b = checkbudget(L);
  uint64_t permit = ub_checkticket(L, 2);
  lua_pushboolean(L, ub_budget_give(b, permit, ub_checkword(L, 3, outcomes)));
  return 1;
}

/* b:finish(outcome) -> was a call under way? */
static int budget_finish (lua_State *L) {
  ub_budget *b = checkbudget(L);
  lua_pushboolean(L, ub_budget_finish(b, ub_checkword(L, 2, outcomes)));
  return 1;
}

/* b:stats() -> { active =, permits =, tokens =, refused = } */
static int budget_stats (lua_State *L) {
  ub_budget *b = checkbudget(L);
  lua_newtable(L);
  ub_setwhole(L, "active", b->active);
  ub_setwhole(L, "permits", ub_budget_permits(b));
  ub_setnumber(L, "tokens", b->tokens);
  ub_setwhole(L, "refused", (int64_t)b->refused);
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
  lua_pushcfunction(L, budget_new);
  lua_setfield(L, -2, "budget");
  setcalls(L);
}
