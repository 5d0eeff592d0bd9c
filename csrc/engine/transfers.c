/*
** transfers.c: the engine's requests: their places, and the news that they bring.
*/
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "engine/engine_inner.h"
#include "engine/pipe_guard.h"

/* {== Transfers and their places ========================================== */

#define PLACE_BITS 20  /* an id is a sequence number and a place */
#define MOST_PLACES ((uint32_t)1 << PLACE_BITS)

/* Make sure that one place is free. */
static int grow (ub_engine *e) {
  uint32_t size = e->size == 0 ? 16 : e->size * 2, i;
  ub_engine_place *places;
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
  ub_engine_open_now.transfers++;
}

static ub_transfer *find (const ub_engine *e, uint64_t id) {
  uint64_t i = id & (MOST_PLACES - 1);
  ub_transfer *t = i < e->size ? e->places[i].transfer : NULL;
  return t != NULL && t->id == id ? t : NULL;
}

static CURL *get_easy (ub_engine *e, int streams) {
  ub_engine_idle *idle = &e->idle[streams];
  return idle->count > 0 ? idle->easy[--idle->count] : ub_transfer_easy(streams);
}

static void put_easy (ub_engine *e, CURL *easy, int streams) {
  ub_engine_idle *idle = &e->idle[streams];
  if (easy != NULL && idle->count < UB_IDLE_EASY)
    idle->easy[idle->count++] = easy;
  else
    curl_easy_cleanup(easy);
}

/* Forget a transfer that is no longer in the multi handle. */
static void drop (ub_engine *e, ub_transfer *t) {
  uint32_t i = (uint32_t)(t->id & (MOST_PLACES - 1));
  ub_url *url = t->url;
  int streams = t->streams;
  e->places[i].transfer = NULL;
  e->places[i].next_free = e->free_place;
  e->free_place = i;
  e->active--;
  ub_engine_open_now.transfers--;
  ub_engine_unlist(e, t);
  ub_engine_leave_line(t);
  put_easy(e, ub_transfer_free(t), streams);
  ub_url_give(url);
}

/* }======================================================================== */

/* {== Connections that keep silent ======================================== */

/*
** Over HTTP/2 all requests to a server share one connection. Where whoever is at its other end
** hangs, or has gone without a word, libcurl would put each new one on it as long as others wait
** there, though a new connection would lead to somebody who is well. So one that is left without a
** byte, while nothing at all has come over its connection since it was sent, puts that in doubt:
** until it is heard again, or nobody uses it any more, requests for the same URL go out over
** HTTP/1.1, and so on others.
*/
#define SILENCE_US UB_SECOND_US  /* less says nothing */

void ub_engine_hear (ub_transfer *t, int64_t now_us) {
  ub_engine_ear *ear = &t->engine->ears[t->port > 0 ? t->port % UB_EARS : 0];
  ear->port = t->port;
  ear->us = now_us;
}

static int64_t heard_us (const ub_engine *e, int port) {
  const ub_engine_ear *ear = &e->ears[port % UB_EARS];
  return ear->port == port ? ear->us : 0;
}

static void note_silence (ub_engine *e, ub_transfer *t) {
  int64_t now = ub_clock_us();
  if (t->url == NULL || t->port <= 0 || t->first_us != 0 || now - t->sent_us < SILENCE_US ||
      heard_us(e, t->port) >= t->sent_us)
    return;
  t->url->doubted = t->port;
  t->url->doubted_us = now;
}

static int is_used (const ub_engine *e, int port) {
  uint32_t i;
  for (i = 0; i < e->size; i++) {
    const ub_transfer *t = e->places[i].transfer;
    if (t != NULL && !t->ended && t->port == port)
      return 1;
  }
  return 0;
}

static int is_doubted (const ub_engine *e, ub_url *url) {
  if (url->doubted != 0 &&
      (heard_us(e, url->doubted) > url->doubted_us || !is_used(e, url->doubted)))
    url->doubted = 0;
  return url->doubted != 0;
}

/* }======================================================================== */

/* {== Beginning and leaving =============================================== */

static void set_url (ub_engine *e, ub_transfer *t, const char *text) {
  t->url = ub_urls_take(&e->urls, text);
  if (t->url == NULL)
    return;
  curl_easy_setopt(t->easy, CURLOPT_CURLU, t->url->parts);
  if (is_doubted(e, t->url)) {
    t->marked = 1;
    curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  }
}

static int start (ub_engine *e, const ub_request *request, uint64_t *id) {
  int err = grow(e);
  CURL *easy = err == UB_OK ? get_easy(e, request->streams) : NULL;
  ub_transfer *t = NULL;
  if (easy != NULL)
    t = ub_transfer_new(request, easy, &err);
  if (t == NULL) {
    curl_easy_cleanup(easy);
    return err == UB_OK ? UB_ENOMEM : err;
  }
  set_url(e, t, request->url);
  settle_in(e, t);
  ub_engine_line_up(e, t);
  if (curl_multi_add_handle(e->multi, easy) != CURLM_OK) {
    drop(e, t);
    return UB_ENOMEM;
  }
  *id = t->id;
  ub_engine_settle(e);
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
  note_silence(e, t);
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
  ub_engine_settle(e);
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
  ub_engine_settle(e);
  if (result != CURLE_OK && !t->ended) {
    curl_multi_remove_handle(e->multi, t->easy);
    ub_transfer_end(t, result);
    ub_engine_settle(e);
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
  news->resent = t->sent > 1 && t->most_sent > 1;
  news->lasting = t->lasting;
  news->http2 = version == CURL_HTTP_VERSION_2_0;
  drop(e, t);
}

/* Hand out a whole buffer: what the transfer receives, or that it is freed, while
** the caller copies harms nothing. What waits for its next byte holds no memory. */
static void hand_over (ub_engine *e, ub_buf *from, ub_news *news) {
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
  news->resent = t->sent > 1 && t->most_sent > 1;
  hand_over(e, &t->head, news);
}

/* Are there data to take now? Those of a gathered body that has failed nobody wants. */
static int has_data (const ub_transfer *t) {
  if (t->gathers && (!t->ended || t->err != UB_OK))
    return 0;
  return ub_buf_length(&t->data) > 0;
}

int ub_engine_gather (ub_engine *e, uint64_t id, const char *bytes, size_t length) {
  ub_transfer *t = find(e, id);
  ub_buf all;
  int err;
  if (t == NULL || !ub_engine_owned(e))
    return UB_ECANCELLED;
  ub_buf_init(&all);
  err = ub_buf_append(&all, bytes, length);
  if (err == UB_OK)
    err = ub_buf_append(&all, ub_buf_bytes(&t->data), ub_buf_length(&t->data));
  if (err != UB_OK) {
    ub_buf_fini(&all);
    return err;
  }
  ub_buf_fini(&t->data);
  t->data = all;
  t->gathers = 1;
  if (t->paused)
    resume(e, t);
  return UB_OK;
}

void ub_engine_take (ub_engine *e, uint64_t id, ub_news *news) {
  ub_transfer *t = find(e, id);
  memset(news, 0, sizeof *news);
  ub_buf_fini(&e->handed);
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
  if (has_data(t))
    take_data(e, t, news);
  else if (t->ended)
    take_end(e, t, news);
}

/* }======================================================================== */
