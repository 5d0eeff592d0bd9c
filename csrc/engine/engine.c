/*
** engine.c: libcurl's multi interface behind one epoll descriptor. Three rules:
**
** - A socket whose events change is taken out of the epoll and put in again.
**   A mere change would wake nobody when the socket already waits on the
**   inner ready list, and libcurl changes every socket right after connecting.
** - libcurl does not repeat its wish for a timeout that has not changed. So
**   the deadline is remembered, and asked for again when libcurl was called a
**   little too early for its own clock.
** - Any call of libcurl may ask for a timeout of zero. After each one,
**   'settle' does what is due, a bounded number of times.
*/
#define CURL_DISABLE_DEPRECATION  /* see 'find_lost': nothing else does the same */
#include "engine/engine_inner.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/process.h"
#include "engine/pipe_guard.h"

#define EVENTS 32           /* served in one step, before others get their turn */
#define ROUNDS 32           /* of timeouts, likewise */
#define FIRST_HOSTS 4       /* descriptors of the host's that there is room for at first */
#define IDLE_CONNECTIONS 512L
#define AGAIN_LEAST 1000    /* microseconds; see 'ask_deadline' */
#define AGAIN_MOST 64000
#define NEVER INT64_MAX
#define NOW 0  /* whatever the clock says */

ub_engine_totals ub_engine_open_now;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void global_init (void) {
  global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

ub_engine_totals ub_engine_count (void) {
  return ub_engine_open_now;
}

/* {== What libcurl tells us =============================================== */

static uint32_t wanted (int what) {
  switch (what) {
    case CURL_POLL_IN: return EPOLLIN;
    case CURL_POLL_OUT: return EPOLLOUT;
    case CURL_POLL_INOUT: return EPOLLIN | EPOLLOUT;
    default: return 0;
  }
}

static int on_watch (CURL *easy, curl_socket_t fd, int what, void *self, void *known) {
  ub_engine *e = self;
  struct epoll_event event = {0};
  (void)easy;
  if (known != NULL)  /* DEL and ADD: see the top of this file */
    epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
  curl_multi_assign(e->multi, fd, what == CURL_POLL_REMOVE ? NULL : e);
  if (what == CURL_POLL_REMOVE)
    return 0;
  event.events = wanted(what);
  event.data.fd = fd;
  if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0 && errno != EEXIST)
    return -1;
  return 0;
}

static int on_timer (CURLM *multi, long ms, void *self) {
  ub_engine *e = self;
  (void)multi;
  if (ms <= 0)
    e->due_us = ms < 0 ? NEVER : NOW;
  else
    e->due_us = ub_clock_us() + (int64_t)ms * 1000;
  e->due_changed = 1;
  return 0;
}

void ub_engine_list (ub_transfer *t) {
  ub_engine *e = t->engine;
  if (t->listed || e == NULL)
    return;
  t->listed = 1;
  t->next = NULL;
  if (e->last_ready != NULL)
    e->last_ready->next = t;
  else
    e->ready = t;
  e->last_ready = t;
}

void ub_engine_unlist (ub_engine *e, ub_transfer *t) {
  ub_transfer *before = NULL, *at;
  if (!t->listed)
    return;
  for (at = e->ready; at != t; at = at->next)
    before = at;
  if (before != NULL)
    before->next = t->next;
  else
    e->ready = t->next;
  if (e->last_ready == t)
    e->last_ready = before;
  t->listed = 0;
}

/* }======================================================================== */

/* {== The host's own descriptors ========================================== */

/* Put the descriptor in (again): it reports once. */
static int watch_host (ub_engine *e, int fd) {
  struct epoll_event event = {0};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.fd = fd;
  epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
  return epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? UB_OK : UB_ENETWORK;
}

/* The descriptor's place among the host's, or their number. */
static int host_place (const ub_engine *e, int fd) {
  int i = 0;
  while (i < e->host_fds && e->host_fd[i] != fd)
    i++;
  return i;
}

/* Let there be room for one more: 0 when there is no memory. */
static int make_host_room (ub_engine *e) {
  int room = e->host_room == 0 ? FIRST_HOSTS : e->host_room * 2;
  int *grown;
  if (e->host_fds < e->host_room)
    return 1;
  grown = ub_realloc(e->host_fd, (size_t)room * sizeof *grown);
  if (grown == NULL)
    return 0;
  e->host_fd = grown;
  e->host_room = room;
  return 1;
}

