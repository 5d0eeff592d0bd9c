/*
** engine_nomem.c: every allocation of libcurl and of the core fails, one after
** the other, while two requests are made of a server in this process.
**
**   engine_nomem [STEP]     each STEP-th allocation only (1)
**
** 'once': one allocation fails. 'from then on': all from it on, until the
** engine has been closed. Whatever fails: an engine is opened or not, a request
** starts or not, a transfer ends exactly once with a code that is ours, and
** when the engine is closed nothing is left. What the system's C library takes
** for itself is not reached.
**
** libcurl's own code does not live through each failure. So each run is made in
** a child; where that was ended by a fault in libcurl's code, this is counted
** and told, and is no failure of ours.
*/
#include <curl/curl.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "engine/engine.h"
#include "loopback.h"

#define must(truth) \
  do { \
    if (!(truth)) { \
      fprintf(stderr, "%s:%d: not so: %s (%s %ld)\n", __FILE__, __LINE__, #truth, \
              failing_on ? "from allocation" : "allocation", (long)planted); \
      abort(); \
    } \
  } while (0)

#define BODY "{\"q\":1}"
#define PATIENCE_US (20 * UB_SECOND_US)  /* a transfer that takes longer hangs */

static int64_t planted;  /* of libcurl's allocations this one fails */
static int failing_on;   /* and all after it */
static int64_t count;
static int failed;
static int64_t live;     /* libcurl's blocks */

/* {== What libcurl allocates by =========================================== */

static int fails (void) {
  count++;
  if (planted == 0 || count < planted || (count > planted && !failing_on))
    return 0;
  failed = 1;
  return 1;
}

static void *counted (void *block) {
  live += block != NULL;
  return block;
}

static void *curl_malloc (size_t size) {
  return fails() ? NULL : counted(malloc(size));
}

static void *curl_calloc (size_t n, size_t size) {
  return fails() ? NULL : counted(calloc(n, size));
}

static void *curl_realloc (void *block, size_t size) {
  void *grown;
  if (fails())
    return NULL;
  grown = realloc(block, size);
  live += block == NULL && grown != NULL;
  return grown;
}

static char *curl_strdup (const char *text) {
  return fails() ? NULL : counted(strdup(text));
}

static void curl_release (void *block) {
  live -= block != NULL;
  free(block);
}

/* }======================================================================== */

/* {== The run ============================================================= */

static loopback server;

static const char answer[] =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-One: 1\r\n"
  "Transfer-Encoding: chunked\r\n\r\n"
  "6\r\ndata: \r\n5\r\nhello\r\n2\r\n\n\n\r\n0\r\n\r\n";

static int submit (ub_engine *e, uint64_t *id) {
  static const char *const headers[] = {"Content-Type: application/json", "X-Key: k", NULL};
  ub_request request = {0};
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/chat", server.port);
  request.url = url;
  request.method = "POST";
  request.headers = headers;
  request.body = BODY;
  request.body_size = strlen(BODY);
  request.window_bytes = 4;
  request.connect_us = UB_SECOND_US;
  request.proxy = "";
  return ub_engine_submit(e, &request, id);
}

/* Takes what is there; 1 when it has ended, with '*err'. */
static int take (ub_engine *e, uint64_t id, int *err) {
  ub_news news;
  for (;;) {
    ub_engine_take(e, id, &news);
    if (news.kind == UB_NEWS_NONE)
      return 0;
    if (news.kind != UB_NEWS_END)
      continue;
    must(news.message != NULL && news.phase != NULL);
    *err = news.err;
    return 1;
  }
}

static int drive (ub_engine *e, uint64_t id) {
  int64_t limit = ub_clock_us() + PATIENCE_US;
  int err = UB_OK;
  while (!take(e, id, &err)) {
    loopback_step(&server, BODY);
    must(ub_engine_step(e) == UB_OK);
    ub_engine_wait(e, 200);
    must(ub_clock_us() < limit);
  }
  must(ub_engine_active(e) == 0);
  return err;
}

