/*
** bell_threads.c: the bell between its thread, its host and others who ring, for
** ThreadSanitizer.
**
**   giver ──makes the descriptor readable──► bell's thread ──a byte──► host: read,
**   ringers ──'ub_bell_ring'───────────────────────────────────────►   heard, step, arm
**
** No ring is lost: whatever was given is taken in the end. No more than one byte is on its
** way for each that was heard. Bells are closed in the midst of it, again and again.
** With an argument, two threads count in one place without order: that is to be found.
*/
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "engine/bell.h"

#define GIFTS    5000
#define BELLS    40    /* that are closed while somebody gives */
#define RINGERS  2
#define PATIENCE 20000 /* milliseconds; the bell rings by itself after 500 */

static int failures;

static void check (int holds, const char *what) {
  if (holds)
    return;
  failures++;
  fprintf(stderr, "bell_threads: %s\n", what);
}

typedef struct desk {
  ub_bell *bell;
  int given_fd;      /* an eventfd: what is to be told */
  int host;          /* the host's end of the socket */
  atomic_int stop;   /* those who ring are to end */
} desk;

static int connect_to (const char *path) {
  struct sockaddr_un address = {0};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
    return fd;
  if (fd >= 0)
    close(fd);
  return -1;
}

static int open_desk (desk *d) {
  int err;
  memset(d, 0, sizeof *d);
  d->given_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  d->bell = ub_bell_open(d->given_fd, &err);
  if (d->bell == NULL)
    return 0;
  d->host = connect_to(ub_bell_path(d->bell));
  return d->host >= 0 && ub_bell_begin(d->bell) == UB_OK;
}

static void close_desk (desk *d) {
  ub_bell_close(d->bell);
  close(d->host);
  close(d->given_fd);
}

static void *give (void *self) {
  desk *d = self;
  uint64_t one = 1;
  int i;
  for (i = 0; i < GIFTS; i++) {
    if (write(d->given_fd, &one, sizeof one) != sizeof one)
      check(0, "an eventfd takes no more");
    if (i % 7 == 0)
      usleep(50);
  }
  return NULL;
}

static void *ring (void *self) {
  desk *d = self;
  while (!atomic_load(&d->stop)) {
    ub_bell_ring(d->bell);
    usleep(100);
  }
  return NULL;
}

/* As a host does it: the byte, 'heard', the step, 'arm'. How much the step has found. */
static uint64_t serve (desk *d) {
  struct pollfd p = {.fd = d->host, .events = POLLIN};
  char bytes[8];
  uint64_t found = 0;
  int ready = poll(&p, 1, PATIENCE);
  ssize_t n = ready == 1 ? recv(d->host, bytes, sizeof bytes, MSG_DONTWAIT) : -1;
  check(ready == 1, "nobody rings");
  check(n == 1 || (n < 0 && errno == EAGAIN), "more than one byte for what was heard");
  ub_bell_heard(d->bell);
  if (read(d->given_fd, &found, sizeof found) != sizeof found)
    found = 0;
  ub_bell_arm(d->bell);
  return found;
}

static void all_is_told (void) {
  pthread_t giver, ringers[RINGERS];
  uint64_t taken = 0;
  desk d;
  int i;
  if (!open_desk(&d)) {
    check(0, "no bell");
    return;
  }
  pthread_create(&giver, NULL, give, &d);
  for (i = 0; i < RINGERS; i++)
    pthread_create(&ringers[i], NULL, ring, &d);
  while (taken < GIFTS && failures == 0)
    taken += serve(&d);
  pthread_join(giver, NULL);
  atomic_store(&d.stop, 1);
  for (i = 0; i < RINGERS; i++)
    pthread_join(ringers[i], NULL);
  check(taken == GIFTS, "something was not told");
  close_desk(&d);
}

static void closed_in_the_midst (void) {
  int i;
  for (i = 0; i < BELLS; i++) {
    uint64_t one = 1;
    desk d;
    if (!open_desk(&d)) {
      check(0, "no bell");
      return;
    }
    check(write(d.given_fd, &one, sizeof one) == sizeof one, "nothing can be given");
    if (i % 2 == 0)
      serve(&d);
    close_desk(&d);
  }
}

static int shared_count;

static void *count_up (void *unused) {
  int i;
  (void)unused;
  for (i = 0; i < 1000; i++)
    shared_count++;
  return NULL;
}

static int planted (void) {
  pthread_t a, b;
  pthread_create(&a, NULL, count_up, NULL);
  pthread_create(&b, NULL, count_up, NULL);
  pthread_join(a, NULL);
  pthread_join(b, NULL);
  return 0;
}

int main (int argc, char **argv) {
  (void)argv;
  if (argc > 1)
    return planted();
  all_is_told();
  closed_in_the_midst();
  printf("the bell: %d gifts, %d bells closed: %d failures\n", GIFTS, BELLS, failures);
  return failures != 0;
}
