/*
** lua_breaker.c: the binding of breaker.h.
*/
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_shared.h"
#include "parts/breaker.h"

#define TYPE    "unbusy.breaker"
#define SHARED  "unbusy.shared_breaker"

static const char *const states[] = {  /* in the order of ub_breaker_state */
  "closed", "open", "half_open", "forced_open", "disabled", "metrics_only", NULL
};

static ub_self checkbreaker (lua_State *L) {
  return ub_checkeither(L, TYPE, SHARED);
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "breaker");
}

static void readwindow (lua_State *L, ub_window_config *w) {
  w->length_us = ub_fieldus(L, 1, "window");
  w->buckets = (uint32_t)ub_fieldwhole(L, 1, "buckets");
  w->count = (uint32_t)ub_optfieldnumber(L, 1, "count", 0);
}

/* All of it but the seed. */
static void readconfig (lua_State *L, ub_breaker_config *c) {
  memset(c, 0, sizeof *c);
  readwindow(L, &c->window);
  c->min_calls = (uint64_t)ub_fieldwhole(L, 1, "min_calls");
  c->failure_rate = ub_fieldnumber(L, 1, "failure_rate");
  c->slow_us = ub_optfieldus(L, 1, "slow_after", UB_BREAKER_FOREVER);
  c->slow_rate = ub_optfieldnumber(L, 1, "slow_rate", HUGE_VAL);
  c->consecutive = (uint64_t)ub_optfieldnumber(L, 1, "consecutive", 0);
  c->open_us = ub_fieldus(L, 1, "open_for");
  c->open_growth = ub_fieldnumber(L, 1, "open_growth");
  c->open_cap_us = ub_fieldus(L, 1, "open_cap");
  c->open_jitter = ub_fieldnumber(L, 1, "open_jitter");
  c->permits = (uint32_t)ub_fieldwhole(L, 1, "permits");
  c->slots = (uint32_t)ub_fieldwhole(L, 1, "slots");
}

/*
** core.breaker(options, now or nil) -> breaker
** core.breaker(options, now or nil, region, name) -> breaker | nil, message, code
*/
static int breaker_new (lua_State *L) {
  ub_breaker_config config;
  int64_t now = ub_optnow(L, 2);
  uint64_t layout;
  luaL_checktype(L, 1, LUA_TTABLE);
  readconfig(L, &config);
  layout = ub_layout(&config, sizeof config);
  config.seed = ub_fieldseed(L, 1);
  if (!lua_isnoneornil(L, 3))
    return ub_pushshared(L, SHARED, &ub_breaker_part, layout, &config, sizeof config, now);
  ub_breaker_init(ub_newuserdata(L, ub_breaker_size(&config)), &config, now);
  ub_settype(L, TYPE);
  return 1;
}

static double seconds_of (int64_t us) {
  return us == UB_BREAKER_FOREVER ? HUGE_VAL : (double)us / UB_SECOND_US;
}

static void pushseconds (lua_State *L, int64_t us) {
  lua_pushnumber(L, seconds_of(us));
}

/* b:allow(now or nil) -> ticket | nil, message, "open", { retry_after = seconds } */
static int breaker_allow (lua_State *L) {
  ub_self self = checkbreaker(L);
  int64_t wait = 0, now = ub_optnow(L, 2);
  uint64_t ticket;
  ub_breaker *b = ub_enter(&self);
  int err;
  if (b == NULL)
    return pushlost(L);
  err = ub_breaker_allow(b, now, &ticket);
  if (err != UB_OK)
    wait = ub_breaker_retry_after(b, now);
  ub_leave(&self);
  if (err == UB_OK) {
    ub_pushwhole(L, (int64_t)ticket);
    return 1;
  }
  ub_pushfail(L, err, "breaker");
  lua_createtable(L, 0, 1);
  pushseconds(L, wait);
  lua_setfield(L, -2, "retry_after");
  return 4;
}

static const char *const outcomes[] = {  /* in the order of ub_breaker_outcome */
  "ok", "fail", "neutral", "busy", NULL
};

/* b:report(ticket, outcome, seconds or nil, now or nil) -> boolean */
static int breaker_report (lua_State *L) {
  ub_self self = checkbreaker(L);
  uint64_t ticket = ub_checkticket(L, 2);
  ub_breaker_outcome outcome = (ub_breaker_outcome)ub_checkword(L, 3, outcomes);
  int64_t took = lua_isnoneornil(L, 4) ? -1 : ub_checkus(L, 4), now = ub_optnow(L, 5);
  ub_breaker *b = ub_enter(&self);
  int counted;
  if (b == NULL)
    return pushlost(L);
  counted = ub_breaker_report(b, ticket, outcome, took, now);
  ub_leave(&self);
  lua_pushboolean(L, counted);
  return 1;
}

