/*
** http_bare.c: the floor of bench/http.lua: libcurl alone, as cheap as it can be driven.
**
**   http_bare URL COUNT AT_ONCE BODY [HEADER…]    prints microseconds of CPU a request;
**                                                  BODY may be @FILE
**
** Every option is set once. One at a time is curl_easy_perform over one handle.
** More are a multi handle behind an epoll descriptor; a handle that is done is
** taken out and put in again. Header and body of the answer are kept, as a
** program that reads them would.
*/
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/clock.h"

#define MOST 8192

typedef struct call {
  CURL *easy;
  ub_buf head, data;
} call;

static int epoll_fd;
static int64_t due_us = INT64_MAX;
static ub_buf body;

static void check (int ok, const char *what) {
  if (ok)
    return;
  fprintf(stderr, "http_bare: %s\n", what);
  exit(1);
}

/* The body itself, or what is in the file that it names. */
static void read_body (const char *given) {
  char part[65536];
  size_t length;
  FILE *f;
  ub_buf_init(&body);
  if (given[0] != '@') {
    check(ub_buf_append(&body, given, strlen(given)) == 0, "memory");
    return;
  }
  f = fopen(given + 1, "rb");
  check(f != NULL, given);
  while ((length = fread(part, 1, sizeof part, f)) > 0)
    check(ub_buf_append(&body, part, length) == 0, "memory");
  fclose(f);
}

static size_t on_bytes (char *bytes, size_t one, size_t length, void *buf) {
  return ub_buf_append(buf, bytes, one * length) == 0 ? length : 0;
}

static void open_call (call *c, char **argv, struct curl_slist *lines) {
  c->easy = curl_easy_init();
  ub_buf_init(&c->head);
  ub_buf_init(&c->data);
  curl_easy_setopt(c->easy, CURLOPT_URL, argv[1]);
  curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ub_buf_length(&body));
  curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, ub_buf_bytes(&body));
  curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, lines);
  curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c->easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_bytes);
  curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, &c->head);
  curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, &c->data);
  curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
}

/* One has ended: it must have had its answer. */
static void close_round (call *c) {
  long status = 0;
  curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
  check(status == 200 && ub_buf_length(&c->data) > 0, "no answer");
  ub_buf_take(&c->head, ub_buf_length(&c->head));
  ub_buf_take(&c->data, ub_buf_length(&c->data));
}

static void one_by_one (call *c, int count) {
  for (; count > 0; count--) {
    check(curl_easy_perform(c->easy) == CURLE_OK, "perform");
    close_round(c);
  }
}

static int on_watch (CURL *easy, curl_socket_t fd, int what, void *self, void *known) {
  struct epoll_event event = {0};
  (void)easy; (void)known; (void)self;
  if (what == CURL_POLL_REMOVE)
    return epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
  event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
  event.data.fd = fd;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0)
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  return 0;
}

static int on_timer (CURLM *multi, long ms, void *self) {
  (void)multi; (void)self;
  due_us = ms < 0 ? INT64_MAX : ub_clock_us() + ms * 1000;
  return 0;
}

/* Wait for what comes, and let libcurl do it. */
static void turn (CURLM *multi) {
  struct epoll_event events[64];
  int running, i, wait = -1, count;
  int64_t now = due_us == INT64_MAX ? 0 : ub_clock_us();
  if (due_us != INT64_MAX)
    wait = due_us > now ? (int)((due_us - now + 999) / 1000) : 0;
  count = epoll_wait(epoll_fd, events, 64, wait);
  for (i = 0; i < count; i++)
    curl_multi_socket_action(multi, events[i].data.fd,
      (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
      (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0), &running);
  if (due_us != INT64_MAX && ub_clock_us() >= due_us) {
    due_us = INT64_MAX;
    curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
  }
}

static void many_at_once (call *calls, int at_once, int count) {
  CURLM *multi = curl_multi_init();
  int i, left, begun = at_once, ended = 0;
  epoll_fd = epoll_create1(0);
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_watch);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  for (i = 0; i < at_once; i++)
    curl_multi_add_handle(multi, calls[i].easy);
  while (ended < count) {
    CURLMsg *message;
    turn(multi);
    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
      call *c = NULL;
      CURL *easy = message->easy_handle;
      check(message->data.result == CURLE_OK, "transfer");
      curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&c);
      curl_multi_remove_handle(multi, easy);
      close_round(c);
      ended++;
      if (begun++ < count)
        curl_multi_add_handle(multi, easy);
    }
  }
}

static double cpu_us (void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

int main (int argc, char **argv) {
  static call calls[MOST];
  struct curl_slist *lines = NULL;
  int i, count, at_once;
  double began;
  check(argc > 4, "URL COUNT AT_ONCE BODY [HEADER...]");
  count = atoi(argv[2]);
  at_once = atoi(argv[3]);
  check(at_once >= 1 && at_once <= MOST && count >= at_once, "how many at once?");
  curl_global_init(CURL_GLOBAL_DEFAULT);
  read_body(argv[4]);
  for (i = 5; i < argc; i++)
    lines = curl_slist_append(lines, argv[i]);
  for (i = 0; i < at_once; i++)
    open_call(&calls[i], argv, lines);
  if (at_once == 1)
    one_by_one(&calls[0], 10);  /* connected and warm */
  began = cpu_us();
  if (at_once == 1)
    one_by_one(&calls[0], count);
  else
    many_at_once(calls, at_once, count);
  printf("%.3f\n", (cpu_us() - began) / count);
  return 0;
}
