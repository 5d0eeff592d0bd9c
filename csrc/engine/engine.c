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
#include "engine/engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "engine/pipe_guard.h"
#include "base/process.h"
#include "engine/transfer.h"

#define EVENTS 64           /* taken from the epoll at once */
#define ROUNDS 32           /* of work before others get their turn */
#define IDLE_EASY 64        /* handles kept for the next request */
#define IDLE_CONNECTIONS 512L
#define AGAIN_LEAST 1000    /* microseconds; see 'ask_deadline' */
#define AGAIN_MOST 64000
#define NEVER INT64_MAX
#define NOW 0  /* whatever the clock says */

typedef struct place {
  ub_transfer *transfer;  /* NULL: free */
  uint32_t next_free;
} place;

struct ub_engine {
  CURLM *multi;
  int epoll_fd, timer_fd;
  int64_t process;     /* the mark of the one that opened it */
  int64_t due_us;      /* when libcurl wants to be called; NEVER */
  int64_t armed_us;    /* what the timer is set to; NEVER */
  int64_t again_us;    /* the next wait when libcurl was called too early */
  int due_changed;     /* libcurl named a deadline since this was cleared */
  int lost;            /* a socket may have been lost: see 'find_lost' */
  int guard_pipe;      /* TLS was used: OpenSSL may raise SIGPIPE */
  ub_transfer *ready, *last_ready;
  place *places;
  uint32_t size, free_place, active;
  uint64_t sequence;
  ub_buf handed;       /* the data that were taken last */
  CURL *idle[IDLE_EASY];
  int idle_count;
};

