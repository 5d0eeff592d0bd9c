/*
** lua_limiter.c: the binding of limiter.h.
*/
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_shared.h"
#include "parts/limiter.h"

#define TYPE    "unbusy.limiter"
#define SHARED  "unbusy.shared_limiter"

static const char *const outcomes[] = {  /* in the order of ub_limiter_outcome */
  "ok", "fail", "neutral", NULL
};

static ub_self checklimiter (lua_State *L) {
  return ub_checkeither(L, TYPE, SHARED);
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "limiter");
}

static void readconfig (lua_State *L, ub_limiter_config *config) {
  memset(config, 0, sizeof *config);  /* its hash tells one layout from another */
  config->min = (uint32_t)ub_fieldwhole(L, 1, "min");
  config->max = (uint32_t)ub_fieldwhole(L, 1, "max");
  config->initial = ub_fieldnumber(L, 1, "initial");
  config->ratio = ub_fieldnumber(L, 1, "ratio");
  config->throttle = ub_optfieldnumber(L, 1, "throttle", 0);
  config->gradient = ub_fieldtrue(L, 1, "gradient") != 0;
  luaL_argcheck(L, config->min >= 1 && config->min <= config->max, 1, "min … max expected");
  luaL_argcheck(L, config->max <= UB_LIMITER_MOST, 1, "max is too large");
  luaL_argcheck(L, config->initial >= config->min && config->initial <= config->max, 1,
                "initial within min and max expected");
  luaL_argcheck(L, config->throttle == 0 || (config->throttle >= 1 && config->throttle <= 1e6),
                1, "throttle is out of range");
}