int ub_engine_listen (ub_engine *e, int fd) {
  int i = host_place(e, fd), err;
  if (!ub_engine_owned(e))
    return UB_ECLOSED;
  if (!make_host_room(e))
    return UB_ENOMEM;
  err = watch_host(e, fd);
  if (err == UB_OK && i == e->host_fds)
    e->host_fd[e->host_fds++] = fd;
  return err;
}

void ub_engine_ignore (ub_engine *e, int fd) {
  int i = host_place(e, fd);
  if (i == e->host_fds || !ub_engine_owned(e))
    return;
  e->host_fd[i] = e->host_fd[--e->host_fds];
  epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

int ub_engine_heard (ub_engine *e) {
  int i, heard = e->heard;
  e->heard = 0;
  for (i = 0; heard && i < e->host_fds; i++)
    watch_host(e, e->host_fd[i]);
  return heard;
}

/* }======================================================================== */

/* {== The line for a connection =========================================== */

/*
** Where a connection is being made that may turn out to be of HTTP/2, libcurl has the others for
** that server wait for it (CURLOPT_PIPEWAIT), and does not look at their clocks meanwhile. When
** it fails, the next one begins to connect: the hundredth would wait a hundred times as long as
** it may. So each waits there for half of its limit, and has the other half to connect by itself.
** And who has not been sent soon after all of it has no connection, whatever libcurl thinks of it:
** on a machine that is out of breath it has been seen to forget some.
*/
#define LINE_SHARE 2
#define LINE_LATE 200000  /* microseconds: libcurl's own words tell more */

static int64_t limit_of (const ub_transfer *t) {
  return t->started_us + (int64_t)t->connect_ms * 1000 + LINE_LATE;
}

static void look_again (ub_engine *e, const ub_transfer *t) {
  if (t->look_us < e->line_us)
    e->line_us = t->look_us;
}

void ub_engine_line_up (ub_engine *e, ub_transfer *t) {
  t->in_line = 1;
  t->later = e->line;
  if (t->later != NULL)
    t->later->earlier = t;
  e->line = t;
  t->look_us = t->started_us + (int64_t)t->connect_ms * 1000 / LINE_SHARE;
  look_again(e, t);
}

void ub_engine_leave_line (ub_transfer *t) {
  ub_engine *e = t->engine;
  if (!t->in_line)
    return;
  t->in_line = 0;
  if (t->later != NULL)
    t->later->earlier = t->earlier;
  if (t->earlier != NULL)
    t->earlier->later = t->later;
  else
    e->line = t->later;
  if (e->line == NULL)
    e->line_us = NEVER;
}

/* It has waited for somebody else for long enough. */
static void let_connect (ub_engine *e, ub_transfer *t) {
  long rest = t->connect_ms - t->connect_ms / LINE_SHARE;
  t->begun = 1;
  curl_multi_remove_handle(e->multi, t->easy);
  if (!ub_transfer_alone(t, rest) || curl_multi_add_handle(e->multi, t->easy) != CURLM_OK)
    ub_transfer_end(t, CURLE_OUT_OF_MEMORY);
}

static void look_at (ub_engine *e, ub_transfer *t, int64_t now) {
  if (now >= limit_of(t)) {
    curl_multi_remove_handle(e->multi, t->easy);
    ub_transfer_end(t, CURLE_OPERATION_TIMEDOUT);
    return;
  }
  t->look_us = limit_of(t);
  if (!t->begun)
    let_connect(e, t);
}

static void serve_line (ub_engine *e) {
  ub_transfer *t = e->line, *later;
  int64_t now;
  if (e->line_us == NEVER || (now = ub_clock_us()) < e->line_us)
    return;
  for (e->line_us = NEVER; t != NULL; t = later) {
    later = t->later;
    if (t->look_us <= now)
      look_at(e, t, now);
  }
  for (t = e->line; t != NULL; t = t->later)
    look_again(e, t);
}

/* }======================================================================== */

/* {== Doing what is due =================================================== */

static void collect_ended (ub_engine *e) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(e->multi, &left)) != NULL) {
    ub_transfer *t = NULL;
    CURLcode result = message->data.result;
    CURL *easy = message->easy_handle;
    if (message->msg != CURLMSG_DONE)
      continue;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    ub_transfer_end(t, result);
    curl_multi_remove_handle(e->multi, easy);
  }
}

