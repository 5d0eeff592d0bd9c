/*
** lua_balancer.c: the binding of balancer.h.
**
** The machine knows its targets by place; the userdata holds their names.
*/
#include "base/clock.h"
#include "base/err.h"
#include "base/slots.h"
#include "lua/lua_util.h"
#include "parts/balancer.h"

#define TYPE "unbusy.balancer"

static const char *const kinds[] = {  /* in the order of ub_balancer_kind */
  "weighted", "p2c", "priority", NULL
};

static const char *const outcomes[] = {  /* in the order of ub_balancer_outcome */
  "ok", "fail", "neutral", NULL
};

static ub_balancer *checkbalancer (lua_State *L) {
  return luaL_checkudata(L, 1, TYPE);
}

static ub_balancer_config checkconfig (lua_State *L, uint32_t targets) {
  ub_balancer_config config;
  config.kind = (ub_balancer_kind)ub_fieldword(L, 1, "kind", kinds);
  config.targets = targets;
  config.slots = (uint32_t)ub_fieldwhole(L, 1, "slots");
  config.decay_us = ub_fieldus(L, 1, "decay");
  config.seed = ub_fieldseed(L, 1);
  luaL_argcheck(L, targets >= 1 && targets <= UB_BALANCER_TARGETS, 1,
                "1 … 1024 targets expected");
  luaL_argcheck(L, config.slots >= 1 && config.slots <= UB_SLOTS_MOST, 1, "slots out of range");
  luaL_argcheck(L, config.decay_us >= 1, 1, "decay above 0 expected");
  return config;
}

/* Takes over the target on top of the stack; its name goes into 'names'. */
static void settarget (lua_State *L, ub_balancer *b, uint32_t place, int names) {
  double weight = ub_fieldnumber(L, -1, "weight");
  int64_t priority = ub_fieldwhole(L, -1, "priority");
  luaL_argcheck(L, weight >= 0 && weight <= UB_BALANCER_WEIGHT, 1, "weight out of range");
  ub_balancer_set_target(b, place, weight, priority);
  lua_getfield(L, -1, "name");
  luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "names expected");
  lua_rawseti(L, names, (int)place + 1);
}

/* core.balancer(options) -> balancer */
static int balancer_new (lua_State *L) {
  ub_balancer_config config;
  ub_balancer *b;
  uint32_t i;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "targets");
  luaL_argcheck(L, lua_istable(L, 2), 1, "targets expected");
  config = checkconfig(L, (uint32_t)lua_rawlen(L, 2));
  b = ub_newholder(L, ub_balancer_size(&config));
  ub_balancer_init(b, &config);
  lua_newtable(L);
  for (i = 0; i < config.targets; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    luaL_argcheck(L, lua_istable(L, -1), 1, "targets expected");
    settarget(L, b, i, 4);
    lua_pop(L, 1);
  }
  ub_sethold(L, 3);
  ub_settype(L, TYPE);
  return 1;
}

/* The targets of the table at 'index' (nil: none); 'names' is their list. */
static ub_balancer_set checkset (lua_State *L, const ub_balancer *b, int index, int names) {
  ub_balancer_set set = {{0}};
  uint32_t i;
  if (lua_isnoneornil(L, index))
    return set;
  luaL_checktype(L, index, LUA_TTABLE);
  for (i = 0; i < b->config.targets; i++) {
    lua_rawgeti(L, names, (int)i + 1);
    lua_rawget(L, index);
    if (lua_toboolean(L, -1))
      ub_balancer_rule_out(&set, i);
    lua_pop(L, 1);
  }
  return set;
}

static int pushnobody (lua_State *L, int err) {
  lua_pushnil(L);
  lua_pushliteral(L, "balancer: every target is ruled out");
  lua_pushstring(L, ub_err_word(err));
  return 3;
}

/* b:pick(except or nil, now or nil) -> name, ticket | nil, message, "open" */
static int balancer_pick (lua_State *L) {
  ub_balancer *b = checkbalancer(L);
  int64_t now = ub_optnow(L, 3);
  ub_balancer_set except;
  uint32_t place;
  uint64_t ticket;
  int err;
  lua_settop(L, 3);
  ub_pushheld(L, 1);
  except = checkset(L, b, 2, 4);
  err = ub_balancer_pick(b, &except, now, &place, &ticket);
  if (err != UB_OK)
    return pushnobody(L, err);
  lua_rawgeti(L, 4, (int)place + 1);
  ub_pushwhole(L, (int64_t)ticket);
  return 2;
}

/* b:report(ticket, outcome, seconds or nil, now or nil) -> was it out? */
static int balancer_report (lua_State *L) {
  ub_balancer *b = checkbalancer(L);
  uint64_t ticket = ub_checkticket(L, 2);
  ub_balancer_outcome outcome = (ub_balancer_outcome)ub_checkword(L, 3, outcomes);
  int64_t took = lua_isnoneornil(L, 4) ? -1 : ub_checkus(L, 4);
  lua_pushboolean(L, ub_balancer_report(b, ticket, outcome, took, ub_optnow(L, 5)));
  return 1;
}

static void pushtarget (lua_State *L, const ub_balancer *b, uint32_t place, int64_t now) {
  const ub_balancer_target *t = &b->target[place];
  lua_createtable(L, 0, 4);
  ub_setwhole(L, "picks", (int64_t)t->picks);
  ub_setwhole(L, "pending", t->pending);
  if (t->cost_us != UB_BALANCER_NO_COST)
    ub_setnumber(L, "cost", t->cost_us / UB_SECOND_US);
  ub_setnumber(L, "load", ub_balancer_load(b, place, now) / UB_SECOND_US);
}

/* b:stats(now or nil) -> { name = { picks =, pending =, cost =, load = }, … } */
static int balancer_stats (lua_State *L) {
  ub_balancer *b = checkbalancer(L);
  int64_t now = ub_optnow(L, 2);
  uint32_t i;
  lua_settop(L, 2);
  ub_pushheld(L, 1);
  lua_createtable(L, 0, (int)b->config.targets);
  for (i = 0; i < b->config.targets; i++) {
    lua_rawgeti(L, 3, (int)i + 1);
    pushtarget(L, b, i, now);
    lua_rawset(L, 4);
  }
  return 1;
}

void ub_open_balancer (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"pick", balancer_pick}, {"report", balancer_report}, {"stats", balancer_stats}, {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  lua_pushcfunction(L, balancer_new);
  lua_setfield(L, -2, "balancer");
}
