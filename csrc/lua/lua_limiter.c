/*
** lua_limiter.c: the binding of limiter.h.
*/
#include <math.h>

#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_util.h"
#include "parts/limiter.h"

#define TYPE "unbusy.limiter"

static const char *const outcomes[] = {  /* in the order of ub_limiter_outcome */
  "ok", "fail", "neutral", NULL
};

static ub_limiter *checklimiter (lua_State *L) {
  return ub_checkself(L, TYPE);
}

/* core.limiter(options, now or nil) -> limiter */
static int limiter_new (lua_State *L) {
  ub_limiter_config config;
  int64_t now = ub_optnow(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  config.min = (uint32_t)ub_fieldwhole(L, 1, "min");
  config.max = (uint32_t)ub_fieldwhole(L, 1, "max");
  config.initial = ub_fieldnumber(L, 1, "initial");
  config.ratio = ub_fieldnumber(L, 1, "ratio");
  luaL_argcheck(L, config.min >= 1 && config.min <= config.max, 1, "min … max expected");
  luaL_argcheck(L, config.max <= UB_LIMITER_MOST, 1, "max is too large");
  luaL_argcheck(L, config.initial >= config.min && config.initial <= config.max, 1,
                "initial within min and max expected");
  ub_limiter_init(ub_newuserdata(L, ub_limiter_size(&config)), &config, now);
  ub_settype(L, TYPE);
  return 1;
}

static void pushus (lua_State *L, int64_t us) {
  lua_pushnumber(L, (double)us / UB_SECOND_US);
}

/* Seconds until time alone makes room, or nil. */
static void pushretry (lua_State *L, ub_limiter *l, int64_t now) {
  int64_t us = ub_limiter_retry_after(l, now);
  if (us < 0)
    lua_pushnil(L);
  else
    pushus(L, us);
}

/* l:allow(now or nil) -> ticket | nil, message, "full", { retry_after = } */
static int limiter_allow (lua_State *L) {
  ub_limiter *l = checklimiter(L);
  int64_t now = ub_optnow(L, 2);
  uint64_t ticket;
  int results, err = ub_limiter_allow(l, &ticket, now);
  if (err == UB_OK) {
    ub_pushwhole(L, (int64_t)ticket);
    return 1;
  }
  results = ub_pushfail(L, err, "limiter");
  lua_newtable(L);
  pushretry(L, l, now);
  lua_setfield(L, -2, "retry_after");
  return results + 1;
}

/* l:report(ticket, outcome, seconds or nil, now or nil) -> was it out? */
static int limiter_report (lua_State *L) {
  ub_limiter *l = checklimiter(L);
  uint64_t ticket = ub_checkticket(L, 2);
  ub_limiter_outcome outcome = (ub_limiter_outcome)ub_checkword(L, 3, outcomes);
  int64_t took = lua_isnoneornil(L, 4) ? -1 : ub_checkus(L, 4);
  lua_pushboolean(L, ub_limiter_report(l, ticket, outcome, took, ub_optnow(L, 5)));
  return 1;
}

/* l:freeze(window or nil, now or nil) -> was it moving? */
static int limiter_freeze (lua_State *L) {
  ub_limiter *l = checklimiter(L);
  int64_t window = lua_isnoneornil(L, 2) ? 10 * UB_SECOND_US : ub_checkus(L, 2);
  lua_pushboolean(L, ub_limiter_freeze(l, window, ub_optnow(L, 3)));
  return 1;
}

/* l:restore(now or nil) -> was it frozen? */
static int limiter_restore (lua_State *L) {
  ub_limiter *l = checklimiter(L);
  lua_pushboolean(L, ub_limiter_restore(l, ub_optnow(L, 2)));
  return 1;
}

/* l:limit(now or nil) -> slots */
static int limiter_limit (lua_State *L) {
  ub_limiter *l = checklimiter(L);
  lua_pushnumber(L, ub_limiter_limit(l, ub_optnow(L, 2)));
  return 1;
}

/* l:in_flight() -> calls */
static int limiter_in_flight (lua_State *L) {
  ub_pushwhole(L, ub_limiter_in_flight(checklimiter(L)));
  return 1;
}

/* l:retry_after(now or nil) -> seconds | nil */
static int limiter_retry_after (lua_State *L) {
  ub_limiter *l = checklimiter(L);
  pushretry(L, l, ub_optnow(L, 2));
  return 1;
}

/* l:stats(now or nil) -> table */
static int limiter_stats (lua_State *L) {
  ub_limiter *l = checklimiter(L);
  int64_t now = ub_optnow(L, 2);
  lua_newtable(L);
  ub_setnumber(L, "limit", ub_limiter_limit(l, now));
  ub_setwhole(L, "in_flight", ub_limiter_in_flight(l));
  ub_setwhole(L, "resting", ub_limiter_resting(l, now));
  ub_setnumber(L, "round_trip", (double)ub_limiter_trip(l) / UB_SECOND_US);
  ub_setwhole(L, "drops", (int64_t)l->drops);
  ub_setwhole(L, "refused", (int64_t)l->refused);
  lua_pushboolean(L, (int)l->frozen);
  lua_setfield(L, -2, "frozen");
  return 1;
}

#if UB_FFI

/* A ticket; or minus the seconds to wait, NaN when only a report makes room. */
static double call_allow (ub_limiter *l, double seconds) {
  int64_t us, now = ub_callnow(seconds);
  uint64_t ticket;
  if (ub_limiter_allow(l, &ticket, now) == UB_OK)
    return (double)ticket;
  us = ub_limiter_retry_after(l, now);
  return us < 0 ? NAN : -(double)us / UB_SECOND_US;
}

static int call_report (ub_limiter *l, double ticket, int outcome,
                        double took, double now) {
  return ub_limiter_report(l, ub_toticket(ticket), (ub_limiter_outcome)outcome,
                           ub_tous(took), ub_callnow(now));
}

static void setcalls (lua_State *L) {
  ub_setcall(L, "limiter", "allow", (ub_call *)call_allow);
  ub_setcall(L, "limiter", "report", (ub_call *)call_report);
}

#else
#define setcalls(L) ((void)0)
#endif

void ub_open_limiter (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"allow", limiter_allow}, {"report", limiter_report}, {"limit", limiter_limit},
    {"in_flight", limiter_in_flight}, {"retry_after", limiter_retry_after},
    {"freeze", limiter_freeze}, {"restore", limiter_restore},
    {"stats", limiter_stats}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  lua_pushcfunction(L, limiter_new);
  lua_setfield(L, -2, "limiter");
  setcalls(L);
}