/* One request; the code it ended with. */
static int fetch (ub_engine *e) {
  uint64_t id;
  int err = submit(e, &id);
  if (err == UB_OK)
    err = drive(e, id);
  else
    must(ub_engine_active(e) == 0);
  must(err >= UB_OK && err < UB_ERRORS_END);
  return err;
}

/* A run with the failure that is planted; then all is as before. */
static int run (void) {
  int err;
  int64_t before = ub_alloc_live();
  ub_engine *e;
  ub_engine_totals totals;
  count = failed = 0;
  loopback_answer(&server, (const uint8_t *)answer, sizeof answer - 1, LOOPBACK_KEEP);
  e = ub_engine_open(&err);
  must((e != NULL) == (err == UB_OK) && (err == UB_OK || err == UB_ENOMEM));
  if (e != NULL) {
    err = fetch(e);
    if (err == UB_OK)
      err = fetch(e);  /* over the connection that was kept */
    if (failed && !failing_on)
      must(fetch(e) == UB_OK);  /* the engine is as good as new */
  }
  must(failed || err == UB_OK);
  ub_engine_close(e);
  totals = ub_engine_count();
  must(totals.engines == 0 && totals.transfers == 0 && totals.descriptors == 0);
  must(ub_alloc_live() == before);
  return err;
}

/* }======================================================================== */

/* {== Each run in a child ================================================= */

#define NO_FAILURE 64   /* a child's status: fewer allocations were made */
#define IN_LIBCURL 65   /* a fault in its code */
#define LEFT_BLOCKS 66  /* libcurl has not freed all it took */
#define STATUSES 67

/* Whose code is this? */
static int is_in (void *address, const char *name) {
  Dl_info info;
  return dladdr(address, &info) != 0 && strstr(info.dli_fname, name) != NULL;
}

/* A fault is libcurl's when its code is met before ours on the way down. */
static void on_fault (int number) {
  void *frames[64];
  int n = backtrace(frames, 64), i;
  for (i = 2; i < n; i++) {  /* behind this function and the system's frame */
    if (is_in(frames[i], "libcurl"))
      _exit(IN_LIBCURL);
    if (is_in(frames[i], "engine_nomem"))
      break;
  }
  signal(number, SIG_DFL);
  raise(number);
}

static int run_in_child (void) {
  int64_t before = live;
  int err = run();
  if (!failed)
    return NO_FAILURE;
  return live == before ? err : LEFT_BLOCKS;
}

/* What the child of one run said; ends this process when that was no status. */
static int fork_run (void) {
  int status;
  pid_t pid = fork();
  must(pid >= 0);
  if (pid == 0)
    _exit(run_in_child());
  must(waitpid(pid, &status, 0) == pid);
  must(WIFEXITED(status) && WEXITSTATUS(status) < STATUSES);
  return WEXITSTATUS(status);
}

static const char *status_word (int status) {
  switch (status) {
    case UB_OK: return "no harm";
    case IN_LIBCURL: return "a fault in libcurl";
    case LEFT_BLOCKS: return "not freed by libcurl";
    default: return ub_err_word(status);
  }
}

static void fail_each (const char *name, int on, int64_t step) {
  int seen[STATUSES] = {0}, i, status;
  failing_on = on;
  for (planted = 1; (status = fork_run()) != NO_FAILURE; planted += step)
    seen[status]++;
  printf("%s: %ld allocations of libcurl:", name, (long)planted - 1);
  for (i = 0; i < STATUSES; i++)
    if (seen[i] > 0)
      printf(" %d %s;", seen[i], status_word(i));
  printf("\n");
}

/* }======================================================================== */

int main (int argc, char **argv) {
  int64_t step = argc > 1 ? atol(argv[1]) : 1;
  signal(SIGSEGV, on_fault);
  signal(SIGFPE, on_fault);
  if (step < 1 || loopback_open(&server) != 0 ||
      curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_malloc, curl_release, curl_realloc,
                           curl_strdup, curl_calloc) != CURLE_OK)
    return 2;
  fail_each("once", 0, step);
  fail_each("from then on", 1, step);
  loopback_close(&server);
  curl_global_cleanup();
  return 0;
}
