/*
** lua_rate.c: the binding of rate.h.
*/
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_shared.h"
#include "parts/rate.h"

#define TYPE    "unbusy.rate"
#define SHARED  "unbusy.shared_rate"

static const char *const kinds[] = {  /* in the order of ub_rate_kind */
  "requests", "tokens", NULL
};

static ub_self checkrate (lua_State *L) {
  return ub_checkeither(L, TYPE, SHARED);
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "rate");
}

/* core.rate(options, now or nil[, region, name]) -> rate | nil, message, code */
static int rate_new (lua_State *L) {
  ub_rate_config config;
  int64_t now = ub_optnow(L, 2);
  int k;
  luaL_checktype(L, 1, LUA_TTABLE);
  memset(&config, 0, sizeof config);  /* its hash tells one layout from another */
  config.per_minute[UB_RATE_REQUESTS] = ub_optfieldnumber(L, 1, "requests", 0);
  config.per_minute[UB_RATE_TOKENS] = ub_optfieldnumber(L, 1, "tokens", 0);
  for (k = 0; k < UB_RATE_KINDS; k++) {
    double n = config.per_minute[k];
    luaL_argcheck(L, n == 0 || (n >= 1 && n <= UB_RATE_MOST), 1, "1 or more expected");
  }
  if (!lua_isnoneornil(L, 3))
    return ub_pushshared(L, SHARED, &ub_rate_part, ub_layout(&config, sizeof config),
                         &config, sizeof config, now);
  ub_rate_init(ub_newuserdata(L, sizeof(ub_rate)), &config, now);
  ub_settype(L, TYPE);
  return 1;
}

/* A number of 0 or more. */
static double checkamount (lua_State *L, int index) {
  double n = luaL_checknumber(L, index);
  luaL_argcheck(L, n >= 0, index, "0 or more expected");
  return n;
}

/* r:take(tokens, now or nil) -> mark, mark | nil, message, "full", { retry_after = } */
static int rate_take (lua_State *L) {
  ub_self self = checkrate(L);
  double tokens = checkamount(L, 2);
  int64_t wait, now = ub_optnow(L, 3);
  ub_rate_mark mark;
  ub_rate *r = ub_enter(&self);
  int err;
  if (r == NULL)
    return pushlost(L);
  err = ub_rate_take(r, tokens, &mark, &wait, now);
  ub_leave(&self);
  if (err == UB_OK) {
    lua_pushnumber(L, mark.at[UB_RATE_REQUESTS]);
    lua_pushnumber(L, mark.at[UB_RATE_TOKENS]);
    return 2;
  }
  ub_pushfail(L, err, "rate");
  lua_createtable(L, 0, 1);
  ub_setnumber(L, "retry_after", (double)wait / UB_SECOND_US);
  return 4;
}

/* r:retry_after(tokens, now or nil) -> seconds */
static int rate_retry_after (lua_State *L) {
  ub_self self = checkrate(L);
  double tokens = checkamount(L, 2);
  int64_t wait, now = ub_optnow(L, 3);
  ub_rate *r = ub_enter(&self);
  if (r == NULL)
    return pushlost(L);
  wait = ub_rate_wait(r, tokens, now);
  ub_leave(&self);
  lua_pushnumber(L, (double)wait / UB_SECOND_US);
  return 1;
}

/* r:correct(foreseen, used, now or nil) */
static int rate_correct (lua_State *L) {
  ub_self self = checkrate(L);
  double foreseen = checkamount(L, 2), used = checkamount(L, 3);
  int64_t now = ub_optnow(L, 4);
  ub_rate *r = ub_enter(&self);
  if (r == NULL)
    return pushlost(L);
  ub_rate_correct(r, foreseen, used, now);
  ub_leave(&self);
  return 0;
}

/* A time of 0 to a day; -1 for nil. */
static int64_t optreset (lua_State *L, int index) {
  int64_t us = lua_isnoneornil(L, index) ? -1 : ub_checkus(L, index);
  luaL_argcheck(L, us >= -1 && us <= UB_RATE_LONGEST, index, "0 seconds to a day expected");
  return us;
}

static double optnumber (lua_State *L, int index, double otherwise) {
  double n = lua_isnoneornil(L, index) ? otherwise : checkamount(L, index);
  luaL_argcheck(L, n <= UB_RATE_MOST, index, "a smaller number expected");
  return n;
}

/*
** r:tell(kind, limit or nil, left or nil, reset or nil, window, mark or nil, now or nil):
** what a server said; the mark is that of the request for this kind (nil: of the last one).
*/
static int rate_tell (lua_State *L) {
  ub_self self = checkrate(L);
  ub_rate_kind kind = (ub_rate_kind)ub_checkword(L, 2, kinds);
  ub_rate_word word = {.limit = optnumber(L, 3, 0), .left = optnumber(L, 4, -1),
                       .reset_us = optreset(L, 5), .window = lua_toboolean(L, 6)};
  ub_rate_mark mark;
  int64_t now = ub_optnow(L, 8);
  ub_rate *r;
  mark.at[kind] = lua_isnoneornil(L, 7) ? INFINITY : checkamount(L, 7);
  r = ub_enter(&self);
  if (r == NULL)
    return pushlost(L);
  ub_rate_tell(r, kind, &word, &mark, now);
  ub_leave(&self);
  return 0;
}

/* r:left(kind, now or nil) -> left, most | nil where there is no limit */
static int rate_left (lua_State *L) {
  ub_self self = checkrate(L);
  ub_rate_kind kind = (ub_rate_kind)ub_checkword(L, 2, kinds);
  int64_t now = ub_optnow(L, 3);
  double left, most;
  ub_rate *r = ub_enter(&self);
  if (r == NULL)
    return pushlost(L);
  left = ub_rate_left(r, kind, &most, now);
  ub_leave(&self);
  if (most <= 0)
    return 0;
  lua_pushnumber(L, left);
  lua_pushnumber(L, most);
  return 2;
}

typedef struct stats {
  double left[UB_RATE_KINDS], most[UB_RATE_KINDS];
  int64_t refused;
} stats;

/* r:stats(now or nil) -> { refused =, requests =, tokens = }: what is left of each */
static int rate_stats (lua_State *L) {
  ub_self self = checkrate(L);
  int64_t now = ub_optnow(L, 2);
  ub_rate *r = ub_enter(&self);
  stats s;
  int k;
  if (r == NULL)
    return pushlost(L);
  for (k = 0; k < UB_RATE_KINDS; k++)
    s.left[k] = ub_rate_left(r, (ub_rate_kind)k, &s.most[k], now);
  s.refused = (int64_t)r->refused;
  ub_leave(&self);
  lua_newtable(L);
  ub_setwhole(L, "refused", s.refused);
  for (k = 0; k < UB_RATE_KINDS; k++) {
    if (s.most[k] > 0)
      ub_setnumber(L, kinds[k], s.left[k]);
  }
  return 1;
}

void ub_open_rate (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"take", rate_take}, {"retry_after", rate_retry_after}, {"correct", rate_correct},
    {"tell", rate_tell}, {"left", rate_left}, {"stats", rate_stats}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  ub_newshared(L, SHARED, &ub_rate_part, methods);
  lua_pushcfunction(L, rate_new);
  lua_setfield(L, -2, "rate");
}