/* b:record(ticket, "fail", now or nil) -> boolean */
static int breaker_record (lua_State *L) {
  static const char *const words[] = {"fail", NULL};
  ub_self self = checkbreaker(L);
  uint64_t ticket = ub_checkticket(L, 2);
  int64_t now = ub_optnow(L, 4);
  ub_breaker *b;
  int counted;
  ub_checkword(L, 3, words);
  if ((b = ub_enter(&self)) == NULL)
    return pushlost(L);
  counted = ub_breaker_record(b, ticket, now);
  ub_leave(&self);
  lua_pushboolean(L, counted);
  return 1;
}

/* b:state(now or nil) -> word */
static int breaker_state (lua_State *L) {
  ub_self self = checkbreaker(L);
  int64_t now = ub_optnow(L, 2);
  ub_breaker head;
  const ub_breaker *b = ub_look(&self, &head, sizeof head);
  if (b == NULL)
    return pushlost(L);
  lua_pushstring(L, states[ub_breaker_state_now(b, now)]);
  return 1;
}

/* The time to wait, from a look at the head where that tells it; 0: it is lost. */
static int read_wait (const ub_self *self, int64_t now, int64_t *wait) {
  ub_breaker head;
  const ub_breaker *b = ub_look(self, &head, sizeof head);
  int whole = b != NULL && self->shared != NULL && b->state == UB_HALF_OPEN;
  if (whole)
    b = ub_enter(self);
  if (b != NULL)
    *wait = ub_breaker_retry_after(b, now);
  if (whole && b != NULL)
    ub_leave(self);
  return b != NULL;
}

/* b:retry_after(now or nil) -> seconds */
static int breaker_retry_after (lua_State *L) {
  ub_self self = checkbreaker(L);
  int64_t wait;
  if (!read_wait(&self, ub_optnow(L, 2), &wait))
    return pushlost(L);
  pushseconds(L, wait);
  return 1;
}

/* b:force(state, seconds or nil, now or nil) */
static int breaker_force (lua_State *L) {
  ub_self self = checkbreaker(L);
  ub_breaker_state state = (ub_breaker_state)ub_checkword(L, 2, states);
  int64_t length = lua_isnoneornil(L, 3) ? -1 : ub_checkus(L, 3), now = ub_optnow(L, 4);
  ub_breaker *b;
  luaL_argcheck(L, state != UB_HALF_OPEN, 2, "'half_open' cannot be forced");
  if (!lua_isnoneornil(L, 3)) {
    luaL_argcheck(L, state != UB_CLOSED, 3, "'closed' takes no seconds");
    length = length < 0 ? 0 : length;  /* a wait that is over already */
  }
  if ((b = ub_enter(&self)) == NULL)
    return pushlost(L);
  ub_breaker_force(b, state, length, now);
  ub_leave(&self);
  return 0;
}

/* b:stats(now or nil) -> table */
static int breaker_stats (lua_State *L) {
  ub_self self = checkbreaker(L);
  int64_t now = ub_optnow(L, 2);
  ub_breaker *b = ub_enter(&self);
  ub_breaker_stats stats;
  if (b == NULL)
    return pushlost(L);
  stats = ub_breaker_read(b, now);
  ub_leave(&self);
  lua_createtable(L, 0, 9);
  ub_setwhole(L, "calls", (int64_t)stats.tally.calls);
  ub_setwhole(L, "successes", (int64_t)stats.tally.ok);
  ub_setwhole(L, "failures", (int64_t)stats.tally.failures);
  ub_setwhole(L, "slow", (int64_t)stats.tally.slow);
  ub_setnumber(L, "failure_rate", stats.failure_rate);
  ub_setwhole(L, "refused", (int64_t)stats.refused);
  ub_setwhole(L, "opened", (int64_t)stats.opened);
  ub_setwhole(L, "outstanding", (int64_t)stats.outstanding);
  lua_pushstring(L, states[stats.state]);
  lua_setfield(L, -2, "state");
  return 1;
}

#if UB_FFI

/* A ticket, or minus the seconds to wait (which are above 0 after a refusal). */
static double call_allow (ub_breaker *b, double seconds) {
  int64_t now = ub_callnow(seconds);
  uint64_t ticket;
  if (ub_breaker_allow(b, now, &ticket) == UB_OK)
    return (double)ticket;
  return -seconds_of(ub_breaker_retry_after(b, now));
}

static int call_report (ub_breaker *b, double ticket, int outcome,
                        double took, double now) {
  return ub_breaker_report(b, ub_toticket(ticket), (ub_breaker_outcome)outcome,
                           ub_tous(took), ub_callnow(now));
}

static void setcalls (lua_State *L) {
  ub_setcall(L, "breaker", "allow", (ub_call *)call_allow);
  ub_setcall(L, "breaker", "report", (ub_call *)call_report);
}

#else
#define setcalls(L) ((void)0)
#endif

void ub_open_breaker (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"allow", breaker_allow}, {"report", breaker_report}, {"record", breaker_record},
    {"state", breaker_state}, {"retry_after", breaker_retry_after},
    {"force", breaker_force}, {"stats", breaker_stats}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  ub_newshared(L, SHARED, &ub_breaker_part, methods);
  lua_pushcfunction(L, breaker_new);
  lua_setfield(L, -2, "breaker");
  setcalls(L);
}
