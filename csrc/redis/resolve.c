/*
** resolve.c: a name, a thread, addresses.
**
** The memory is malloc's own, since that of 'ub_alloc' is counted without a
** lock. Whoever lets go last frees it: the thread or the one who asked.
*/
#include "redis/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

#define STACK 262144  /* bytes; the resolver's modules need some */

struct ub_resolve {
  atomic_int users;  /* 2, 1 */
  int fd;            /* an eventfd */
  ub_addresses found;
  char host[];
};

int ub_resolve_is_address (const char *host) {
  unsigned char bytes[sizeof(struct in6_addr)];
  return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static void let_go (ub_resolve *r) {
  if (atomic_fetch_sub(&r->users, 1) > 1)
    return;
  close(r->fd);
  free(r);
}

static void look_up (const char *host, ub_addresses *out) {
  struct addrinfo hints = {0}, *found = NULL, *at;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host, NULL, &hints, &found) != 0)
    return;
  for (at = found; at != NULL && out->count < UB_ADDRESSES; at = at->ai_next)
    if (getnameinfo(at->ai_addr, at->ai_addrlen, out->text[out->count], UB_ADDRESS_BYTES, NULL, 0,
                    NI_NUMERICHOST) == 0)
      out->count++;
  freeaddrinfo(found);
}

static void *run (void *self) {
  ub_resolve *r = self;
  static const uint64_t one = 1;
  look_up(r->host, &r->found);
  if (write(r->fd, &one, sizeof one) < 0) {}  /* it cannot be full */
  let_go(r);
  return NULL;
}

/* A thread that gets no signals, and that nobody joins. */
static int begin_thread (ub_resolve *r) {
  pthread_attr_t how;
  pthread_t thread;
  sigset_t all, before;
  int err;
  if (pthread_attr_init(&how) != 0)
    return -1;
  pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&how, STACK);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  err = pthread_create(&thread, &how, run, r);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&how);
  return err;
}

ub_resolve *ub_resolve_begin (const char *host, int *err) {
  size_t length = strlen(host);
  ub_resolve *r = malloc(sizeof *r + length + 1);
  *err = UB_ENOMEM;
  if (r == NULL)
    return NULL;
  memset(r, 0, sizeof *r);
  memcpy(r->host, host, length + 1);
  atomic_init(&r->users, 2);
  r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (r->fd >= 0 && begin_thread(r) == 0)
    return r;
  if (r->fd >= 0)
    close(r->fd);
  else
    *err = UB_ENETWORK;
  free(r);
  return NULL;
}

int ub_resolve_fd (const ub_resolve *r) {
  return r->fd;
}

const ub_addresses *ub_resolve_look (const ub_resolve *r) {
  return &r->found;
}

void ub_resolve_drop (ub_resolve *r, int orphan) {
  if (r == NULL)
    return;
  if (orphan)
    atomic_store(&r->users, 1);
  let_go(r);
}
