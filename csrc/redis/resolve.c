/*
** resolve.c: a name, a thread, an address.
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
  int err;
  char address[UB_ADDRESS_BYTES];
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

static int look_up (ub_resolve *r) {
  struct addrinfo hints = {0}, *found = NULL;
  int err;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(r->host, NULL, &hints, &found) != 0)
    return UB_ENETWORK;
  err = getnameinfo(found->ai_addr, found->ai_addrlen, r->address, sizeof r->address, NULL, 0,
                    NI_NUMERICHOST);
  freeaddrinfo(found);
  return err == 0 ? UB_OK : UB_ENETWORK;
}

static void *run (void *self) {
  ub_resolve *r = self;
  static const uint64_t one = 1;
  r->err = look_up(r);
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

int ub_resolve_take (const ub_resolve *r, char address[UB_ADDRESS_BYTES]) {
  memcpy(address, r->address, UB_ADDRESS_BYTES);
  return r->err;
}

void ub_resolve_drop (ub_resolve *r, int orphan) {
  if (r == NULL)
    return;
  if (orphan)
    atomic_store(&r->users, 1);
  let_go(r);
}
