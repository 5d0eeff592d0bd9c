/*
** pipe_guard.c: keeps SIGPIPE from the host.
*/
#include "engine/pipe_guard.h"

#include <pthread.h>
#include <time.h>

static int pipe_pending (void) {
  sigset_t pending;
  sigemptyset(&pending);
  sigpending(&pending);
  return sigismember(&pending, SIGPIPE);
}

static void only_pipe (sigset_t *set) {
  sigemptyset(set);
  sigaddset(set, SIGPIPE);
}

void ub_pipe_guard_begin (ub_pipe_guard *g, int on) {
  sigset_t only;
  g->on = on;
  if (!on)
    return;
  g->was_pending = pipe_pending();
  only_pipe(&only);
  pthread_sigmask(SIG_BLOCK, &only, &g->before);
}

void ub_pipe_guard_end (const ub_pipe_guard *g) {
  static const struct timespec zero;
  sigset_t only;
  if (!g->on)
    return;
  only_pipe(&only);
  if (!g->was_pending && pipe_pending())
    sigtimedwait(&only, NULL, &zero);
  pthread_sigmask(SIG_SETMASK, &g->before, NULL);
}
