/*
** link.c: requests, and the descriptor that tells of them.
*/
#include "redis/link_inner.h"

#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/process.h"

#define ROUNDS 64  /* of one step, before others get their turn */
#define FIRST_SIZE 16
#define PLACE_BITS 16  /* of an id: UB_LINK_REQUESTS */

ub_link_totals ub_link_open_now;

ub_link_totals ub_link_count (void) {
  return ub_link_open_now;
}

/* {== Requests ============================================================ */

void ub_link_push (ub_link_queue *q, ub_link_request *r) {
  r->next = NULL;
  if (q->last != NULL)
    q->last->next = r;
  else
    q->first = r;
  q->last = r;
}

ub_link_request *ub_link_pop (ub_link_queue *q) {
  ub_link_request *r = q->first;
  if (r == NULL)
    return NULL;
  q->first = r->next;
  if (q->first == NULL)
    q->last = NULL;
  return r;
}

static ub_link_request **place_of (ub_link *l, uint64_t id) {
  uint32_t place = (uint32_t)(id & (UB_LINK_REQUESTS - 1));
  if (place >= l->size || l->places[place] == NULL || l->places[place]->id != id)
    return NULL;
  return &l->places[place];
}

/* A place that is free; UINT32_MAX: there is no memory, or there are too many. */
static uint32_t free_place (ub_link *l) {
  uint32_t i, size = l->size == 0 ? FIRST_SIZE : l->size * 2;
  ub_link_request **grown;
  if (l->active < l->size) {
    i = (uint32_t)(l->sequence % l->size);  /* they mostly end in the order they came in */
    while (l->places[i] != NULL)
      i = (i + 1) % l->size;
    return i;
  }
  if (size > UB_LINK_REQUESTS)
    return UINT32_MAX;
  grown = ub_realloc(l->places, size * sizeof(*grown));
  if (grown == NULL)
    return UINT32_MAX;
  memset(grown + l->size, 0, (size - l->size) * sizeof(*grown));
  l->places = grown;
  i = l->size;
  l->size = size;
  return i;
}

static ub_link_request *new_request (ub_link *l, int *err) {
  uint32_t place = free_place(l);
  ub_link_request *r;
  *err = l->active >= UB_LINK_REQUESTS ? UB_EFULL : UB_ENOMEM;
  if (place == UINT32_MAX)
    return NULL;
  r = ub_alloc(sizeof *r);
  if (r == NULL)
    return NULL;
  memset(r, 0, sizeof *r);
  l->sequence++;
  r->id = l->sequence << PLACE_BITS | place;
  r->link = l;
  l->places[place] = r;
  l->active++;
  *err = UB_OK;
  return r;
}

static void free_request (ub_link_request *r) {
  ub_link *l = r->link;
  l->places[r->id & (UB_LINK_REQUESTS - 1)] = NULL;
  l->active--;
  if (r->command != NULL)
    redisFreeCommand(r->command);
  ub_reply_free(r->reply);
  ub_free(r);
}

void ub_link_end (ub_link_request *r, redisReply *reply, int err) {
  ub_link *l = r->link;
  l->waiting--;
  l->bytes -= r->length;
  l->heard_us = ub_clock_us();
  r->ended = 1;
  r->reply = reply;
  r->err = err;
  if (r->forgotten) {
    free_request(r);
    return;
  }
  r->listed = 1;
  ub_link_push(&l->ended, r);
}

int ub_link_send (ub_link *l, int count, const char *const *words, const size_t *lengths,
                  int waits, uint64_t *id) {
  ub_link_request *r;
  int err;
  long long length;
  if (!ub_link_owned(l))
    return UB_ECLOSED;
  r = new_request(l, &err);
  if (r == NULL)
    return err;
  length = redisFormatCommandArgv(&r->command, count, (const char **)(uintptr_t)words, lengths);
  if (length < 0)
    r->command = NULL;
  err = length < 0 ? UB_ENOMEM : ub_connection_open(l);
  if (err != UB_OK) {
    free_request(r);
    return err;
  }
  r->length = (size_t)length;
  if (l->waiting++ == 0)
    l->heard_us = ub_clock_us();
  l->bytes += r->length;
  ub_link_push(&l->line, r);
  *id = r->id;
  ub_connection_flush(l, waits && l->waiting > 1);
  return UB_OK;
}

uint64_t ub_link_next (ub_link *l) {
  ub_link_request *r;
  while ((r = ub_link_pop(&l->ended)) != NULL) {
    r->listed = 0;
    if (!r->forgotten)
      return r->id;
    free_request(r);
  }
  return 0;
}

