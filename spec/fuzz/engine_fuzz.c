/*
** engine_fuzz.c: any bytes as a server's answer, through libcurl, to the engine.
**
**   input:  [ how it ends | cuts: count, sizes | window, kind | taking | cancel ] answer …
**
** Two requests one after the other, the second over the first one's connection
** where that was kept. Each must end exactly once, its news in order, or not be
** heard of again when cancelled; then nothing may be left.
*/
#include "fuzz.h"

#include <poll.h>

#include "../support/loopback.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "engine/engine.h"
#include "engine/header.h"

#define BODY "{\"q\":1}"
#define MOST_CUTS 8
#define MOST_BYTES 20000
#define PATIENCE_US 15000000  /* a transfer that takes longer hangs */
#define IDLE_ROUNDS 8         /* without news, before the server gives up */

typedef struct call {
  uint64_t id;
  int heads, ends;
  uint64_t got;
  int taking;     /* news are taken in each so many rounds */
  int leave_at;   /* news until it is cancelled; 0: never */
  int news_count;
} call;

static loopback server;

int LLVMFuzzerInitialize (int *argc, char ***argv);

int LLVMFuzzerInitialize (int *argc, char ***argv) {
  int err;
  (void)argc;
  (void)argv;
  must(loopback_open(&server) == 0);
  ub_engine_close(ub_engine_open(&err));  /* libcurl's own start is no leak */
  return 0;
}

static void submit (ub_engine *e, size_t window, int streams, call *c) {
  static const char *const headers[] = {"Content-Type: application/json", NULL};
  ub_request request = {0};
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%d/", server.port);
  request.url = url;
  request.method = "POST";
  request.headers = headers;
  request.body = BODY;
  request.body_size = strlen(BODY);
  request.window_bytes = window;
  request.streams = streams;
  request.most_bytes = MOST_BYTES;
  request.proxy = "";
  must(ub_engine_submit(e, &request, &c->id) == UB_OK);
  must(c->id > 0 && c->id < (uint64_t)1 << 53);
}

static void check_head (const ub_news *news) {
  ub_header h;
  size_t at = 0;
  must(news->status >= 200 && news->status <= 999);
  must(news->bytes != NULL);
  while (ub_header_next(news->bytes, news->length, &at, &h))
    must(h.name_length > 0);
}

static void check_end (const ub_news *news) {
  must(news->err >= UB_OK && news->err < UB_ERRORS_END);
  must(news->err != UB_ENOMEM && news->err != UB_EINVALID && news->err != UB_ETLS);
  must(news->phase != NULL && news->message != NULL);
  must(strlen(news->message) < 300);
  must(news->first_us >= 0 && news->total_us >= news->first_us);
}

/* Takes one piece of news; 0 when there is none. */
static int take (ub_engine *e, call *c) {
  ub_news news;
  ub_engine_take(e, c->id, &news);
  must(c->ends == 0 || (news.kind == UB_NEWS_END && news.err == UB_ECANCELLED));
  switch (news.kind) {
    case UB_NEWS_HEAD:
      must(c->heads++ == 0 && c->got == 0);
      check_head(&news);
      return 1;
    case UB_NEWS_DATA:
      must(c->heads == 1 && news.length > 0);
      c->got += news.length;
      must(c->got <= MOST_BYTES);
      return 1;
    case UB_NEWS_END:
      check_end(&news);
      must(news.err != UB_OK || c->heads == 1);
      c->ends++;
      return 1;
    default:
      return 0;
  }
}

static void hear (ub_engine *e, call *c) {
  while (c->ends == 0 && take(e, c)) {
    if (++c->news_count == c->leave_at && c->ends == 0) {
      ub_engine_cancel(e, c->id);
      must(take(e, c) == 1 && c->ends == 1);  /* it is not known any more */
    }
  }
}

/* Step both sides until the transfer is over; the ids that are named are ours. */
static void drive (ub_engine *e, call *c) {
  int64_t limit = ub_clock_us() + PATIENCE_US;
  int round, quiet = 0;
  for (round = 1; c->ends == 0; round++) {
    uint64_t id;
    int before = c->news_count;
    loopback_step(&server, BODY);
    must(ub_engine_step(e) == UB_OK);
    while ((id = ub_engine_next(e)) != 0)
      must(id == c->id);
    if (round % c->taking == 0)
      hear(e, c);
    quiet = c->news_count == before ? quiet + 1 : 0;
    if (quiet > IDLE_ROUNDS && server.answered > 0)
      loopback_drop(&server);  /* it waits for more than there is */
    if (quiet > IDLE_ROUNDS - 2 && server.sent == 0)  /* it is not at it */
      ub_engine_wait(e, 1000);
    must(ub_clock_us() < limit);
  }
}

static void read_cuts (fuzz_input *in, uint8_t *cuts) {
  size_t count = fuzz_byte(in) % MOST_CUTS, i;
  for (i = 0; i < count; i++) {
    cuts[i] = fuzz_byte(in);
    cuts[i] = cuts[i] > 0 ? cuts[i] : 1;
  }
  loopback_cut(&server, cuts, count);
}

static void run (fuzz_input *in, ub_engine *e) {
  loopback_end end = (loopback_end)(fuzz_byte(in) % 3);
  uint8_t cuts[MOST_CUTS];
  size_t window;
  int how, taking, leave_at, i;
  read_cuts(in, cuts);
  how = fuzz_byte(in);
  window = (size_t)1 << how % 16;
  taking = 1 + fuzz_byte(in) % 4;
  leave_at = fuzz_byte(in) % 16;
  loopback_answer(&server, in->at, fuzz_left(in), end);
  for (i = 0; i < 2; i++) {
    call c = {0};
    c.taking = taking;
    c.leave_at = leave_at;
    submit(e, window, how >> 7, &c);
    drive(e, &c);
    must(c.ends == 1 && ub_engine_active(e) == 0);
    must(ub_engine_next(e) == 0);
  }
}

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length) {
  fuzz_input in = {bytes, bytes + length};
  int64_t live = ub_alloc_live();
  ub_engine_totals totals;
  int err;
  ub_engine *e = ub_engine_open(&err);
  must(e != NULL);
  run(&in, e);
  ub_engine_close(e);
  loopback_answer(&server, NULL, 0, LOOPBACK_CLOSE);
  totals = ub_engine_count();
  must(totals.engines == 0 && totals.transfers == 0 && totals.descriptors == 0);
  must(ub_alloc_live() == live);
  return 0;
}
