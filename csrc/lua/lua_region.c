/*
** lua_region.c: the binding of region.h and processes.h.
*/
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/processes.h"
#include "lua/lua_region.h"
#include "lua/lua_turns.h"
#include "lua/lua_util.h"

#define TYPE "unbusy.region"
#define SWEEPER "unbusy.sweeper"
#define NORMAL  1  /* the priority of who says nothing of it */

typedef struct box {
  ub_region *region;  /* NULL: closed */
} box;

ub_region *ub_checkregion (lua_State *L, int index) {
  box *b = luaL_checkudata(L, index, TYPE);
  luaL_argcheck(L, b->region != NULL, index, "the region is closed");
  return b->region;
}

/* The method's own region. */
static ub_region *checkself (lua_State *L) {
  box *b = ub_checkself(L, TYPE);
  if (b->region == NULL)
    luaL_error(L, "region: it is closed");
  return b->region;
}

static int pushfault (lua_State *L, const ub_fault *f) {
  lua_pushnil(L);
  if (f->system != 0)
    lua_pushfstring(L, "region: %s: %s", f->what, strerror(f->system));
  else
    lua_pushfstring(L, "region: %s", f->what);
  lua_pushstring(L, ub_err_word(f->err));
  return 3;
}

/* The string in a field of the options, which keeps it alive; or NULL. */
static const char *optfieldstring (lua_State *L, const char *name) {
  const char *text;
  lua_getfield(L, 1, name);
  text = lua_tostring(L, -1);
  lua_pop(L, 1);
  return text;
}

/* core.region(options) -> region | nil, message, code */
static int region_new (lua_State *L) {
  ub_place place;
  ub_fault fault;
  box *b;
  luaL_checktype(L, 1, LUA_TTABLE);
  place.name = optfieldstring(L, "name");
  place.path = optfieldstring(L, "path");
  place.lasting = ub_fieldtrue(L, 1, "lasting");
  place.bytes = (uint64_t)ub_optfieldnumber(L, 1, "bytes", 0);
  luaL_argcheck(L, place.name == NULL || strlen(place.name) <= UB_REGION_NAME, 1,
                "the name is too long");
  luaL_argcheck(L, place.bytes == 0 || (place.bytes >= UB_REGION_LEAST
                                        && place.bytes <= UB_REGION_MOST), 1,
                "bytes out of range");
  b = ub_newuserdata(L, sizeof *b);
  b->region = NULL;
  ub_settype(L, TYPE);
  b->region = ub_region_open(&place, &fault);
  return b->region != NULL ? 1 : pushfault(L, &fault);
}

/* core.is_region(value) -> boolean: an open one? */
static int is_region (lua_State *L) {
  box *b;
  luaL_getmetatable(L, TYPE);
  b = ub_testmeta(L, 1, lua_gettop(L));
  lua_pushboolean(L, b != NULL && b->region != NULL);
  return 1;
}

/* r:stats() -> table */
static int region_stats (lua_State *L) {
  ub_region_stats stats = ub_region_read(checkself(L));
  lua_createtable(L, 0, 5);
  ub_setwhole(L, "bytes", (int64_t)stats.bytes);
  ub_setwhole(L, "used", (int64_t)stats.used);
  ub_setwhole(L, "parts", stats.parts);
  ub_setwhole(L, "processes", stats.processes);
  ub_setwhole(L, "waiting", stats.waiting);
  return 1;
}

/* r:process() -> slot */
static int region_process (lua_State *L) {
  ub_pushwhole(L, ub_region_process(checkself(L)));
  return 1;
}

/* r:wake_fd() -> descriptor | nil, message, code */
static int region_wake_fd (lua_State *L) {
  int err, fd = ub_region_wake_fd(checkself(L), &err);
  if (fd < 0)
    return ub_pushfail(L, err, "region");
  ub_pushwhole(L, fd);
  return 1;
}

/* r:drain() -> had somebody woken us? */
static int region_drain (lua_State *L) {
  lua_pushboolean(L, ub_region_drain(checkself(L)));
  return 1;
}

/* r:waiting(count, since or nil, priority or nil): seconds of the monotonic clock */
static int region_waiting (lua_State *L) {
  ub_region *r = checkself(L);
  lua_Number count = luaL_checknumber(L, 2);
  luaL_argcheck(L, count >= 0 && count <= UINT32_MAX && count == (uint32_t)count, 2,
                "a whole number expected");
  ub_region_waiting(r, lua_isnoneornil(L, 4) ? NORMAL : ub_checkpriority(L, 4),
                    (uint32_t)count, ub_optnow(L, 3));
  return 0;
}

/* r:yields() -> is it the turn of another process's caller? */
static int region_yields (lua_State *L) {
  lua_pushboolean(L, ub_region_yields(checkself(L)));
  return 1;
}

/* r:next(mask) -> priority, r:take(priority): as of core.turns() */
static int region_next (lua_State *L) {
  ub_region *r = checkself(L);
  ub_pushwhole(L, ub_turns_next(ub_region_turns(r), ub_checkpriorities(L, 2)) + 1);
  return 1;
}

static int region_take (lua_State *L) {
  ub_region *r = checkself(L);
  ub_turns_take(ub_region_turns(r), ub_checkpriority(L, 2));
  return 0;
}

/* r:wake() -> was one there to be woken? */
static int region_wake (lua_State *L) {
  lua_pushboolean(L, ub_region_wake(checkself(L)));
  return 1;
}

/* r:close(), __gc and __close; may be called twice */
static int region_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_region *r = b->region;
  b->region = NULL;
  if (r != NULL)
    ub_region_close(r);
  return 0;
}

/* Its userdata is the prefix. */
static int sweeper_gc (lua_State *L) {
  ub_map_sweep(luaL_checkudata(L, 1, SWEEPER));
  return 0;
}

/* core.sweeper(prefix) -> sweeper: sweeps now, and when it is collected */
static int sweeper_new (lua_State *L) {
  const char *prefix = luaL_checkstring(L, 1);
  size_t length = strlen(prefix);  /* an empty one would be everybody's */
  luaL_argcheck(L, length >= 1 && length <= UB_REGION_NAME, 1, "1 to 64 characters expected");
  memcpy(ub_newuserdata(L, length + 1), prefix, length + 1);
  ub_settype(L, SWEEPER);
  ub_map_sweep(prefix);
  return 1;
}

void ub_open_region (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"stats", region_stats}, {"process", region_process}, {"wake_fd", region_wake_fd},
    {"drain", region_drain}, {"waiting", region_waiting},
    {"yields", region_yields}, {"wake", region_wake},
    {"next", region_next}, {"take", region_take},
    {"close", region_close}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {
    {"__gc", region_close}, {"__close", region_close}, {NULL, NULL}
  };
  static const luaL_Reg none[] = {{NULL, NULL}}, sweeps[] = {{"__gc", sweeper_gc}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  ub_newtype(L, SWEEPER, none, sweeps);
  lua_pushcfunction(L, region_new);
  lua_setfield(L, -2, "region");
  lua_pushcfunction(L, is_region);
  lua_setfield(L, -2, "is_region");
  lua_pushcfunction(L, sweeper_new);
  lua_setfield(L, -2, "sweeper");
}