ub_answer ub_link_take (ub_link *l, uint64_t id) {
  ub_link_request **place = place_of(l, id), *r;
  ub_answer answer = {1, UB_ECANCELLED, NULL};
  if (place == NULL || (*place)->forgotten)
    return answer;
  r = *place;
  answer.ended = r->ended;
  if (!r->ended)
    return answer;
  answer.err = r->err;
  answer.reply = r->reply;
  r->reply = NULL;
  if (r->listed)
    r->forgotten = 1;  /* 'next' comes across it */
  else
    free_request(r);
  return answer;
}

void ub_link_forget (ub_link *l, uint64_t id) {
  ub_link_request **place = place_of(l, id), *r;
  if (place == NULL)
    return;
  r = *place;
  r->forgotten = 1;
  if (r->ended && !r->listed)
    free_request(r);
}

/* }======================================================================== */

/* {== Working ============================================================= */

void ub_link_step (ub_link *l) {
  struct epoll_event events[2];
  int round, count, i;
  if (!ub_link_owned(l))
    return;
  for (round = 0; round < ROUNDS; round++) {
    count = epoll_wait(l->epoll_fd, events, 2, 0);
    if (count <= 0)
      return;
    for (i = 0; i < count; i++)
      ub_connection_serve(l, events[i].data.fd, events[i].events);
    if (l->waiting == 0)
      return;  /* nothing more is to come */
  }
}

void ub_link_drop (ub_link *l, int err) {
  if (ub_link_owned(l))
    ub_connection_close(l, err, 0);
}

int ub_link_lost (ub_link *l, int *served) {
  int err = l->lost;
  *served = l->lost_served;
  l->lost = UB_OK;
  return err;
}

ub_link_state ub_link_look (const ub_link *l) {
  ub_link_state s = {0};
  s.connected = l->context != NULL && (l->context->c.flags & REDIS_CONNECTED) != 0;
  s.waiting = l->waiting;
  s.bytes = l->bytes;
  if (l->waiting > 0)
    s.silent_us = ub_clock_us() - l->heard_us;
  return s;
}

/* }======================================================================== */

/* {== Beginning and ending ================================================ */

int ub_link_owned (const ub_link *l) {
  return l->process == ub_process_mark();
}

int ub_link_fd (const ub_link *l) {
  return ub_link_owned(l) ? l->epoll_fd : -1;
}

/* Nobody will ask about any of them. */
static void forget_all (ub_link *l) {
  uint32_t i;
  while (ub_link_next(l) != 0) {}
  for (i = 0; i < l->size; i++)
    if (l->places[i] != NULL)
      free_request(l->places[i]);
}

/* Let go of what this process or its parent has open. */
static void let_go (ub_link *l) {
  if (l->process == 0)
    return;
  ub_connection_close(l, UB_ECLOSED, !ub_link_owned(l));
  forget_all(l);
  close(l->epoll_fd);
  ub_link_open_now.descriptors--;
  l->epoll_fd = -1;
  l->process = 0;
  l->lost = UB_OK;
}

int ub_link_begin (ub_link *l) {
  if (ub_link_owned(l))
    return UB_OK;
  let_go(l);
  l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (l->epoll_fd < 0)
    return UB_ENETWORK;
  ub_link_open_now.descriptors++;
  l->process = ub_process_mark();
  return UB_OK;
}

/* Copy the text to '*at', which moves on. */
static const char *keep (char **at, const char *text) {
  char *copy = *at;
  if (text == NULL)
    return NULL;
  strcpy(copy, text);
  *at += strlen(text) + 1;
  return copy;
}

static size_t room_for (const char *text) {
  return text != NULL ? strlen(text) + 1 : 0;
}

ub_link *ub_link_new (const ub_link_config *config, int *err) {
  size_t texts = room_for(config->path) + room_for(config->host) + room_for(config->user) +
                 room_for(config->password);
  ub_link *l = ub_alloc(sizeof *l + texts);
  char *at;
  *err = UB_ENOMEM;
  if (l == NULL)
    return NULL;
  memset(l, 0, sizeof *l);
  at = l->texts;
  l->config = *config;
  l->config.path = keep(&at, config->path);
  l->config.host = keep(&at, config->host);
  l->config.user = keep(&at, config->user);
  l->config.password = keep(&at, config->password);
  l->epoll_fd = -1;
  ub_link_open_now.links++;
  *err = UB_OK;
  return l;
}

void ub_link_free (ub_link *l) {
  if (l == NULL)
    return;
  let_go(l);
  ub_link_open_now.links--;
  ub_free(l->places);
  ub_free(l);
}

/* }======================================================================== */
