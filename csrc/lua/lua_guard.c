/*
** lua_guard.c: runs a function of somebody else's within limits.
**
**   guarded(f) ── sets ──► allocator that counts · hook every STEP instructions
**              ◄─ always ─ puts back what was there
**
** Instructions are counted by the hook. Memory is counted where it is taken, so
** that no single call of C (a long string.rep, a table.concat) goes over the
** limit either. What is taken also counts as work, since a text is copied with
** each of its changes; and behind both stands a clock, for calls of C that take
** long without memory. A single such call is the one thing that nothing stops.
** The function runs behind a C call, so nothing in it can yield. An error out of a
** hook that the host has set meanwhile (Ctrl-C) is no fault of the function's: it is
** raised again.
*/
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "lua/lua_util.h"

#define STEP 100  /* instructions between two looks */
#define COPIED 256  /* bytes that are taken and filled in the time of some instructions */
#define LONGEST UB_SECOND_US  /* of a processor */
#define DEPTH (1024 * 1024)  /* bytes of the C stack: LuaJIT itself would go on to its end */

/*
** The least block that is refused. On LuaJIT an error within an error for want
** of memory may end the process, so there what is small is always given, and
** the hook looks after the sum.
*/
#if UB_FFI
#define REFUSED 65536
#else
#define REFUSED 1
#endif

typedef struct guard {
  lua_State *state;
  lua_Alloc alloc;  /* what was there */
  void *ud;
  lua_Hook hook;
  int mask, count;
  int64_t left;  /* instructions */
  int64_t taken, most, look_at;  /* bytes since the beginning */
  int64_t ask_at, used;  /* when to ask how much of a processor it had; 0: not asked yet */
  uintptr_t floor;  /* of the C stack, at the beginning */
  int refused, stopped, looks;  /* memory was; it was; the hook is to look at the memory */
} guard;

/*
** Garbage counts until it is collected, for which a large heap is in no hurry. LuaJIT
** never collects by itself when it gets no memory, and Lua 5.4 does not where a text
** grows. So much has been taken that the hook is to look, which it does: on Lua 5.4 at
** the next instruction ('lua_sethook' may be called at any time there), since a few
** calls of C may take all that is left.
*/
#if UB_FFI
#define look_soon(g) ((void)0)
#else
static void tick (lua_State *L, lua_Debug *ar);

static void look_soon (const guard *g) {
  lua_sethook(g->state, tick, LUA_MASKCOUNT, 1);
}
#endif

static void *measured (void *ud, void *block, size_t osize, size_t nsize) {
  guard *g = ud;
  int64_t more = (int64_t)nsize - (block != NULL ? (int64_t)osize : 0);
  void *result;
  if (more >= REFUSED && g->taken + more > g->most) {
    g->refused = 1;
    return NULL;
  }
  result = g->alloc(g->ud, block, osize, nsize);
  if (result != NULL || nsize == 0) {
    g->taken = g->taken + more > 0 ? g->taken + more : 0;  /* not for garbage of others */
    g->left -= more > 0 ? more / COPIED : 0;
    if (g->taken > g->look_at && !g->looks) {
      g->looks = 1;
      look_soon(g);
    }
  }
  return result;
}

/* The function that runs is told at its line. */
static void fail_there (lua_State *L, lua_Debug *ar, const char *message) {
  lua_getinfo(L, "Sl", ar);
  lua_pushfstring(L, "%s:%d: %s", ar->short_src, ar->currentline, message);
  lua_error(L);
}

static void check_memory (lua_State *L, lua_Debug *ar, guard *g) {
  int64_t half;
  if (!g->looks)
    return;
  lua_gc(L, LUA_GCCOLLECT, 0);
  half = (g->most - g->taken) / 2;
  g->look_at = g->taken + (half > g->most / 8 ? half : g->most / 8);
  g->looks = 0;
  if (g->taken <= g->most)
    return;
  g->refused = 1;
  fail_there(L, ar, "not enough memory");
}

