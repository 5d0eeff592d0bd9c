/*
** lua_balancer.c: the binding of balancer.h.
**
** The machine knows its targets by place; the userdata holds their names.
*/
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/slots.h"
#include "lua/lua_shared.h"
#include "parts/balancer.h"

#define TYPE    "unbusy.balancer"
#define SHARED  "unbusy.shared_balancer"

#define MASK_PLACES  52                    /* of a set given as a number */
#define MASK_MOST    4503599627370496.0    /* 2^52 */

static const char *const kinds[] = {  /* in the order of ub_balancer_kind */
  "weighted", "p2c", "priority", "order", NULL
};

static const char *const outcomes[] = {  /* in the order of ub_balancer_outcome */
  "ok", "fail", "neutral", NULL
};

static ub_self checkbalancer (lua_State *L) {
  return ub_checkeither(L, TYPE, SHARED);
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "balancer");
}

/* {== Making ================================================================= */

/* Reads the target on top of the stack; its name goes into 'names'. */
static void readspec (lua_State *L, ub_balancer_spec *spec, uint32_t place, int names) {
  double weight = ub_fieldnumber(L, -1, "weight");
  size_t length;
  const char *name;
  luaL_argcheck(L, weight >= 0 && weight <= UB_BALANCER_WEIGHT, 1, "weight out of range");
  spec->share = ub_balancer_share(weight);
  spec->priority = ub_fieldwhole(L, -1, "priority");
  spec->line_us = ub_optfieldus(L, -1, "line", 0);
  spec->hold_us = ub_fieldus(L, 1, "hold");
  lua_getfield(L, -1, "name");
  luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "names expected");
  name = lua_tolstring(L, -1, &length);
  spec->id = ub_hash(name, length, 0);  /* without a seed: the same in each process */
  lua_rawseti(L, names, (int)place + 1);
}

static void readspecs (lua_State *L, ub_balancer_config *config, int targets, int names) {
  uint32_t i;
  for (i = 0; i < config->targets; i++) {
    lua_rawgeti(L, targets, (int)i + 1);
    luaL_argcheck(L, lua_istable(L, -1), 1, "targets expected");
    readspec(L, &config->spec[i], i, names);
    lua_pop(L, 1);
  }
}

/* All of it but the seed, as userdata that is left on the stack. */
static ub_balancer_config *readconfig (lua_State *L, int targets, int names) {
  size_t count = lua_rawlen(L, targets);
  ub_balancer_config *config;
  luaL_argcheck(L, count >= 1 && count <= UB_BALANCER_TARGETS, 1, "1 … 1024 targets expected");
  config = ub_newuserdata(L, ub_balancer_config_size((uint32_t)count));
  memset(config, 0, ub_balancer_config_size((uint32_t)count));  /* its hash tells layouts apart */
  config->kind = (ub_balancer_kind)ub_fieldword(L, 1, "kind", kinds);
  config->targets = (uint32_t)count;
  config->slots = (uint32_t)ub_fieldwhole(L, 1, "slots");
  config->decay_us = ub_fieldus(L, 1, "decay");
  luaL_argcheck(L, config->slots >= 1 && config->slots <= UB_SLOTS_MOST, 1, "slots out of range");
  luaL_argcheck(L, config->decay_us >= 1, 1, "decay above 0 expected");
  readspecs(L, config, targets, names);
  return config;
}

/*
** core.balancer(options) -> balancer
** core.balancer(options, now or nil, region, name) -> balancer | nil, message, code
*/
static int balancer_new (lua_State *L) {
  ub_balancer_config *config;
  size_t bytes;
  uint64_t layout;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 4);
  lua_getfield(L, 1, "targets");
  luaL_argcheck(L, lua_istable(L, 5), 1, "targets expected");
  lua_newtable(L);
  config = readconfig(L, 5, 6);
  bytes = ub_balancer_config_size(config->targets);
  layout = ub_layout(config, bytes);
  config->seed = ub_fieldseed(L, 1);
  if (!lua_isnil(L, 3)) {
    int pushed = ub_pushshared(L, SHARED, &ub_balancer_part, layout, config, bytes,
                               ub_optnow(L, 2));
    if (pushed != 1)
      return pushed;
  } else {
    ub_balancer_init(ub_newholder(L, ub_balancer_size(config)), config);
    ub_settype(L, TYPE);
  }
  lua_pushvalue(L, 6);
  ub_sethold(L, -2);
  return 1;
}

/* }============================================================================ */

/* {== Choosing =============================================================== */

/* How many names it has; they are left on the stack. */
static uint32_t pushnames (lua_State *L) {
  ub_pushheld(L, 1);
  return (uint32_t)lua_rawlen(L, -1);
}

