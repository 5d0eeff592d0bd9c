/*
** fork.c: what specs need to see a process fork, and die. Built by fork.lua.
**   luaopen_fork() -> {
**     pid = () -> pid, fork = () -> pid, leave = (),
**     wait = (pid) -> nil or the signal it died of,
**     kill = (pid, signal), nap = (microseconds), readable = (descriptor, seconds) -> boolean,
**     step = (n, f, signal) -> first, last, or nil where this cannot be done: f() is run one
**       machine instruction after the other, and this process killed at the n-th (0: not), or
**       sent that signal; the numbers of the first and the last instruction that is the core's own
**   }
*/
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
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

static volatile sig_atomic_t stepping, last_signal;
static volatile long steps, last_step, first_inside, last_inside;
static unsigned long code_from, code_to;  /* the core's */

static void find_code (void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[512], mode[8];
  unsigned long from, to;
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
    if (strstr(line, "unbusy/core.so") != NULL
        && sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && mode[2] == 'x') {
      code_from = from;
      code_to = to;
    }
  }
  if (maps != NULL)
    fclose(maps);
}

/* One instruction more was done. */
static void trapped (int sig, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  greg_t *flags = &registers[REG_EFL];
  unsigned long at = (unsigned long)registers[REG_RIP];
  (void)sig;
  (void)info;
  if (++steps == last_step)
    kill(getpid(), last_signal);
  if (at >= code_from && at < code_to) {
    first_inside = first_inside > 0 ? first_inside : steps;
    last_inside = steps;
  }
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
  last_signal = (sig_atomic_t)luaL_optinteger(L, 3, SIGKILL);
  lua_settop(L, 2);
  steps = first_inside = last_inside = 0;
  find_code();
  stepping = 1;
  raise(SIGTRAP);
  failed = lua_pcall(L, 0, 0, 0);
  stepping = 0;
  __asm__ volatile ("nop");
  sigaction(SIGTRAP, &old, NULL);
  if (failed)
    return lua_error(L);
  lua_pushinteger(L, (lua_Integer)first_inside);
  lua_pushinteger(L, (lua_Integer)last_inside);
  return 2;
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
