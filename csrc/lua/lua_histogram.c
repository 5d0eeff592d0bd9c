/*
** lua_histogram.c: the binding of histogram.h.
*/
#include "base/err.h"
#include "lua/lua_util.h"
#include "parts/histogram.h"

#define TYPE "unbusy.histogram"

static ub_histogram *check (lua_State *L, int index) {
  return luaL_checkudata(L, index, TYPE);
}

/* core.histogram() -> histogram */
static int histogram_new (lua_State *L) {
  ub_histogram_init(ub_newuserdata(L, sizeof(ub_histogram)));
  ub_settype(L, TYPE);
  return 1;
}

/* true, or nil, message, code */
static int pushresult (lua_State *L, int err) {
  if (err != UB_OK)
    return ub_pushfail(L, err, "histogram");
  lua_pushboolean(L, 1);
  return 1;
}

/* h:record(seconds) -> true | nil, message, "full" */
static int histogram_record (lua_State *L) {
  ub_histogram *h = check(L, 1);
  double seconds = luaL_checknumber(L, 2);
  luaL_argcheck(L, seconds - seconds == 0, 2, "finite number of seconds expected");
  return pushresult(L, ub_histogram_record(h, seconds));
}

/* h:quantile(q) -> seconds | nil */
static int histogram_quantile (lua_State *L) {
  ub_histogram *h = check(L, 1);
  double q = luaL_checknumber(L, 2);
  luaL_argcheck(L, q >= 0 && q <= 1, 2, "number from 0 to 1 expected");
  if (h->count == 0)
    lua_pushnil(L);
  else
    lua_pushnumber(L, ub_histogram_quantile(h, q));
  return 1;
}

/* h:merge(other) -> true | nil, message, "full" */
static int histogram_merge (lua_State *L) {
  ub_histogram *h = check(L, 1);
  return pushresult(L, ub_histogram_merge(h, check(L, 2)));
}

/* h:stats() -> { count =, sum =, min =, max =, mean = } */
static int histogram_stats (lua_State *L) {
  ub_histogram *h = check(L, 1);
  lua_newtable(L);
  ub_setwhole(L, "count", (int64_t)h->count);
  ub_setnumber(L, "sum", h->sum);
  if (h->count > 0) {
    ub_setnumber(L, "min", h->min);
    ub_setnumber(L, "max", h->max);
    ub_setnumber(L, "mean", h->sum / (double)h->count);
  }
  return 1;
}

/* h:clear() */
static int histogram_clear (lua_State *L) {
  ub_histogram_init(check(L, 1));
  return 0;
}

void ub_open_histogram (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"record", histogram_record}, {"quantile", histogram_quantile},
    {"merge", histogram_merge}, {"stats", histogram_stats}, {"clear", histogram_clear},
    {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, NULL);
  lua_pushcfunction(L, histogram_new);
  lua_setfield(L, -2, "histogram");
}