/* The places that the table at 'index' names; the list of names is on top. */
static void readset (lua_State *L, ub_balancer_set *set, int index, uint32_t count) {
  uint32_t i;
  for (i = 0; i < count; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    lua_rawget(L, index);
    if (lua_toboolean(L, -1))
      ub_balancer_rule_out(set, i);
    lua_pop(L, 1);
  }
}

/* nil: none; a number: place 1 is worth 1, place 2 two, the next one four; a table: names. */
static void checkset (lua_State *L, int index, ub_balancer_set *set) {
  if (lua_type(L, index) == LUA_TNUMBER) {
    double mask = lua_tonumber(L, index);
    luaL_argcheck(L, mask >= 0 && mask < MASK_MOST && mask == floor(mask), index,
                  "a set of the first 52 places expected");
    set->word[0] = (uint64_t)mask;
  } else if (!lua_isnoneornil(L, index)) {
    luaL_checktype(L, index, LUA_TTABLE);
    readset(L, set, index, pushnames(L));
    lua_pop(L, 1);
  }
}

static int pushnobody (lua_State *L, int err) {
  lua_pushnil(L);
  lua_pushliteral(L, "balancer: every target is ruled out");
  lua_pushstring(L, ub_err_word(err));
  return 3;
}

/* b:pick(except or nil, now or nil) -> name, ticket | nil, message, "open" */
static int balancer_pick (lua_State *L) {
  ub_self self = checkbalancer(L);
  int64_t now = ub_optnow(L, 3);
  ub_balancer_ask ask = {0};
  uint32_t place;
  uint64_t ticket = 0;
  ub_balancer *b;
  int err;
  checkset(L, 2, &ask.except);
  if ((b = ub_enter(&self)) == NULL)
    return pushlost(L);
  err = ub_balancer_choose(b, &ask, now, &place);
  if (err == UB_OK)
    ticket = ub_balancer_begin(b, place, now);
  ub_leave(&self);
  if (err != UB_OK)
    return pushnobody(L, err);
  pushnames(L);
  lua_rawgeti(L, -1, (int)place + 1);
  ub_pushwhole(L, (int64_t)ticket);
  return 2;
}

/* A key argument that may be left out: a whole number of 0 to 2^53. */
static void checkkey (lua_State *L, int index, ub_balancer_ask *ask) {
  double key;
  if (lua_isnoneornil(L, index))
    return;
  key = luaL_checknumber(L, index);
  luaL_argcheck(L, key >= 0 && key <= 0x1p53, index, "a key expected");
  ask->key = (uint64_t)key;
  ask->keyed = 1;
}

/* b:choose(except or nil, key or nil, late, now or nil) -> place | nil, message, "open" */
static int balancer_choose (lua_State *L) {
  ub_self self = checkbalancer(L);
  ub_balancer_ask ask = {.late = lua_toboolean(L, 4)};
  int64_t now = ub_optnow(L, 5);
  uint32_t place;
  ub_balancer *b;
  int err;
  checkset(L, 2, &ask.except);
  checkkey(L, 3, &ask);
  if ((b = ub_enter(&self)) == NULL)
    return pushlost(L);
  err = ub_balancer_choose(b, &ask, now, &place);
  ub_leave(&self);
  if (err != UB_OK)
    return pushnobody(L, err);
  ub_pushwhole(L, (int64_t)place + 1);
  return 1;
}

/* A place, counted from 1; the machine knows how many it has. */
static uint32_t checkplace (lua_State *L, int index) {
  double place = luaL_checknumber(L, index);
  luaL_argcheck(L, place >= 1 && place <= UB_BALANCER_TARGETS && place == floor(place), index,
                "the place of a target expected");
  return (uint32_t)place - 1;
}

/* b:begin(place, now or nil) -> ticket */
static int balancer_begin (lua_State *L) {
  ub_self self = checkbalancer(L);
  uint32_t place = checkplace(L, 2);
  int64_t now = ub_optnow(L, 3);
  ub_balancer *b = ub_enter(&self);
  uint64_t ticket;
  if (b == NULL)
    return pushlost(L);
  ticket = ub_balancer_begin(b, place, now);
  ub_leave(&self);
  luaL_argcheck(L, ticket != 0, 2, "the place of a target expected");
  ub_pushwhole(L, (int64_t)ticket);
  return 1;
}

/* b:back(place, now or nil) */
static int balancer_back (lua_State *L) {
  ub_self self = checkbalancer(L);
  uint32_t place = checkplace(L, 2);
  int64_t now = ub_optnow(L, 3);
  ub_balancer *b = ub_enter(&self);
  int done;
  if (b == NULL)
    return pushlost(L);
  done = ub_balancer_back(b, place, now);
  ub_leave(&self);
  luaL_argcheck(L, done, 2, "the place of a target expected");
  return 0;
}

/* }============================================================================ */

/* {== Calls ================================================================== */

typedef int note (ub_balancer *b, uint64_t ticket, int64_t took_us, int64_t now_us);

