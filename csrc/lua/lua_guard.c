/*
** lua_guard.c: runs a function of somebody else's within limits.
**
**   guarded(f) ── sets ──► allocator that counts · hook every STEP instructions
**              ◄─ always ─ puts back what was there
**
** Memory is counted where it is taken, so that no single call of C (a long
** string.rep, a table.concat) goes over the limit either: it gets none, and
** Lua raises "not enough memory". Instructions are counted by the hook; a call
** of C that takes long without memory is the one thing that nothing stops.
** The function runs behind a C call, so nothing in it can yield.
*/
#include <stddef.h>
#include <stdint.h>

#include "lua/lua_util.h"

#define STEP 100     /* instructions between two looks */
#define REFUSALS 16  /* of memory; each makes Lua 5.4 collect, and may be survived */
#define DEPTH (1024 * 1024)  /* bytes of the C stack: LuaJIT itself would go on to its end */

typedef struct guard {
  lua_Alloc alloc;  /* what was there */
  void *ud;
  lua_Hook hook;
  int mask, count;
  int64_t left;  /* instructions */
  int64_t taken, most, look_at;  /* bytes since the beginning */
  int refused;  /* how often memory was */
  uintptr_t floor;  /* of the C stack, at the beginning */
} guard;

static void *measured (void *ud, void *block, size_t osize, size_t nsize) {
  guard *g = ud;
  int64_t more = (int64_t)nsize - (block != NULL ? (int64_t)osize : 0);
  void *result;
  if (more > 0 && (g->taken + more > g->most || g->refused > REFUSALS)) {
    g->refused++;
    return NULL;
  }
  result = g->alloc(g->ud, block, osize, nsize);
  if (result != NULL || nsize == 0)
    g->taken += more;
  return result;
}

/*
** Lua 5.4 collects by itself when it gets no memory, LuaJIT does not: there
** garbage would count that a large heap has no hurry to collect.
*/
#if UB_FFI
static void look (lua_State *L, guard *g) {
  int64_t half;
  if (g->taken <= g->look_at)
    return;
  lua_gc(L, LUA_GCCOLLECT, 0);
  half = (g->most - g->taken) / 2;
  g->look_at = g->taken + (half > g->most / 8 ? half : g->most / 8);
}
#else
#define look(L, g) ((void)(g))
#endif

/* The function that runs is told at its line. */
static void fail_there (lua_State *L, lua_Debug *ar, const char *message) {
  lua_getinfo(L, "Sl", ar);
  lua_pushfstring(L, "%s:%d: %s", ar->short_src, ar->currentline, message);
  lua_error(L);
}

static uintptr_t stack_place (void) {
  return (uintptr_t)__builtin_frame_address(0);
}

static void tick (lua_State *L, lua_Debug *ar) {
  void *ud;
  guard *g;
  if (lua_getallocf(L, &ud) != measured) {  /* a coroutine that outlives its guard */
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  g = ud;
  g->left -= STEP;
  if (g->left <= 0) {
    lua_sethook(L, tick, LUA_MASKCOUNT, 1);  /* whatever catches this is told again */
    fail_there(L, ar, "it ran too long");
  }
  if (g->floor - stack_place() > DEPTH)  /* string.gsub in a function that it calls */
    fail_there(L, ar, "C stack overflow");
  look(L, g);
}

static void begin (lua_State *L, guard *g) {
  g->hook = lua_gethook(L);
  g->mask = lua_gethookmask(L);
  g->count = lua_gethookcount(L);
  g->alloc = lua_getallocf(L, &g->ud);
  lua_sethook(L, tick, LUA_MASKCOUNT, STEP);
  lua_setallocf(L, measured, g);
}

static void end (lua_State *L, const guard *g) {
  lua_setallocf(L, g->alloc, g->ud);
  lua_sethook(L, g->hook, g->mask, g->count);
}

/*
** core.guarded(instructions, bytes, f, …) -> true, a, b (what f gave, two values)
** or false, error, "long" | "memory" | nil
*/
static int guarded (lua_State *L) {
  guard g = {.left = (int64_t)luaL_checknumber(L, 1), .most = (int64_t)luaL_checknumber(L, 2)};
  int status;
  luaL_checkany(L, 3);
  g.look_at = g.most / 2;
  g.floor = stack_place();
  begin(L, &g);
  status = lua_pcall(L, lua_gettop(L) - 3, 2, 0);
  end(L, &g);
  lua_pushboolean(L, status == 0 && g.left > 0);
  lua_replace(L, 2);
  if (status == 0 && g.left > 0)
    return 3;
  lua_settop(L, status == 0 ? 2 : 3);  /* who swallows the error has no result */
  lua_settop(L, 3);
  if (g.left <= 0)
    lua_pushliteral(L, "long");
  else if (g.refused > 0 && status == LUA_ERRMEM)
    lua_pushliteral(L, "memory");
  else
    lua_pushnil(L);
  return 3;
}

void ub_open_guard (lua_State *L) {
  lua_pushcfunction(L, guarded);
  lua_setfield(L, -2, "guarded");
}
