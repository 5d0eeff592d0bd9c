/*
** lua_flights.c: the binding of flights.h.
*/
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/processes.h"
#include "lua/lua_key.h"
#include "lua/lua_shared.h"
#include "lua/lua_turns.h"
#include "parts/flights.h"

#define TYPE    "unbusy.flights"
#define SHARED  "unbusy.shared_flights"

static const char *const states[] = {  /* in the order of ub_flight_state */
  "gone", "led", "kept", "failed", "apart"
};

static const char *const outcomes[] = {"kept", "failed", "apart", NULL};

static const char *const parts[] = {"alone", "lead", "follow"};

static ub_self checkflights (lua_State *L) {
  return ub_checkeither(L, TYPE, SHARED);
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "flights");
}

/*
** core.flights(options) -> flights
** core.flights(options, nil, region, name) -> flights | nil, message, code
*/
static int flights_new (lua_State *L) {
  ub_flights_config config;
  luaL_checktype(L, 1, LUA_TTABLE);
  memset(&config, 0, sizeof config);  /* its hash tells one layout from another */
  config.flights = (uint32_t)ub_fieldwhole(L, 1, "flights");
  luaL_argcheck(L, config.flights >= UB_FLIGHTS_WAYS && config.flights <= UB_FLIGHTS_MOST
                   && config.flights % UB_FLIGHTS_WAYS == 0, 1, "flights out of range");
  if (!lua_isnoneornil(L, 3))
    return ub_pushshared(L, SHARED, &ub_flights_part, ub_layout(&config, sizeof config),
                         &config, sizeof config, ub_clock_us());
  ub_flights_init(ub_newuserdata(L, ub_flights_size(&config)), &config);
  ub_settype(L, TYPE);
  return 1;
}

/* The question's hash, the same in all processes. */
static uint64_t checkhash (lua_State *L, int index) {
  ub_cache_key key;
  luaL_getmetatable(L, UB_KEY_TYPE);
  key = ub_checkkey(L, index, lua_gettop(L));
  return ub_hash(key.bytes, key.length, key.space);
}

/* f:claim(key, priority, seconds, now or nil) -> "lead", ticket, kept | "follow", ticket |
   "alone" */
static int flights_claim (lua_State *L) {
  ub_self self = checkflights(L);
  uint32_t priority = ub_checkpriority(L, 3);
  int64_t most = ub_checkus(L, 4), now = ub_optnow(L, 5);
  uint64_t hash = checkhash(L, 2);
  ub_flight_claim claim;
  ub_flights *f = ub_enter(&self);
  if (f == NULL)
    return pushlost(L);
  claim = ub_flights_claim(f, hash, priority, now + most, now);
  ub_leave(&self);
  lua_pushstring(L, parts[claim.part]);
  if (claim.part == UB_FLIGHT_ALONE)
    return 1;
  ub_pushwhole(L, (int64_t)claim.ticket);
  lua_pushboolean(L, claim.kept);
  return 3;
}

/* Has the leader's process died? Then the claim has failed. */
static int is_orphan (const ub_self *self, uint64_t ticket, uint32_t process) {
  ub_flights *f;
  if (self->shared == NULL || ub_region_lives(ub_shared_region(self->shared), process))
    return 0;
  f = ub_enter(self);
  if (f == NULL)
    return 1;
  ub_flights_orphan(f, ticket);
  ub_leave(self);
  return 1;
}

/* f:look(ticket, now or nil) -> "led" | "kept" | "failed" | "apart" | "gone" */
static int flights_look (lua_State *L) {
  ub_self self = checkflights(L);
  uint64_t ticket = ub_checkticket(L, 2);
  int64_t now = ub_optnow(L, 3);
  ub_flight_state state;
  uint32_t process = 0;
  ub_flights *f = ub_enter(&self);
  if (f == NULL)
    return pushlost(L);
  state = ub_flights_look(f, ticket, now, &process);
  ub_leave(&self);
  if (state == UB_FLIGHT_LED && is_orphan(&self, ticket, process))
    state = UB_FLIGHT_FAILED;
  lua_pushstring(L, states[state]);
  return 1;
}

/* f:finish(ticket, outcome, now or nil) -> was it under way? Followers are woken. */
static int flights_finish (lua_State *L) {
  ub_self self = checkflights(L);
  uint64_t ticket = ub_checkticket(L, 2);
  int how = ub_checkword(L, 3, outcomes), done;
  int64_t now = ub_optnow(L, 4);
  ub_process_set followers;
  uint32_t i;
  ub_flights *f = ub_enter(&self);
  if (f == NULL)
    return pushlost(L);
  done = ub_flights_finish(f, ticket, (ub_flight_state)(UB_FLIGHT_KEPT + how), now, &followers);
  ub_leave(&self);
  for (i = done && self.shared != NULL ? ub_set_next(&followers, 0) : 0; i != 0;
       i = ub_set_next(&followers, i))
    ub_region_tell(ub_shared_region(self.shared), i);
  lua_pushboolean(L, done);
  return 1;
}

/* f:stats() -> { open =, led =, followed =, refused =, orphaned = } */
static int flights_stats (lua_State *L) {
  ub_self self = checkflights(L);
  ub_flights copy;
  uint32_t open;
  ub_flights *f = ub_enter(&self);
  if (f == NULL)
    return pushlost(L);
  copy = *f;
  open = ub_flights_open(f);
  ub_leave(&self);
  lua_newtable(L);
  ub_setwhole(L, "open", open);
  ub_setwhole(L, "led", (int64_t)copy.led);
  ub_setwhole(L, "followed", (int64_t)copy.followed);
  ub_setwhole(L, "refused", (int64_t)copy.refused);
  ub_setwhole(L, "orphaned", (int64_t)copy.orphaned);
  return 1;
}

void ub_open_flights (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"claim", flights_claim}, {"look", flights_look}, {"finish", flights_finish},
    {"stats", flights_stats}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  ub_newshared(L, SHARED, &ub_flights_part, methods);
  lua_pushcfunction(L, flights_new);
  lua_setfield(L, -2, "flights");
}