static uintptr_t stack_place (void) {
  return (uintptr_t)__builtin_frame_address(0);
}

/*
** Has it had the processor for too long? Asked when some time has gone by, of
** which another process may have had the most.
*/
static int was_long (guard *g) {
  int64_t used = ub_clock_used_us();
  if (g->used == 0)
    g->used = used - LONGEST / 10;
  g->ask_at = ub_clock_us() + LONGEST / 10;
  return used - g->used > LONGEST;
}

static void tick (lua_State *L, lua_Debug *ar) {
  void *ud;
  guard *g;
  if (lua_getallocf(L, &ud) != measured) {  /* a coroutine that outlives its guard */
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  g = ud;
  g->left -= lua_gethookcount(L);
  if (!g->stopped)
    lua_sethook(L, tick, LUA_MASKCOUNT, STEP);  /* it may have been called soon */
  if (ub_clock_us() > g->ask_at && was_long(g))
    g->left = 0;
  if (g->left <= 0) {
    g->stopped = 1;
    lua_sethook(L, tick, LUA_MASKCOUNT, 1);  /* whatever catches this is told again */
    fail_there(L, ar, "it ran too long");
  }
  if (g->floor - stack_place() > DEPTH)  /* string.gsub in a function that it calls */
    fail_there(L, ar, "C stack overflow");
  check_memory(L, ar, g);
}

static void begin (lua_State *L, guard *g) {
  g->state = L;
  g->look_at = g->most / 2;
  g->ask_at = ub_clock_us() + LONGEST / 10;
  g->floor = stack_place();
  g->hook = lua_gethook(L);
  g->mask = lua_gethookmask(L);
  g->count = lua_gethookcount(L);
  g->alloc = lua_getallocf(L, &g->ud);
  lua_sethook(L, tick, LUA_MASKCOUNT, STEP);
  lua_setallocf(L, measured, g);
}

/*
** False where the hook is not ours any more: the host has set one of its own, as
** Lua's interpreter does for Ctrl-C, and that one is left alone.
*/
static int end (lua_State *L, const guard *g) {
  int is_ours = lua_gethook(L) == tick;
  lua_setallocf(L, g->alloc, g->ud);
  if (is_ours)
    lua_sethook(L, g->hook, g->mask, g->count);
  return is_ours;
}

/* Did it end for want of memory? Where it is refused some, Lua 5.4 collects and asks again: the
   function may well have gone on, and ended by an error of its own. */
static int lacked_memory (const guard *g, int status) {
  return g->refused && (status == LUA_ERRMEM || (UB_FFI && status != 0));
}

/* Push which limit ended it, or nil for an error of its own. */
static void push_limit (lua_State *L, const guard *g, int status) {
  if (g->stopped)
    lua_pushliteral(L, "long");
  else if (lacked_memory(g, status))
    lua_pushliteral(L, "memory");
  else
    lua_pushnil(L);
}

/*
** core.guarded(instructions, bytes, f, …) -> true, a, b (what f gave, two values)
** or false, error, "long" | "memory" | nil
*/
static int guarded (lua_State *L) {
  guard g = {.left = (int64_t)luaL_checknumber(L, 1), .most = (int64_t)luaL_checknumber(L, 2)};
  int status, good;
  luaL_checkany(L, 3);
  begin(L, &g);
  status = lua_pcall(L, lua_gettop(L) - 3, 2, 0);
  if (!end(L, &g) && status != 0)
    return lua_error(L);
  good = status == 0 && !g.stopped;
  lua_pushboolean(L, good);
  lua_replace(L, 2);
  if (good)
    return 3;
  lua_settop(L, status == 0 ? 2 : 3);  /* who swallows the error has no result */
  lua_settop(L, 3);
  push_limit(L, &g, status);
  return 3;
}

void ub_open_guard (lua_State *L) {
  lua_pushcfunction(L, guarded);
  lua_setfield(L, -2, "guarded");
}
