/*
** sse_fuzz.c: the events of a stream are the same however it is cut.
**
**   input:  [ limit | failure | cuts: count, sizes ] stream …
**
** The stream is parsed in one piece, and in pieces of the sizes named. With a
** failure named, one allocation of the second run fails: then it either gives
** the same, or the events that come before and UB_ENOMEM. A piece is freed once
** 'next' gave 0, so that a pointer into it that is used later is seen.
*/
#include "fuzz.h"

#include "base/alloc.h"
#include "base/err.h"
#include "parts/sse.h"

#define MOST_CUTS 16

typedef struct result {
  char *bytes;      /* of all events, each field with its length before it */
  size_t length, room;
  size_t events, torn;
  int64_t comments;
  int err;
} result;

static void add (result *r, const void *bytes, size_t length) {
  if (r->length + length > r->room) {
    r->room = (r->length + length) * 2;
    r->bytes = realloc(r->bytes, r->room);
    must(r->bytes != NULL);
  }
  if (length > 0)
    memcpy(r->bytes + r->length, bytes, length);
  r->length += length;
}

static void add_span (result *r, ub_sse_span span) {
  must(span.bytes != NULL);
  add(r, &span.length, sizeof span.length);
  add(r, span.bytes, span.length);
}

static void feed (ub_sse *p, const uint8_t *bytes, size_t length, result *r) {
  char *chunk = fuzz_copy(bytes, length);
  ub_sse_event event;
  if (ub_sse_feed(p, chunk, length) == UB_OK)
    while (ub_sse_next(p, &event)) {
      must(event.data.length + event.type.length + event.id.length <= p->limit);
      must(event.retry_ms >= UB_SSE_NO_RETRY && event.retry_ms <= 315576000000);
      must(memchr(event.id.bytes, '\0', event.id.length) == NULL);
      add_span(r, event.data);
      add_span(r, event.type);
      add_span(r, event.id);
      add(r, &event.retry_ms, sizeof event.retry_ms);
      r->events++;
    }
  free(chunk);
}

static void finish (ub_sse *p, int64_t live, result *r) {
  size_t again;
  if (ub_sse_error(p) != UB_OK)
    must(ub_alloc_live() == live);  /* a failed parser holds nothing */
  r->comments = ub_sse_comments(p);
  r->err = ub_sse_finish(p, &r->torn);
  must(ub_sse_finish(p, &again) == r->err && again == r->torn);
  must(ub_sse_feed(p, "data: x\n\n", 9) != UB_OK);
  ub_sse_fini(p);
  ub_sse_fini(p);
  must(ub_alloc_live() == live);
}

static result parse (fuzz_input in, size_t limit, const uint8_t *cuts, size_t count) {
  result r = {0};
  int64_t live = ub_alloc_live();
  ub_sse p;
  size_t i;
  ub_sse_init(&p, limit);
  for (i = 0; fuzz_left(&in) > 0; i++) {
    size_t length = count > 0 ? cuts[i % count] % 64 : fuzz_left(&in);
    if (length == 0 && count > 0)  /* an empty piece, too, but not for ever */
      feed(&p, in.at, 0, &r);
    length = length == 0 ? 1 : length;
    length = length < fuzz_left(&in) ? length : fuzz_left(&in);
    feed(&p, in.at, length, &r);
    in.at += length;
  }
  finish(&p, live, &r);
  return r;
}

static void compare (const result *whole, const result *cut, int failing) {
  if (failing && cut->err == UB_ENOMEM) {
    must(cut->length <= whole->length);
    must(cut->length == 0 || memcmp(cut->bytes, whole->bytes, cut->length) == 0);
    return;
  }
  must(cut->events == whole->events && cut->length == whole->length);
  must(cut->length == 0 || memcmp(cut->bytes, whole->bytes, cut->length) == 0);
  must(cut->err == whole->err);
  must(cut->err != UB_OK || cut->torn == whole->torn);
  must(cut->err != UB_OK || cut->comments == whole->comments);
}

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length) {
  fuzz_input in = {bytes, bytes + length};
  size_t limit = (size_t)1 << fuzz_byte(&in) % 16;
  int failing = fuzz_byte(&in) % 32;  /* '@' and '`' are none */
  size_t count = fuzz_byte(&in) % MOST_CUTS, i;
  uint8_t cuts[MOST_CUTS] = {1};
  result whole, cut;
  for (i = 0; i < count; i++)
    cuts[i] = fuzz_byte(&in);
  whole = parse(in, limit, NULL, 0);
  ub_alloc_fail_at(failing);
  cut = parse(in, limit, cuts, count > 0 ? count : 1);
  ub_alloc_fail_at(0);
  compare(&whole, &cut, failing > 0);
  free(whole.bytes);
  free(cut.bytes);
  return 0;
}
