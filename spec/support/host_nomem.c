/*
** host_nomem.c: Lua's own allocations fail, one after the other.
**
**   host_nomem SCRIPT [STEP]     each STEP-th allocation only (1)
**
** The script gives a list of { name, prepare }. For each allocation of each
** scenario there is a new process, forked from one in whose Lua state all modules
** are loaded. There 'prepare()' gives a function that is run while allocations
** fail, and then, if 'prepare' gave true as well, once more while none does. The
** kinds of failing:
**
**   once     one, after which Lua 5.4 collects its garbage and tries again
**   twice    one and the next: "not enough memory" on 5.4, too
**   all      all from one on, until the run is over
**
** A run that is to be run again succeeds, gives nil, message, "nomem", or raises
** "not enough memory"; of others, which are made of tasks that may lack memory
** each on its own, any failure is taken. Whatever came: when the state is closed
** its memory and everything of the core's is given back. A server on loopback
** answers each request; its port is the global PORT.
** The last line counts as busted's does.
*/
#include <dirent.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loopback.h"

#define OPEN_ENDED 1000000000L

/* {== Memory that fails =================================================== */

typedef struct memory {
  long count, from, failures;  /* the allocations from 'from' on fail, so many */
  int failed;
  size_t live;
} memory;

static void *allocate (void *self, void *block, size_t old, size_t size) {
  memory *m = self;
  void *made;
  if (block == NULL)
    old = 0;  /* on 5.4 it tells the kind of object */
  if (size == 0) {
    m->live -= old;
    free(block);
    return NULL;
  }
  if (size > old && m->failures > 0 && ++m->count >= m->from &&
      m->count - m->from < m->failures) {
    m->failed = 1;
    return NULL;
  }
  made = realloc(block, size);
  if (made != NULL)
    m->live += size - old;
  return made;
}

static void let_fail (memory *m, long from, long failures) {
  m->count = 0;
  m->failed = 0;
  m->from = from;
  m->failures = failures;
}

/* }======================================================================== */

/* {== The server ========================================================== */

static const char answer[] =
  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 79\r\n\r\n"
  "{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\"content\":\"hello\"}}]} ";

static pid_t start_server (int *port) {
  loopback server;
  pid_t pid;
  if (loopback_open(&server) != 0)
    return -1;
  *port = server.port;
  pid = fork();
  if (pid != 0)
    return pid;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  loopback_answer(&server, (const uint8_t *)answer, sizeof answer - 1, LOOPBACK_CLOSE);
  for (;;) {
    struct pollfd fds[2] = {{server.listener, POLLIN, 0}, {server.fd, POLLIN, 0}};
    poll(fds, server.fd >= 0 ? 2 : 1, server.got > 0 ? 0 : 1000);
    loopback_step(&server, "}");
  }
}

/* }======================================================================== */

/* {== What is open ======================================================== */

static lua_State *watcher;  /* a state that never fails, to ask the core */

static long field (lua_State *L, const char *name) {
  long n;
  lua_getfield(L, -1, name);
  n = (long)lua_tonumber(L, -1);
  lua_pop(L, 1);
  return n;
}

static long files (void) {
  DIR *dir = opendir("/proc/self/fd");
  long n = 0;
  while (readdir(dir) != NULL)
    n++;
  closedir(dir);
  return n;
}

typedef struct sight {
  long blocks, engines, transfers, descriptors, files;
} sight;

static sight look (void) {
  sight s;
  lua_getglobal(watcher, "look");
  lua_call(watcher, 0, 1);
  s.blocks = field(watcher, "blocks");
  s.engines = field(watcher, "engines");
  s.transfers = field(watcher, "transfers");
  s.descriptors = field(watcher, "descriptors");
  s.files = files();
  lua_pop(watcher, 1);
  return s;
}

/* }======================================================================== */

/* {== One run ============================================================= */

static const char *script;
static int port;

static int fault (const char *what, const char *more) {
  printf("  %s%s%s\n", what, more != NULL ? ": " : "", more != NULL ? more : "");
  return 0;
}

