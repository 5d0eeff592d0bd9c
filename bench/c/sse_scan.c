/*
** sse_scan.c: the SSE parser of the core against a plain scan for lines.
**
**   sse_scan   prints, for each stream: its name, then MB/s of the scan and
**              of the parser (the quickest of turns taken one after the other)
**
** The scan is the least that any parser does: a memchr for each line's end,
** and a call back for each data line with a pointer into the chunk. It knows
** no CR, no field but data, no event of two lines, and loses what a chunk's
** end cuts. The parser is called back for just as many events.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "parts/sse.h"

#define EVENTS  4096
#define CHUNK   16384
#define TURNS   60

typedef struct stream {
  char *bytes;
  size_t length;
  size_t ends[EVENTS];  /* where each event ends */
} stream;

typedef struct tally {
  size_t calls, bytes;
} tally;

/* What both call back; not inlined, as a user's would not be. */
static __attribute__((noinline)) void on_data (tally *t, const char *bytes, size_t length) {
  t->calls++;
  t->bytes += length + (bytes[0] == '\0');
}

static void (*volatile call_back) (tally *, const char *, size_t) = on_data;

/* Chat events of 100 to 300 bytes, as a server of OpenAI's protocol sends them. */
static stream make (void) {
  static const char *const words[] = {" the", " rain", " stays", "\\u4eca", ".", " unbelievable"};
  stream s = {.bytes = malloc(EVENTS * 400)};
  unsigned i, seed = 1;
  if (s.bytes == NULL)
    exit(1);
  for (i = 0; i < EVENTS; i++) {
    seed = seed * 1103515245 + 12345;
    s.length += (size_t)sprintf(s.bytes + s.length,
      "data: {\"id\":\"%08x\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,"
      "\"delta\":{\"content\":\"%s\"}}]%.*s}\n\n", seed, words[(seed >> 16) % 6],
      (int)((seed >> 8) % 160), ",\"usage\":null,\"created\":1760000000,\"model\":\"deepseek-flash\","
      "\"system_fingerprint\":\"fp_0123456789abcdef0123456789abcdef0123456789abcdef0123456789\","
      "\"service_tier\":\"default\"");
    s.ends[i] = s.length;
  }
  return s;
}

static void scan (tally *t, const char *bytes, size_t length) {
  const char *end = bytes + length, *lf;
  for (; (lf = memchr(bytes, '\n', (size_t)(end - bytes))) != NULL; bytes = lf + 1)
    if (lf - bytes >= 6 && memcmp(bytes, "data: ", 6) == 0)
      call_back(t, bytes + 6, (size_t)(lf - bytes) - 6);
}

static void parse (tally *t, ub_sse *p, const char *bytes, size_t length) {
  ub_sse_event event;
  if (ub_sse_feed(p, bytes, length) != 0)
    exit(1);
  while (ub_sse_next(p, &event))
    call_back(t, event.data.bytes, event.data.length);
}

/* The whole stream, in chunks of a size or (0) of one event each. */
static void run (tally *t, const stream *s, size_t size, ub_sse *p) {
  size_t at = 0, i;
  for (i = 0; at < s->length; i++) {
    size_t length = size > 0 ? size : s->ends[i] - at;
    if (length > s->length - at)
      length = s->length - at;
    if (p != NULL)
      parse(t, p, s->bytes + at, length);
    else
      scan(t, s->bytes + at, length);
    at += length;
  }
}

static double now (void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double turn (const stream *s, size_t size, ub_sse *p, tally *t) {
  double began = now();
  int i;
  for (i = 0; i < 8; i++)
    run(t, s, size, p);
  return 8 * (double)s->length / 1e6 / (now() - began);
}

static void race (const char *name, const stream *s, size_t size) {
  double best_scan = 0, best_parser = 0;
  tally of_scan = {0}, of_parser = {0};
  ub_sse p;
  int i;
  ub_sse_init(&p, 1 << 20);
  for (i = 0; i < TURNS; i++) {
    double scanned = turn(s, size, NULL, &of_scan), parsed = turn(s, size, &p, &of_parser);
    best_scan = scanned > best_scan ? scanned : best_scan;
    best_parser = parsed > best_parser ? parsed : best_parser;
  }
  if (of_parser.calls != (size_t)TURNS * 8 * EVENTS)
    exit(1);
  ub_sse_fini(&p);
  printf("%s\t%.0f\t%.0f\n", name, best_scan, best_parser);
}

int main (void) {
  stream s = make();
  race("chunks of 16 KB", &s, CHUNK);
  race("chunks of an event", &s, 0);
  free(s.bytes);
  return 0;
}
