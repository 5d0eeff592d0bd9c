/*
** lua_core.c: opens 'unbusy.core', the C side of unbusy.
**
** The module is a table of constructors, one per part, and a few functions:
** now, wall, stats, process, errors, random_id, sip, exec, stamp, fail_alloc.
** lua/unbusy/core.meta.lua describes it.
*/
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/process.h"
#include "base/rand.h"
#include "base/region.h"
#include "base/sip.h"
#include "engine/engine.h"
#include "lua/lua_util.h"

/* core.now() -> seconds of the monotonic clock */
static int core_now (lua_State *L) {
  lua_pushnumber(L, (double)ub_clock_us() / UB_SECOND_US);
  return 1;
}

#if UB_FFI
static double call_now (void) {
  return (double)ub_clock_us() / UB_SECOND_US;
}
#endif

/* core.wall() -> seconds since 1970 */
static int core_wall (lua_State *L) {
  lua_pushnumber(L, (double)ub_clock_wall_us() / UB_SECOND_US);
  return 1;
}

/* core.stats() -> { blocks =, engines =, transfers =, descriptors =, regions = } */
static int core_stats (lua_State *L) {
  ub_engine_totals totals = ub_engine_count();
  lua_newtable(L);
  ub_setwhole(L, "blocks", ub_alloc_live());
  ub_setwhole(L, "engines", totals.engines);
  ub_setwhole(L, "transfers", totals.transfers);
  ub_setwhole(L, "descriptors", totals.descriptors);
  ub_setwhole(L, "regions", ub_region_count());
  return 1;
}

/* core.process() -> a number of this process alone, of those it was forked from or that are
   forked from it */
static int core_process (lua_State *L) {
  ub_pushwhole(L, ub_process_mark());
  return 1;
}

/* core.errors() -> { { name =, number =, word =, text = }, … } */
static int core_errors (lua_State *L) {
  int err;
  lua_newtable(L);
  for (err = UB_OK + 1; err < UB_ERRORS_END; err++) {
    lua_newtable(L);
    ub_setwhole(L, "number", err);
    lua_pushstring(L, ub_err_word(err));
    lua_setfield(L, -2, "word");
    lua_pushstring(L, ub_err_text(err));
    lua_setfield(L, -2, "text");
    lua_rawseti(L, -2, err);
  }
  return 1;
}

/* core.random_id() -> 16 hexadecimal digits of the system's entropy, not all of them 0 */
static int core_random_id (lua_State *L) {
  char digits[17];
  uint64_t id;
  do {
    id = ub_rand_seed();
  } while (id == 0);
  snprintf(digits, sizeof digits, "%016llx", (unsigned long long)id);
  lua_pushstring(L, digits);
  return 1;
}

/* core.sip(text, key of 16 bytes) -> hash of 16 bytes */
static int core_sip (lua_State *L) {
  size_t length, key_length;
  const char *text = luaL_checklstring(L, 1, &length);
  const char *key = luaL_checklstring(L, 2, &key_length);
  unsigned char hash[UB_SIP_BYTES];
  luaL_argcheck(L, key_length == UB_SIP_BYTES, 2, "a key of 16 bytes expected");
  ub_sip(text, length, (const unsigned char *)key, hash);
  lua_pushlstring(L, (const char *)hash, sizeof hash);
  return 1;
}

/*
** core.exec(argv) -> nil, message: this process becomes the program argv[1],
** which keeps its number and hears its signals, HUP also where it is ignored
** here (nohup): a shell cannot trap that. Comes back only on failure.
*/
static int core_exec (lua_State *L) {
  const char **argv;
  int i, count, err;
  void (*before)(int);
  luaL_checktype(L, 1, LUA_TTABLE);
  count = (int)lua_rawlen(L, 1);
  luaL_argcheck(L, count > 0, 1, "a program expected");
  argv = ub_newuserdata(L, (size_t)(count + 1) * sizeof(*argv));
  for (i = 0; i < count; i++) {
    lua_rawgeti(L, 1, i + 1);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "a list of strings expected");
    argv[i] = lua_tostring(L, -1);  /* kept alive by the list */
    lua_pop(L, 1);
  }
  argv[count] = NULL;
  fflush(NULL);
  before = signal(SIGHUP, SIG_DFL);
  execvp(argv[0], (char *const *)(uintptr_t)argv);
  err = errno;
  signal(SIGHUP, before);
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", argv[0], strerror(err));
  return 2;
}

/*
** core.stamp(path) -> stamp, written | nil, message: a text that is another one
** for another version of the file, and the seconds since 1970 of its last change
*/
static int core_stamp (lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  char text[120];
  ub_file s;
  int err = ub_file_look(path, &s);
  if (err != 0) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", path, strerror(err));
    return 2;
  }
  snprintf(text, sizeof text, "%lld %lld %llu %llu %llu", (long long)s.written_ns,
           (long long)s.changed_ns, (unsigned long long)s.size, (unsigned long long)s.inode,
           (unsigned long long)s.device);
  lua_pushstring(L, text);
  lua_pushnumber(L, (double)s.written_ns / 1e9);
  return 2;
}

/* core.fail_alloc(n) -> left: the n-th allocation of the core from now fails, once */
static int core_fail_alloc (lua_State *L) {
  ub_pushwhole(L, ub_alloc_fail_at((int64_t)luaL_checknumber(L, 1)));
  return 1;
}

__attribute__((visibility("default"))) int luaopen_unbusy_core (lua_State *L);

int luaopen_unbusy_core (lua_State *L) {
  static const luaL_Reg functions[] = {
    {"now", core_now}, {"wall", core_wall}, {"stats", core_stats}, {"process", core_process},
    {"errors", core_errors}, {"random_id", core_random_id}, {"sip", core_sip},
    {"exec", core_exec}, {"stamp", core_stamp}, {"fail_alloc", core_fail_alloc}, {NULL, NULL}
  };
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  ub_open_backoff(L);
  ub_open_balancer(L);
  ub_open_bell(L);
  ub_open_breaker(L);
  ub_open_budget(L);
  ub_open_key(L);  /* before the cache, whose methods know the type */
  ub_open_cache(L);
  ub_open_counters(L);
  ub_open_ends(L);
  ub_open_engine(L);
  ub_open_flights(L);
  ub_open_glance(L);
  ub_open_guard(L);
  ub_open_histogram(L);
  ub_open_json_fields(L);
  ub_open_limiter(L);
  ub_open_metrics(L);
  ub_open_rate(L);
  ub_open_region(L);
  ub_open_retry_after(L);
  ub_open_secrets(L);
  ub_open_sse(L);
  ub_open_topk(L);
  ub_open_turns(L);
#if UB_FFI
  ub_setcall(L, "clock", "now", (ub_call *)call_now);
#endif
  return 1;
}