/*
** The script's list on the stack, or its message; 1 when it is there. LuaJIT's
** compiler stays off: it crashes by itself when it lacks memory.
*/
static int load (lua_State *L) {
  luaL_openlibs(L);
  lua_pushnumber(L, port);
  lua_setglobal(L, "PORT");
  if (luaL_dostring(L, "if jit then jit.off() end") != 0)
    return 0;
  return luaL_loadfile(L, script) == 0 && lua_pcall(L, 0, 1, 0) == 0;
}

/* Scenario i's run on the stack, on whose top the list is; is it to be run again afterwards? */
static int prepare (lua_State *L, int i, int *again) {
  lua_rawgeti(L, -1, i);
  lua_getfield(L, -1, "prepare");
  if (lua_pcall(L, 0, 2, 0) != 0)
    return 0;
  *again = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return 1;
}

/* Does what a run gave tell of success, or of memory? Pops it. */
static int is_right (lua_State *L, int base, int status) {
  const char *text;
  if (status != 0) {
    text = lua_tostring(L, -1);
    return text != NULL && strstr(text, "not enough memory") != NULL ? 1 :
           fault("it raises", text != NULL ? text : luaL_typename(L, -1));
  }
  if (!lua_isnil(L, base + 1))
    return 1;
  text = lua_tostring(L, base + 3);
  return text != NULL && strcmp(text, "nomem") == 0 ? 1 :
         fault("it fails with", lua_tostring(L, base + 2));
}

/* The run on the stack, with failures: 'strict' or not about what these lead to. */
static int run_failing (lua_State *L, memory *m, long from, long failures, int strict,
                        int *failed) {
  int base = lua_gettop(L), right, status;
  lua_pushvalue(L, base);
  let_fail(m, from, failures);
  status = lua_pcall(L, 0, 3, 0);
  *failed = m->failed;
  let_fail(m, 0, 0);
  if (*failed)
    right = !strict || is_right(L, base, status);
  else
    right = status == 0 && !lua_isnil(L, base + 1);
  if (!*failed && !right)
    fault("without a failure", lua_tostring(L, status == 0 ? base + 2 : -1));
  lua_settop(L, base);
  return right;
}

/* The same run, and nothing fails. */
static int run_again (lua_State *L) {
  int base = lua_gettop(L);
  lua_pushvalue(L, base);
  if (lua_pcall(L, 0, 3, 0) != 0)
    return fault("afterwards it raises", lua_tostring(L, -1));
  if (lua_isnil(L, base + 1))
    return fault("afterwards it fails", lua_tostring(L, base + 2));
  return 1;
}

static int check_left (const memory *m, const sight *before) {
  sight now = look();
  if (m->live != 0 && LUA_VERSION_NUM >= 504)  /* LuaJIT itself loses a failed coroutine */
    return fault("Lua's memory is not given back", NULL);
  if (memcmp(before, &now, sizeof now) != 0) {
    printf("  left: blocks %ld, engines %ld, transfers %ld, descriptors %ld, files %ld\n",
           now.blocks - before->blocks, now.engines - before->engines,
           now.transfers - before->transfers, now.descriptors - before->descriptors,
           now.files - before->files);
    return 0;
  }
  return 1;
}

/* The state that each attempt has a copy of. */
static memory loaded_memory;
static lua_State *loaded;

/* What a scenario needs is loaded by its 'prepare', in a state that is then gone. */
static int load_needs (int i) {
  int again, right;
  lua_State *L = luaL_newstate();
  right = L != NULL && load(L) && prepare(L, i, &again);
  if (!right)
    return fault("prepare", L != NULL ? lua_tostring(L, -1) : "no state");
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "loaded");
  lua_pushnil(L);
  while (right && lua_next(L, -2)) {
    lua_pop(L, 1);
    lua_getglobal(loaded, "require");
    lua_pushstring(loaded, lua_tostring(L, -1));
    right = lua_pcall(loaded, 1, 0, 0) == 0 ||
            fault("require", lua_tostring(loaded, -1));
  }
  lua_close(L);
  return right;
}

enum { WRONG, RIGHT, RIGHT_UNTOUCHED };  /* the last one: no allocation has failed */