static ub_engine_totals totals;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void global_init (void) {
  global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

ub_engine_totals ub_engine_count (void) {
  return totals;
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

static void unlist (ub_engine *e, ub_transfer *t) {
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
  int64_t us = e->due_us;
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

static void settle (ub_engine *e) {
  int round;
  collect_ended(e);
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
  if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) flags |= CURL_CSELECT_IN;
  if (event->events & EPOLLOUT) flags |= CURL_CSELECT_OUT;
  if (event->events & EPOLLERR) flags |= CURL_CSELECT_ERR;
  act(e, event->data.fd, flags);
}

static void step (ub_engine *e) {
  struct epoll_event events[EVENTS];
  int round, count = EVENTS, i;
  for (round = 0; round < ROUNDS && count == EVENTS; round++) {
    count = epoll_wait(e->epoll_fd, events, EVENTS, 0);
    for (i = 0; i < count; i++)
      serve(e, &events[i]);
  }
  settle(e);
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

static void drop_multi (ub_engine *e) {
  uint32_t i;
  for (i = 0; i < e->size; i++)
    if (e->places[i].transfer != NULL)
      ub_engine_cancel(e, e->places[i].transfer->id);
  while (e->idle_count > 0)
    curl_easy_cleanup(e->idle[--e->idle_count]);
  if (e->multi != NULL)
    curl_multi_cleanup(e->multi);
}

static void drop_descriptors (ub_engine *e) {
  if (e->epoll_fd >= 0) { close(e->epoll_fd); totals.descriptors--; }
  if (e->timer_fd >= 0) { close(e->timer_fd); totals.descriptors--; }
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
  totals.engines--;
  totals.transfers -= e->active;
  if (!ub_engine_owned(e))
    return;  /* the rest is the parent's: see engine.h */
  ub_buf_fini(&e->handed);
  ub_free(e->places);
  ub_free(e);
}

static int open_descriptors (ub_engine *e) {
  struct epoll_event event = {0};
  e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (e->epoll_fd >= 0) totals.descriptors++;
  e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (e->timer_fd >= 0) totals.descriptors++;
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
  e->due_us = e->armed_us = NEVER;
  e->free_place = UINT32_MAX;
  e->again_us = AGAIN_LEAST;
  ub_buf_init(&e->handed);
  totals.engines++;
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

/* {== Transfers and their places ========================================== */

#define PLACE_BITS 20  /* an id is a sequence number and a place */
#define MOST_PLACES ((uint32_t)1 << PLACE_BITS)

/* Make sure that one place is free. */
static int grow (ub_engine *e) {
  uint32_t size = e->size == 0 ? 16 : e->size * 2, i;
  place *places;
  if (e->free_place != UINT32_MAX)
    return UB_OK;
  places = size > MOST_PLACES ? NULL : ub_realloc(e->places, size * sizeof *places);
  if (places == NULL)
    return UB_ENOMEM;
  for (i = size; i-- > e->size;) {
    places[i].transfer = NULL;
    places[i].next_free = e->free_place;
    e->free_place = i;
  }
  e->places = places;
  e->size = size;
  return UB_OK;
}

static void settle_in (ub_engine *e, ub_transfer *t) {
  uint32_t i = e->free_place;
  e->free_place = e->places[i].next_free;
  e->places[i].transfer = t;
  t->id = ++e->sequence << PLACE_BITS | i;
  t->engine = e;
  e->active++;
  totals.transfers++;
}

static ub_transfer *find (const ub_engine *e, uint64_t id) {
  uint64_t i = id & (MOST_PLACES - 1);
  ub_transfer *t = i < e->size ? e->places[i].transfer : NULL;
  return t != NULL && t->id == id ? t : NULL;
}

static CURL *get_easy (ub_engine *e) {
  return e->idle_count > 0 ? e->idle[--e->idle_count] : ub_transfer_easy();
}

static void put_easy (ub_engine *e, CURL *easy) {
  if (easy != NULL && e->idle_count < IDLE_EASY)
    e->idle[e->idle_count++] = easy;
  else
    curl_easy_cleanup(easy);
}

/* Forget a transfer that is no longer in the multi handle. */
static void drop (ub_engine *e, ub_transfer *t) {
  uint32_t i = (uint32_t)(t->id & (MOST_PLACES - 1));
  e->places[i].transfer = NULL;
  e->places[i].next_free = e->free_place;
  e->free_place = i;
  e->active--;
  totals.transfers--;
  unlist(e, t);
  put_easy(e, ub_transfer_free(t));
}

static int start (ub_engine *e, const ub_request *request, uint64_t *id) {
  int err = grow(e);
  CURL *easy = err == UB_OK ? get_easy(e) : NULL;
  ub_transfer *t = NULL;
  if (easy != NULL)
    t = ub_transfer_new(request, easy, &err);
  if (t == NULL) {
    curl_easy_cleanup(easy);
    return err == UB_OK ? UB_ENOMEM : err;
  }
  settle_in(e, t);
  if (curl_multi_add_handle(e->multi, easy) != CURLM_OK) {
    drop(e, t);
    return UB_ENOMEM;
  }
  *id = t->id;
  settle(e);
  return UB_OK;
}

int ub_engine_submit (ub_engine *e, const ub_request *request, uint64_t *id) {
  ub_pipe_guard guard;
  int err;
  if (!ub_engine_owned(e))
    return UB_ECLOSED;
  if (strncasecmp(request->url, "https:", 6) == 0)
    e->guard_pipe = 1;
  ub_pipe_guard_begin(&guard, e->guard_pipe);
  err = start(e, request, id);
  ub_pipe_guard_end(&guard);
  return err;
}

/*
** Leave an answer half-way. Over HTTP/2 libcurl only notes the stream's reset, and
** sends it with the connection's next bytes, whenever that is; meanwhile the server
** works on. So the connection is closed if nobody else uses it.
*/
static void leave (ub_engine *e, ub_transfer *t) {
  t->marked = 1;
  curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
  curl_multi_remove_handle(e->multi, t->easy);
}

void ub_engine_cancel (ub_engine *e, uint64_t id) {
  ub_transfer *t = find(e, id);
  ub_pipe_guard guard;
  if (t == NULL || !ub_engine_owned(e))
    return;
  ub_pipe_guard_begin(&guard, e->guard_pipe);
  if (!t->ended)
    leave(e, t);
  drop(e, t);
  settle(e);
  ub_pipe_guard_end(&guard);
}

/* }======================================================================== */

/* {== News ================================================================ */

uint64_t ub_engine_next (ub_engine *e) {
  ub_transfer *t = e->ready;
  if (t == NULL || !ub_engine_owned(e))
    return 0;
  e->ready = t->next;
  if (e->ready == NULL)
    e->last_ready = NULL;
  t->listed = 0;
  return t->id;
}

/* All taken from a paused transfer: let it go on. It may deliver at once, and
** what is refused then ends it: libcurl only says so here. */
static void resume (ub_engine *e, ub_transfer *t) {
  ub_pipe_guard guard;
  CURLcode result;
  t->paused = 0;
  if (t->ended)
    return;
  ub_pipe_guard_begin(&guard, e->guard_pipe);
  t->resuming = 1;
  result = curl_easy_pause(t->easy, CURLPAUSE_CONT);
  t->resuming = 0;
  settle(e);
  if (result != CURLE_OK && !t->ended) {
    curl_multi_remove_handle(e->multi, t->easy);
    ub_transfer_end(t, result);
    settle(e);
  }
  ub_pipe_guard_end(&guard);
}

static void take_end (ub_engine *e, ub_transfer *t, ub_news *news) {
  static char message[CURL_ERROR_SIZE];  /* outlives the transfer; one thread */
  long reused = 1, version = 0;
  curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &reused);
  curl_easy_getinfo(t->easy, CURLINFO_HTTP_VERSION, &version);
  strncpy(message, t->message, sizeof message - 1);
  news->kind = UB_NEWS_END;
  news->err = t->err;
  news->phase = t->phase;
  news->message = message;
  news->first_us = t->first_us > 0 ? t->first_us - t->started_us : 0;
  news->total_us = t->ended_us - t->started_us;
  news->reused = reused == 0;
  news->resent = t->sent > 1;
  news->lasting = t->lasting;
  news->http2 = version == CURL_HTTP_VERSION_2_0;
  drop(e, t);
}

/* Hand out a whole buffer: what the transfer receives, or that it is freed, while
** the caller copies harms nothing. What waits for its next byte holds no memory. */
static void hand_over (ub_engine *e, ub_buf *from, ub_news *news) {
  ub_buf_fini(&e->handed);
  e->handed = *from;
  ub_buf_init(from);
  news->bytes = e->handed.bytes != NULL ? ub_buf_bytes(&e->handed) : "";
  news->length = ub_buf_length(&e->handed);
}

static void take_data (ub_engine *e, ub_transfer *t, ub_news *news) {
  news->kind = UB_NEWS_DATA;
  hand_over(e, &t->data, news);
}

static void take_head (ub_engine *e, ub_transfer *t, ub_news *news) {
  t->head_taken = 1;
  news->kind = UB_NEWS_HEAD;
  news->status = t->status;
  news->resent = t->sent > 1;
  hand_over(e, &t->head, news);
}

void ub_engine_take (ub_engine *e, uint64_t id, ub_news *news) {
  ub_transfer *t = find(e, id);
  memset(news, 0, sizeof *news);
  if (t == NULL || !ub_engine_owned(e)) {
    news->kind = UB_NEWS_END;
    news->err = UB_ECANCELLED;
    news->phase = "connect";
    news->message = "no such transfer";
    return;
  }
  if (t->head_done && !t->head_taken) {
    take_head(e, t, news);
    return;
  }
  if (t->paused && ub_buf_length(&t->data) == 0)
    resume(e, t);
  if (ub_buf_length(&t->data) > 0)
    take_data(e, t, news);
  else if (t->ended)
    take_end(e, t, news);
}

/* }======================================================================== */
