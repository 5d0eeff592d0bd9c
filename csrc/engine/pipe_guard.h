/*
** pipe_guard.h: keeps SIGPIPE from the host. Private to the engine.
**
** OpenSSL writes to sockets without MSG_NOSIGNAL, so a peer that has gone
** raises SIGPIPE, which ends a process that does not expect it. Between begin
** and end the signal is blocked in this thread, and one that came meanwhile
** is taken away, unless one was pending before.
*/
#ifndef UB_PIPE_GUARD_H
#define UB_PIPE_GUARD_H

#include <signal.h>

typedef struct ub_pipe_guard {
  int on, was_pending;
  sigset_t before;
} ub_pipe_guard;

/* 'on' is 0 where nothing can raise it: then both do nothing. */
void ub_pipe_guard_begin (ub_pipe_guard *g, int on);
void ub_pipe_guard_end (const ub_pipe_guard *g);

#endif