/* A timer that runs out too early costs one step, and is set anew then. Most
** deadlines are put off again and again, and so the timer is left alone. */
static void arm (ub_engine *e) {
  struct itimerspec at = {0};
  int64_t us = e->due_us < e->line_us ? e->due_us : e->line_us;
  if (us >= e->armed_us)
    return;
  at.it_value.tv_sec = us / UB_SECOND_US;
  at.it_value.tv_nsec = us % UB_SECOND_US * 1000;
  if (us == NOW)
    at.it_value.tv_nsec = 1;  /* zero would disarm it */
  timerfd_settime(e->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
  e->armed_us = us;
}

/* libcurl named no new deadline: either we were too early for its own clock,
** or there is none any more and it did not say so. It is asked ever more seldom. */
static void ask_deadline (ub_engine *e) {
  long ms = -1;
  curl_multi_timeout(e->multi, &ms);
  if (ms < 0) {
    e->due_us = NEVER;
    return;
  }
  e->due_us = ub_clock_us() + (ms * 1000 > e->again_us ? ms * 1000 : e->again_us);
  e->again_us = e->again_us < AGAIN_MOST ? e->again_us * 2 : AGAIN_MOST;
}

/* Let libcurl work on a socket, or on what is due. */
static void act (ub_engine *e, curl_socket_t fd, int flags) {
  int running;
  if (curl_multi_socket_action(e->multi, fd, flags, &running) != CURLM_OK)
    e->lost = 1;
}

/* libcurl lacked memory and may not have told of a socket, so that nobody would
** wait for it: let it tell of all. When it still lacks memory, it is asked later. */
static void find_lost (ub_engine *e) {
  int64_t later = ub_clock_us() + AGAIN_MOST;
  int running;
  e->lost = curl_multi_socket_all(e->multi, &running) != CURLM_OK;
  if (e->lost && e->due_us > later)
    e->due_us = later;
  collect_ended(e);
}

/* Tell libcurl that its deadline has passed. */
static void time_out (ub_engine *e) {
  e->due_changed = 0;
  act(e, CURL_SOCKET_TIMEOUT, 0);
  if (e->due_changed)
    e->again_us = AGAIN_LEAST;
  else
    ask_deadline(e);
}

static int is_due (const ub_engine *e) {
  return e->due_us == NOW || (e->due_us != NEVER && ub_clock_us() >= e->due_us);
}

void ub_engine_settle (ub_engine *e) {
  int round;
  collect_ended(e);
  serve_line(e);
  for (round = 0; round < ROUNDS && is_due(e); round++) {
    time_out(e);
    collect_ended(e);
  }
  if (e->lost)
    find_lost(e);
  arm(e);
}

static void serve (ub_engine *e, const struct epoll_event *event) {
  int flags = 0;
  uint64_t ticks;
  if (event->data.fd == e->timer_fd) {
    if (read(e->timer_fd, &ticks, sizeof ticks) == (ssize_t)sizeof ticks)
      e->armed_us = NEVER;
    return;
  }
  if (e->host_fds > 0 && host_place(e, event->data.fd) < e->host_fds) {
    e->heard = 1;
    return;
  }
  if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) flags |= CURL_CSELECT_IN;
  if (event->events & EPOLLOUT) flags |= CURL_CSELECT_OUT;
  if (event->events & EPOLLERR) flags |= CURL_CSELECT_ERR;
  act(e, event->data.fd, flags);
}

static void step (ub_engine *e) {
  struct epoll_event events[EVENTS];
  int count = epoll_wait(e->epoll_fd, events, EVENTS, 0), i;
  for (i = 0; i < count; i++)
    serve(e, &events[i]);
  ub_engine_settle(e);
}

int ub_engine_step (ub_engine *e) {
  ub_pipe_guard guard;
  if (!ub_engine_owned(e))
    return UB_ECLOSED;
  ub_pipe_guard_begin(&guard, e->guard_pipe);
  step(e);
  ub_pipe_guard_end(&guard);
  return UB_OK;
}

