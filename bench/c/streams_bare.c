/*
** streams_bare.c: the floor of bench/memory.lua: open transfers of libcurl alone.
**
**   streams_bare URL COUNT BODY [HEADER…]
**
** Opens so many transfers to a server that sends one event and then nothing, waits
** until each has had its event, and prints the bytes of resident memory and of
** malloc that one of them costs.
*/
#include <curl/curl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static int epoll_fd;
static long due_ms = -1;
static int begun;

static void check (int ok, const char *what) {
  if (ok)
    return;
  fprintf(stderr, "streams_bare: %s\n", what);
  exit(1);
}

/* The first bytes of each; nothing is kept. */
static size_t on_bytes (char *bytes, size_t one, size_t length, void *self) {
  (void)bytes; (void)one; (void)self;
  begun++;
  return length;
}

static size_t on_header (char *bytes, size_t one, size_t length, void *self) {
  (void)bytes; (void)one; (void)self;
  return length;
}

static CURL *new_easy (char **argv, struct curl_slist *lines) {
  CURL *easy = curl_easy_init();
  check(easy != NULL, "no handle");
  curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, argv[3]);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, lines);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
  return easy;
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
  due_ms = ms;
  return 0;
}

static void turn (CURLM *multi) {
  struct epoll_event events[64];
  int running, i, left;
  int count = epoll_wait(epoll_fd, events, 64, due_ms < 0 || due_ms > 100 ? 100 : (int)due_ms);
  for (i = 0; i < count; i++)
    curl_multi_socket_action(multi, events[i].data.fd,
      events[i].events & EPOLLIN ? CURL_CSELECT_IN : CURL_CSELECT_OUT, &running);
  if (count == 0)
    curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
  check(curl_multi_info_read(multi, &left) == NULL, "a transfer has ended");
}

static CURLM *open_multi (void) {
  CURLM *multi = curl_multi_init();
  epoll_fd = epoll_create1(0);
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_watch);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  return multi;
}

/* Open 'count' more and wait until each has begun. */
static void open_streams (CURLM *multi, char **argv, struct curl_slist *lines, int count) {
  int wanted = begun + count;
  while (count-- > 0)
    curl_multi_add_handle(multi, new_easy(argv, lines));
  while (begun < wanted)
    turn(multi);
}

static long resident (void) {
  char line[128];
  long kb = 0;
  FILE *f = fopen("/proc/self/status", "r");
  check(f != NULL, "/proc/self/status");
  while (fgets(line, sizeof line, f) != NULL)
    sscanf(line, "VmRSS: %ld", &kb);
  fclose(f);
  return kb * 1024;
}

static long allocated (void) {
  struct mallinfo2 m = mallinfo2();
  return (long)(m.uordblks + m.hblkhd);
}

int main (int argc, char **argv) {
  struct curl_slist *lines = NULL;
  CURLM *multi;
  long rss, bytes;
  int i, count;
  check(argc > 3, "URL COUNT BODY [HEADER...]");
  count = atoi(argv[2]);
  for (i = 4; i < argc; i++)
    lines = curl_slist_append(lines, argv[i]);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  multi = open_multi();
  open_streams(multi, argv, lines, 1);  /* warm */
  rss = resident();
  bytes = allocated();
  open_streams(multi, argv, lines, count);
  printf("%ld %ld\n", (resident() - rss) / count, (allocated() - bytes) / count);
  return 0;
}