/*
** core.limiter(options, now or nil) -> limiter
** core.limiter(options, now or nil, region, name) -> limiter | nil, message, code
*/
static int limiter_new (lua_State *L) {
  ub_limiter_config config;
  int64_t now = ub_optnow(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  readconfig(L, &config);
  if (!lua_isnoneornil(L, 3))
    return ub_pushshared(L, SHARED, &ub_limiter_part, ub_layout(&config, sizeof config),
                         &config, sizeof config, now);
  ub_limiter_init(ub_newuserdata(L, ub_limiter_size(&config)), &config, now);
  ub_settype(L, TYPE);
  return 1;
}

/* Seconds; or nil for a time below 0, which only a report can end. */
static void pushretry (lua_State *L, int64_t us) {
  if (us < 0)
    lua_pushnil(L);
  else
    lua_pushnumber(L, (double)us / UB_SECOND_US);
}

/* l:allow(now or nil) -> ticket | nil, message, "full", { retry_after = } */
static int limiter_allow (lua_State *L) {
  ub_self self = checklimiter(L);
  int64_t wait = 0, now = ub_optnow(L, 2);
  uint64_t ticket;
  ub_limiter *l = ub_enter(&self);
  int err;
  if (l == NULL)
    return pushlost(L);
  err = ub_limiter_allow(l, &ticket, now);
  if (err != UB_OK)
    wait = ub_limiter_retry_after(l, now);
  ub_leave(&self);
  if (err == UB_OK) {
    ub_pushwhole(L, (int64_t)ticket);
    return 1;
  }
  ub_pushfail(L, err, "limiter");
  lua_newtable(L);
  pushretry(L, wait);
  lua_setfield(L, -2, "retry_after");
  return 4;
}

/* l:report(ticket, outcome, seconds or nil, now or nil) -> was it out? */
static int limiter_report (lua_State *L) {
  ub_self self = checklimiter(L);
  uint64_t ticket = ub_checkticket(L, 2);
  ub_limiter_outcome outcome = (ub_limiter_outcome)ub_checkword(L, 3, outcomes);
  int64_t took = lua_isnoneornil(L, 4) ? -1 : ub_checkus(L, 4), now = ub_optnow(L, 5);
  ub_limiter *l = ub_enter(&self);
  int done;
  if (l == NULL)
    return pushlost(L);
  done = ub_limiter_report(l, ticket, outcome, took, now);
  ub_leave(&self);
  lua_pushboolean(L, done);
  return 1;
}

/* l:started(ticket, seconds, now or nil) -> was it out, and had not begun? */
static int limiter_started (lua_State *L) {
  ub_self self = checklimiter(L);
  uint64_t ticket = ub_checkticket(L, 2);
  int64_t took = ub_checkus(L, 3), now = ub_optnow(L, 4);
  ub_limiter *l = ub_enter(&self);
  int done;
  if (l == NULL)
    return pushlost(L);
  done = ub_limiter_started(l, ticket, took, now);
  ub_leave(&self);
  lua_pushboolean(L, done);
  return 1;
}

/* l:freeze(window or nil, now or nil) -> was it moving? */
static int limiter_freeze (lua_State *L) {
  ub_self self = checklimiter(L);
  int64_t window = lua_isnoneornil(L, 2) ? 10 * UB_SECOND_US : ub_checkus(L, 2);
  int64_t now = ub_optnow(L, 3);
  ub_limiter *l = ub_enter(&self);
  int done;
  if (l == NULL)
    return pushlost(L);
  done = ub_limiter_freeze(l, window, now);
  ub_leave(&self);
  lua_pushboolean(L, done);
  return 1;
}

/* l:restore(now or nil) -> was it frozen? */
static int limiter_restore (lua_State *L) {
  ub_self self = checklimiter(L);
  int64_t now = ub_optnow(L, 2);
  ub_limiter *l = ub_enter(&self);
  int done;
  if (l == NULL)
    return pushlost(L);
  done = ub_limiter_restore(l, now);
  ub_leave(&self);
  lua_pushboolean(L, done);
  return 1;
}

/* l:limit(now or nil) -> slots */
static int limiter_limit (lua_State *L) {
  ub_self self = checklimiter(L);
  int64_t now = ub_optnow(L, 2);
  ub_limiter room;
  const ub_limiter *l = ub_look(&self, &room, sizeof room);
  if (l == NULL)
    return pushlost(L);
  lua_pushnumber(L, ub_limiter_limit(l, now));
  return 1;
}

/* l:in_flight() -> calls */
static int limiter_in_flight (lua_State *L) {
  ub_self self = checklimiter(L);
  ub_limiter *l = ub_enter(&self);
  uint32_t calls;
  if (l == NULL)
    return pushlost(L);
  calls = ub_limiter_in_flight(l);
  ub_leave(&self);
  ub_pushwhole(L, calls);
  return 1;
}

/* l:retry_after(now or nil) -> seconds | nil */
static int limiter_retry_after (lua_State *L) {
  ub_self self = checklimiter(L);
  int64_t wait, now = ub_optnow(L, 2);
  ub_limiter *l = ub_enter(&self);
  if (l == NULL)
    return pushlost(L);
  wait = ub_limiter_retry_after(l, now);
  ub_leave(&self);
  pushretry(L, wait);
  return 1;
}

typedef struct stats {
  double limit, round_trip, base, credit;
  int64_t in_flight, resting, drops, refused;
  int frozen, answered;
} stats;

static stats read_stats (ub_limiter *l, int64_t now) {
  return (stats){
    .limit = ub_limiter_limit(l, now), .in_flight = ub_limiter_in_flight(l),
    .resting = ub_limiter_resting(l, now), .frozen = (int)l->frozen,
    .answered = ub_limiter_answered(l),
    .round_trip = (double)ub_limiter_trip(l) / UB_SECOND_US,
    .drops = (int64_t)l->drops, .refused = (int64_t)l->refused,
    .base = ub_gradient_base(&l->gradient) / UB_SECOND_US, .credit = l->throttle.credit
  };
}

/* l:stats(now or nil) -> table */
static int limiter_stats (lua_State *L) {
  ub_self self = checklimiter(L);
  int64_t now = ub_optnow(L, 2);
  ub_limiter *l = ub_enter(&self);
  stats s;
  if (l == NULL)
    return pushlost(L);
  s = read_stats(l, now);
  ub_leave(&self);
  lua_newtable(L);
  ub_setnumber(L, "limit", s.limit);
  ub_setwhole(L, "in_flight", s.in_flight);
  ub_setwhole(L, "resting", s.resting);
  ub_setnumber(L, "round_trip", s.round_trip);
  ub_setnumber(L, "credit", s.credit);
  if (s.base > 0)
    ub_setnumber(L, "base", s.base);
  ub_setwhole(L, "drops", s.drops);
  ub_setwhole(L, "refused", s.refused);
  lua_pushboolean(L, s.frozen);
  lua_setfield(L, -2, "frozen");
  lua_pushboolean(L, s.answered);
  lua_setfield(L, -2, "answered");
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

static int call_started (ub_limiter *l, double ticket, double took, double now) {
  return ub_limiter_started(l, ub_toticket(ticket), ub_tous(took), ub_callnow(now));
}

static void setcalls (lua_State *L) {
  ub_setcall(L, "limiter", "started", (ub_call *)call_started);
  ub_setcall(L, "limiter", "allow", (ub_call *)call_allow);
  ub_setcall(L, "limiter", "report", (ub_call *)call_report);
}

#else
#define setcalls(L) ((void)0)
#endif

void ub_open_limiter (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"allow", limiter_allow}, {"report", limiter_report},
    {"started", limiter_started}, {"limit", limiter_limit},
    {"in_flight", limiter_in_flight}, {"retry_after", limiter_retry_after},
    {"freeze", limiter_freeze}, {"restore", limiter_restore},
    {"stats", limiter_stats}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  ub_newshared(L, SHARED, &ub_limiter_part, methods);
  lua_pushcfunction(L, limiter_new);
  lua_setfield(L, -2, "limiter");
  setcalls(L);
}