static int take_note (lua_State *L, note *f) {
  ub_self self = checkbalancer(L);
  uint64_t ticket = ub_checkticket(L, 2);
  int64_t took = ub_checkus(L, 3), now = ub_optnow(L, 4);
  ub_balancer *b = ub_enter(&self);
  int done;
  if (b == NULL)
    return pushlost(L);
  done = f(b, ticket, took > 0 ? took : 0, now);
  ub_leave(&self);
  lua_pushboolean(L, done);
  return 1;
}

/* b:started(ticket, seconds, now or nil) -> is it out? */
static int balancer_started (lua_State *L) {
  return take_note(L, ub_balancer_started);
}

/* b:waits(ticket, seconds, now or nil) -> is it out? */
static int balancer_waits (lua_State *L) {
  return take_note(L, ub_balancer_waits);
}

/* b:report(ticket, outcome, seconds or nil, now or nil) -> was it out? */
static int balancer_report (lua_State *L) {
  ub_self self = checkbalancer(L);
  uint64_t ticket = ub_checkticket(L, 2);
  ub_balancer_outcome outcome = (ub_balancer_outcome)ub_checkword(L, 3, outcomes);
  int64_t took = lua_isnoneornil(L, 4) ? -1 : ub_checkus(L, 4), now = ub_optnow(L, 5);
  ub_balancer *b = ub_enter(&self);
  int done;
  if (b == NULL)
    return pushlost(L);
  done = ub_balancer_report(b, ticket, outcome, took, now);
  ub_leave(&self);
  lua_pushboolean(L, done);
  return 1;
}

static void pushtarget (lua_State *L, const ub_balancer_stats *s) {
  lua_createtable(L, 0, 6);
  ub_setwhole(L, "picks", (int64_t)s->picks);
  ub_setwhole(L, "pending", (int64_t)s->pending);
  if (s->cost_us != UB_PEAK_NONE)
    ub_setnumber(L, "cost", s->cost_us / UB_SECOND_US);
  ub_setnumber(L, "load", s->load_us / UB_SECOND_US);
  if (!isinf(s->room))
    ub_setnumber(L, "room", s->room);
  if (s->share < 1)
    ub_setnumber(L, "share", s->share);
}

/* b:stats(now or nil) -> { name = { picks =, pending =, cost =, load =, … }, … } */
static int balancer_stats (lua_State *L) {
  ub_self self = checkbalancer(L);
  int64_t now = ub_optnow(L, 2);
  uint32_t i, count;
  lua_settop(L, 2);
  count = pushnames(L);
  lua_createtable(L, 0, (int)count);
  for (i = 0; i < count; i++) {
    ub_balancer_stats stats;
    ub_balancer *b = ub_enter(&self);
    if (b == NULL)
      return pushlost(L);
    stats = ub_balancer_read(b, i, now);
    ub_leave(&self);
    lua_rawgeti(L, 3, (int)i + 1);
    pushtarget(L, &stats);
    lua_rawset(L, 4);
  }
  return 1;
}

/* }============================================================================ */

#if UB_FFI

/* A place, counted from 1; 0: nobody is asked. A key below 0 is none. */
static double call_choose (ub_balancer *b, double mask, double key, int late, double now) {
  ub_balancer_ask ask = {.late = late, .keyed = key >= 0};
  uint32_t place;
  ask.except.word[0] = (uint64_t)mask;
  ask.key = ask.keyed ? (uint64_t)key : 0;
  if (ub_balancer_choose(b, &ask, ub_callnow(now), &place) != UB_OK)
    return 0;
  return place + 1.0;
}

static double call_begin (ub_balancer *b, double place, double now) {
  if (place > UB_BALANCER_TARGETS)
    return 0;
  return (double)ub_balancer_begin(b, (uint32_t)place - 1, ub_callnow(now));
}

static int call_report (ub_balancer *b, double ticket, int outcome, double took, double now) {
  return ub_balancer_report(b, ub_toticket(ticket), (ub_balancer_outcome)outcome,
                            took < 0 ? -1 : ub_tous(took), ub_callnow(now));
}

static void setcalls (lua_State *L) {
  ub_setcall(L, "balancer", "choose", (ub_call *)call_choose);
  ub_setcall(L, "balancer", "begin", (ub_call *)call_begin);
  ub_setcall(L, "balancer", "report", (ub_call *)call_report);
}

#else
#define setcalls(L) ((void)0)
#endif

void ub_open_balancer (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"pick", balancer_pick}, {"choose", balancer_choose}, {"begin", balancer_begin},
    {"back", balancer_back}, {"started", balancer_started}, {"waits", balancer_waits},
    {"report", balancer_report}, {"stats", balancer_stats}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  ub_newshared(L, SHARED, &ub_balancer_part, methods);
  lua_pushcfunction(L, balancer_new);
  lua_setfield(L, -2, "balancer");
  setcalls(L);
}