/* In a process of its own. */
static int attempt (int i, long from, long failures) {
  sight before = look();
  int right = 0, again = 0, failed = 0;
  if (!prepare(loaded, i, &again))
    fault("prepare", lua_tostring(loaded, -1));
  else
    right = run_failing(loaded, &loaded_memory, from, failures, again, &failed) &&
            (!again || run_again(loaded));
  lua_close(loaded);
  if (!check_left(&loaded_memory, &before) || !right)
    return WRONG;
  return failed ? RIGHT : RIGHT_UNTOUCHED;
}

/*
** LuaJIT's own unwinding crashes now and then when its allocator fails within an
** error: there an attempt that crashed may be made again.
*/
#define TRIES  (LUA_VERSION_NUM < 504 ? 3 : 1)

static int attempt_beside (int i, long from, long failures) {
  int try, status = 0;
  for (try = 0; try < TRIES; try++) {
    pid_t child;
    fflush(stdout);
    child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      status = attempt(i, from, failures);
      fflush(stdout);
      _exit(status);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
      return fault("no process", NULL);
    if (WIFEXITED(status))
      return WEXITSTATUS(status) <= RIGHT_UNTOUCHED ? WEXITSTATUS(status) : WRONG;
  }
  return fault("it crashes", strsignal(WTERMSIG(status)));
}

/* }======================================================================== */

static int scenario (int i, const char *name, const char *kind, long failures, long step) {
  long from, faults = 0;
  int came = RIGHT;
  for (from = 1; came != RIGHT_UNTOUCHED && faults < 3; from += step)
    if ((came = attempt_beside(i, from, failures)) == WRONG) {
      printf("  (%s, %s, allocation %ld)\n", name, kind, from);
      faults++;
    }
  printf("%s %s: %s: %ld allocations\n", faults == 0 ? "ok" : "FAILED", name, kind,
         from - step - 1);
  fflush(stdout);
  return faults == 0;
}

static int open_watcher (void) {
  watcher = luaL_newstate();
  if (watcher == NULL)
    return 0;
  luaL_openlibs(watcher);
  return luaL_dostring(watcher, "look = require('unbusy.core').stats") == 0;
}

static int open_loaded (int count) {
  int i, right;
  loaded = lua_newstate(allocate, &loaded_memory);
  right = loaded != NULL && load(loaded);
  for (i = 1; right && i <= count; i++)
    right = load_needs(i);
  return right || fault("the state", loaded != NULL ? lua_tostring(loaded, -1) : NULL);
}

static void run_all (long step, int *passed, int *failed) {
  static const struct { const char *name; long failures; } kinds[] = {
    {"once", 1}, {"twice", 2}, {"all", OPEN_ENDED}
  };
  int count, i, k;
  if (!load(watcher)) {
    *failed += !fault("script", lua_tostring(watcher, -1));
    return;
  }
  for (count = 0;; count++) {
    lua_rawgeti(watcher, -1, count + 1);
    if (lua_isnil(watcher, -1))
      break;
    lua_pop(watcher, 1);
  }
  lua_pop(watcher, 1);
  if (!open_loaded(count)) {
    ++*failed;
    return;
  }
  for (i = 1; i <= count; i++) {
    const char *name;
    lua_rawgeti(watcher, -1, i);
    lua_getfield(watcher, -1, "name");
    name = lua_tostring(watcher, -1);
    for (k = 0; k < 3; k++) {
      if (scenario(i, name, kinds[k].name, kinds[k].failures, step))
        ++*passed;
      else
        ++*failed;
    }
    lua_pop(watcher, 2);
  }
}

int main (int argc, char **argv) {
  int passed = 0, failed = 0;
  pid_t server;
  if (argc < 2) {
    fputs("usage: host_nomem SCRIPT [STEP]\n", stderr);
    return 2;
  }
  script = argv[1];
  server = start_server(&port);
  if (server < 0 || !open_watcher()) {
    fputs("host_nomem: no server or no core\n", stderr);
    return 2;
  }
  run_all(argc > 2 ? atol(argv[2]) : 1, &passed, &failed);
  lua_close(watcher);
  kill(server, SIGTERM);
  printf("%d successes / %d failures / 0 errors / 0 pending\n", passed, failed);
  return failed > 0;
}
