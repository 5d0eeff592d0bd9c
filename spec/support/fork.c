/*
** fork.c: what specs need to see a process fork, and die. Built by fork.lua.
**   luaopen_fork() -> {
**     pid = () -> pid, fork = () -> pid, leave = (),
**     wait = (pid) -> nil or the signal it died of,
**     kill = (pid, signal), nap = (microseconds), readable = (descriptor, seconds) -> boolean,
**     step = (n, f) -> instructions, or nil where this cannot be done: f() is run one
**       machine instruction after the other, and this process killed at the n-th (0: not)
**   }
*/
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static int do_pid (lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

static int do_fork (lua_State *L) {
  lua_pushinteger(L, fork());
  return 1;
}

static int do_wait (lua_State *L) {
  int status = 0;
  waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0);
  if (!WIFSIGNALED(status))
    return 0;
  lua_pushinteger(L, WTERMSIG(status));
  return 1;
}

static int do_kill (lua_State *L) {
  kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2));
  return 0;
}

static int do_nap (lua_State *L) {
  usleep((useconds_t)luaL_checknumber(L, 1));
  return 0;
}

static int do_readable (lua_State *L) {
  struct pollfd p = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};
  lua_pushboolean(L, poll(&p, 1, (int)(luaL_checknumber(L, 2) * 1000)) == 1);
  return 1;
}

/* End at once, without finalizers or buffers of the parent's. */
static int do_leave (lua_State *L) {
  (void)L;
  _exit(0);
}

#ifdef __x86_64__

#define TRAP_FLAG 0x100  /* the processor stops after each instruction */

static volatile sig_atomic_t stepping;
static volatile long steps, last_step;

/* One instruction more was done. */
static void trapped (int sig, siginfo_t *info, void *context) {
  greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
  (void)sig;
  (void)info;
  if (last_step > 0 && ++steps >= last_step)
    kill(getpid(), SIGKILL);
  *flags = stepping ? *flags | TRAP_FLAG : *flags & ~(greg_t)TRAP_FLAG;
}

static int do_step (lua_State *L) {
  struct sigaction a, old;
  int failed;
  memset(&a, 0, sizeof a);
  a.sa_sigaction = trapped;
  a.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &a, &old);
  last_step = (long)luaL_checkinteger(L, 1);
  steps = 0;
  if (last_step == 0)
    last_step = 1000000000;
  stepping = 1;
  raise(SIGTRAP);
  failed = lua_pcall(L, 0, 0, 0);
  stepping = 0;
  __asm__ volatile ("nop");
  sigaction(SIGTRAP, &old, NULL);
  if (failed)
    return lua_error(L);
  lua_pushinteger(L, (lua_Integer)steps);
  return 1;
}

#else

static int do_step (lua_State *L) {
  lua_pushnil(L);
  return 1;
}

#endif

static void add (lua_State *L, const char *name, lua_CFunction f) {
  lua_pushcfunction(L, f);
  lua_setfield(L, -2, name);
}

int luaopen_fork (lua_State *L) {
  lua_newtable(L);
  add(L, "pid", do_pid);
  add(L, "fork", do_fork);
  add(L, "wait", do_wait);
  add(L, "kill", do_kill);
  add(L, "nap", do_nap);
  add(L, "readable", do_readable);
  add(L, "leave", do_leave);
  add(L, "step", do_step);
  return 1;
}
