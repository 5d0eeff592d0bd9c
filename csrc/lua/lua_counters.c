/*
** lua_counters.c: the binding of counters.h.
*/
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_shared.h"
#include "parts/counters.h"

#define TYPE    "unbusy.counters"
#define SHARED  "unbusy.shared_counters"

static ub_self checkcounters (lua_State *L) {
  return ub_checkeither(L, TYPE, SHARED);
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "counters");
}

/*
** core.counters(options) -> counters
** core.counters(options, nil, region, name) -> counters | nil, message, code
*/
static int counters_new (lua_State *L) {
  ub_counters_config config;
  uint64_t layout;
  luaL_checktype(L, 1, LUA_TTABLE);
  memset(&config, 0, sizeof config);  /* its hash tells one layout from another */
  config.counters = (uint32_t)ub_fieldwhole(L, 1, "counters");
  luaL_argcheck(L, config.counters >= 1 && config.counters <= UB_COUNTERS_MOST, 1,
                "counters out of range");
  layout = ub_layout(&config, sizeof config);
  config.seed = ub_fieldseed(L, 1);
  if (!lua_isnoneornil(L, 3))
    return ub_pushshared(L, SHARED, &ub_counters_part, layout, &config, sizeof config,
                         ub_clock_us());
  ub_counters_init(ub_newuserdata(L, ub_counters_size(&config)), &config);
  ub_settype(L, TYPE);
  return 1;
}

/* Before the counters themselves are looked up: a number becomes a string here, so that a
   finalizer may run, which may close them. */
static ub_counter_name checkname (lua_State *L) {
  ub_counter_name name;
  name.bytes = luaL_checklstring(L, 2, &name.length);
  luaL_argcheck(L, name.length >= 1 && name.length <= UB_COUNTERS_NAME, 2,
                "1 to 128 bytes expected");
  return name;
}

static double checkfinite (lua_State *L, int index) {
  double n = luaL_checknumber(L, index);
  luaL_argcheck(L, n - n == 0, index, "a finite number expected");
  return n;
}

/* Seconds above 0: a microsecond at least. */
static int64_t checkspan (lua_State *L, int index) {
  int64_t us = ub_checkus(L, index);
  luaL_argcheck(L, lua_tonumber(L, index) > 0, index, "seconds above 0 expected");
  return us > 0 ? us : 1;
}

static int pushresult (lua_State *L, const ub_self *self, double value) {
  ub_leave(self);
  lua_pushnumber(L, value);
  return 1;
}

/* c:add(name, n or nil, window or nil, now or nil) -> sum */
static int counters_add (lua_State *L) {
  ub_counter_name name = checkname(L);
  ub_self self = checkcounters(L);
  double n = lua_isnoneornil(L, 3) ? 1 : checkfinite(L, 3);
  int64_t window = lua_isnoneornil(L, 4) ? 0 : checkspan(L, 4), now = ub_optnow(L, 5);
  ub_counters *c = ub_enter(&self);
  return c == NULL ? pushlost(L)
                   : pushresult(L, &self, ub_counters_add(c, name, n, window, now));
}

/* c:take(name, n, most, window, now or nil) -> true | false, seconds */
static int counters_take (lua_State *L) {
  ub_counter_name name = checkname(L);
  ub_self self = checkcounters(L);
  double n = checkfinite(L, 3), most = checkfinite(L, 4);
  int64_t wait, window = checkspan(L, 5), now = ub_optnow(L, 6);
  ub_counters *c = ub_enter(&self);
  if (c == NULL)
    return pushlost(L);
  wait = ub_counters_take(c, name, n, most, window, now);
  ub_leave(&self);
  lua_pushboolean(L, wait == 0);
  if (wait == 0)
    return 1;
  lua_pushnumber(L, (double)wait / UB_SECOND_US);
  return 2;
}

/* c:peak(name, value, seconds, now or nil) -> value */
static int counters_peak (lua_State *L) {
  ub_counter_name name = checkname(L);
  ub_self self = checkcounters(L);
  double value = checkfinite(L, 3);
  int64_t ttl = checkspan(L, 4), now = ub_optnow(L, 5);
  ub_counters *c = ub_enter(&self);
  return c == NULL ? pushlost(L)
                   : pushresult(L, &self, ub_counters_peak(c, name, value, ttl, now));
}

/* c:get(name, now or nil) -> value */
static int counters_get (lua_State *L) {
  ub_counter_name name = checkname(L);
  ub_self self = checkcounters(L);
  int64_t now = ub_optnow(L, 3);
  ub_counters *c = ub_enter(&self);
  return c == NULL ? pushlost(L) : pushresult(L, &self, ub_counters_get(c, name, now));
}

/* c:delete(name) -> was it there? */
static int counters_delete (lua_State *L) {
  ub_counter_name name = checkname(L);
  ub_self self = checkcounters(L);
  ub_counters *c = ub_enter(&self);
  int there;
  if (c == NULL)
    return pushlost(L);
  there = ub_counters_delete(c, name);
  ub_leave(&self);
  lua_pushboolean(L, there);
  return 1;
}

typedef struct line {
  size_t length;  /* 0: nothing there */
  double value;
  char name[UB_COUNTERS_NAME];
} line;

static line read_line (const ub_counters *c, uint32_t i, int64_t now) {
  line l;
  ub_counter_name name = ub_counters_at(c, i, now, &l.value);
  l.length = name.length <= sizeof l.name ? name.length : 0;
  memcpy(l.name, name.bytes, l.length);
  return l;
}

/* c:list(now or nil) -> { name = value, … }; locked for one counter at a time */
static int counters_list (lua_State *L) {
  int64_t now = ub_optnow(L, 2);
  uint32_t i, count = 1;
  checkcounters(L);
  lua_newtable(L);
  for (i = 0; i < count; i++) {
    ub_self self = checkcounters(L);  /* a finalizer may have closed them */
    ub_counters *c = ub_enter(&self);
    line l;
    if (c == NULL)
      return pushlost(L);
    count = c->config.counters;
    l = read_line(c, i, now);
    ub_leave(&self);
    if (l.length == 0)
      continue;
    lua_pushlstring(L, l.name, l.length);
    lua_pushnumber(L, l.value);
    lua_rawset(L, -3);
  }
  return 1;
}

/* c:stats() -> { counters =, used =, evicted = } */
static int counters_stats (lua_State *L) {
  ub_self self = checkcounters(L);
  ub_counters room;
  const ub_counters *c = ub_look(&self, &room, sizeof room);
  if (c == NULL)
    return pushlost(L);
  room = *c;
  lua_newtable(L);
  ub_setwhole(L, "counters", room.config.counters);
  ub_setwhole(L, "used", room.used);
  ub_setwhole(L, "evicted", (int64_t)room.evicted);
  return 1;
}

void ub_open_counters (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"add", counters_add}, {"take", counters_take}, {"peak", counters_peak}, {"get", counters_get},
    {"delete", counters_delete}, {"list", counters_list}, {"stats", counters_stats},
    {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  ub_newshared(L, SHARED, &ub_counters_part, methods);
  lua_pushcfunction(L, counters_new);
  lua_setfield(L, -2, "counters");
}