void ub_engine_wait (const ub_engine *e, int64_t us) {
  struct pollfd poll_fd = {e->epoll_fd, POLLIN, 0};
  struct timespec limit = {us / UB_SECOND_US, us % UB_SECOND_US * 1000};
  ppoll(&poll_fd, 1, us < 0 ? NULL : &limit, NULL);
}

/* }======================================================================== */

/* {== Opening and closing ================================================= */

static void drop_idle (ub_engine_idle *idle) {
  while (idle->count > 0)
    curl_easy_cleanup(idle->easy[--idle->count]);
}

static void drop_multi (ub_engine *e) {
  uint32_t i;
  for (i = 0; i < e->size; i++)
    if (e->places[i].transfer != NULL)
      ub_engine_cancel(e, e->places[i].transfer->id);
  drop_idle(&e->idle[0]);
  drop_idle(&e->idle[1]);
  if (e->multi != NULL)
    curl_multi_cleanup(e->multi);
}

static void drop_descriptors (ub_engine *e) {
  if (e->epoll_fd >= 0) { close(e->epoll_fd); ub_engine_open_now.descriptors--; }
  if (e->timer_fd >= 0) { close(e->timer_fd); ub_engine_open_now.descriptors--; }
}

/*
** What a forked child has of its parent's engines: libcurl would say goodbye on connections that
** are the parent's, so they stay as they are, and in sight, for they are not lost.
*/
static ub_engine *inherited;

static void keep_inherited (ub_engine *e) {
  e->inherited = inherited;
  inherited = e;
}

void ub_engine_close (ub_engine *e) {
  ub_pipe_guard guard;
  if (e == NULL)
    return;
  if (ub_engine_owned(e)) {
    ub_pipe_guard_begin(&guard, e->guard_pipe);
    drop_multi(e);
    ub_pipe_guard_end(&guard);
  }
  drop_descriptors(e);
  ub_engine_open_now.engines--;
  ub_engine_open_now.transfers -= e->active;
  if (!ub_engine_owned(e)) {
    keep_inherited(e);
    return;
  }
  ub_buf_fini(&e->handed);
  ub_urls_fini(&e->urls);
  ub_free(e->host_fd);
  ub_free(e->places);
  ub_free(e);
}

static int open_descriptors (ub_engine *e) {
  struct epoll_event event = {0};
  e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (e->epoll_fd >= 0) ub_engine_open_now.descriptors++;
  e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (e->timer_fd >= 0) ub_engine_open_now.descriptors++;
  event.events = EPOLLIN;
  event.data.fd = e->timer_fd;
  if (e->epoll_fd < 0 || e->timer_fd < 0 ||
      epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->timer_fd, &event) != 0)
    return UB_ENETWORK;
  return UB_OK;
}

static int open_multi (ub_engine *e) {
  pthread_once(&once, global_init);
  e->multi = global_result == CURLE_OK ? curl_multi_init() : NULL;
  if (e->multi == NULL)
    return UB_ENOMEM;
  curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
  curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
  curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
  curl_multi_setopt(e->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
  curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS);
  return UB_OK;
}

ub_engine *ub_engine_open (int *err) {
  ub_engine *e = ub_alloc(sizeof *e);
  *err = UB_ENOMEM;
  if (e == NULL)
    return NULL;
  memset(e, 0, sizeof *e);
  e->epoll_fd = e->timer_fd = -1;
  e->process = ub_process_mark();
  e->due_us = e->armed_us = e->line_us = NEVER;
  e->free_place = UINT32_MAX;
  e->again_us = AGAIN_LEAST;
  ub_buf_init(&e->handed);
  ub_engine_open_now.engines++;
  *err = open_descriptors(e);
  if (*err == UB_OK)
    *err = open_multi(e);
  if (*err == UB_OK)
    return e;
  ub_engine_close(e);
  return NULL;
}

int ub_engine_owned (const ub_engine *e) {
  return e->process == ub_process_mark();
}

int ub_engine_fd (const ub_engine *e) {
  return e->epoll_fd;
}

int64_t ub_engine_active (const ub_engine *e) {
  return e->active;
}

/* }======================================================================== */

