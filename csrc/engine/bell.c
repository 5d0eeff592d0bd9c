/*
** bell.c: one thread, one epoll, one byte.
*/
#include "engine/bell.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/process.h"
#include "engine/engine.h"
#include "engine/engine_inner.h"

#define STACK 65536  /* bytes; the thread calls nothing deep */

struct ub_bell {
  int fd;           /* whose readiness is told; not ours */
  int watch_fd;     /* the thread's epoll: 'fd', once each time it is armed, and 'stop_fd' */
  int stop_fd;      /* an eventfd */
  int listen_fd;    /* where the host connects; -1 once it has */
  int host_fd;      /* our end of its connection */
  int running;
  int64_t process;  /* the mark of the one that opened it */
  atomic_int pending;  /* a byte is on its way */
  pthread_t thread;
  struct sockaddr_un address;
};

static int counted (int fd) {
  if (fd >= 0)
    ub_engine_open_now.descriptors++;
  return fd;
}

static void give_back (int *fd) {
  if (*fd < 0)
    return;
  close(*fd);
  *fd = -1;
  ub_engine_open_now.descriptors--;
}

/* {== Ringing ============================================================= */

void ub_bell_ring (ub_bell *b) {
  if (b->host_fd < 0 || atomic_exchange(&b->pending, 1) != 0)
    return;
  if (send(b->host_fd, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
    atomic_store(&b->pending, 0);  /* the host has gone */
}

void ub_bell_heard (ub_bell *b) {
  atomic_store(&b->pending, 0);
}

void ub_bell_arm (ub_bell *b) {
  struct epoll_event event = {0};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.fd = b->fd;
  epoll_ctl(b->watch_fd, EPOLL_CTL_MOD, b->fd, &event);
}

static void *watch (void *self) {
  ub_bell *b = self;
  struct epoll_event event;
  for (;;) {
    int count = epoll_wait(b->watch_fd, &event, 1, -1);
    if (count == 1 && event.data.fd == b->stop_fd)
      return NULL;
    if (count == 1)
      ub_bell_ring(b);
  }
}

/* }======================================================================== */

/* {== Opening ============================================================= */

/* A socket in a folder of its own, which others cannot enter. */
static int open_door (ub_bell *b) {
  static const char name[] = "/bell";
  const char *tmp = getenv("TMPDIR");
  char *path = b->address.sun_path;
  size_t room = sizeof b->address.sun_path - sizeof name;
  if (tmp == NULL || *tmp != '/' || strlen(tmp) + sizeof "/unbusy.XXXXXX" > room)
    tmp = "/tmp";
  strcat(strcpy(path, tmp), "/unbusy.XXXXXX");
  if (mkdtemp(path) == NULL) {
    *path = '\0';
    return UB_ENETWORK;
  }
  strcat(path, name);
  b->address.sun_family = AF_UNIX;
  b->listen_fd = counted(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (b->listen_fd < 0 ||
      bind(b->listen_fd, (struct sockaddr *)&b->address, sizeof b->address) != 0 ||
      listen(b->listen_fd, 1) != 0)
    return UB_ENETWORK;
  return UB_OK;
}

/* The path has served: nobody else finds it. */
static void close_door (ub_bell *b) {
  char *path = b->address.sun_path;
  if (*path == '\0')
    return;
  unlink(path);
  *strrchr(path, '/') = '\0';
  rmdir(path);
  *path = '\0';
  give_back(&b->listen_fd);
}

static int watch_fd (ub_bell *b, int fd, uint32_t events) {
  struct epoll_event event = {0};
  event.events = events;
  event.data.fd = fd;
  return epoll_ctl(b->watch_fd, EPOLL_CTL_ADD, fd, &event);
}

static int open_all (ub_bell *b) {
  int err = open_door(b);
  b->watch_fd = counted(epoll_create1(EPOLL_CLOEXEC));
  b->stop_fd = counted(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (err != UB_OK || b->watch_fd < 0 || b->stop_fd < 0 ||
      watch_fd(b, b->stop_fd, EPOLLIN) != 0 || watch_fd(b, b->fd, EPOLLIN | EPOLLONESHOT) != 0)
    return UB_ENETWORK;
  return UB_OK;
}

ub_bell *ub_bell_open (int fd, int *err) {
  ub_bell *b = ub_alloc(sizeof *b);
  *err = UB_ENOMEM;
  if (b == NULL)
    return NULL;
  memset(b, 0, sizeof *b);
  b->fd = fd;
  b->watch_fd = b->stop_fd = b->listen_fd = b->host_fd = -1;
  b->process = ub_process_mark();
  *err = open_all(b);
  if (*err == UB_OK)
    return b;
  ub_bell_close(b);
  return NULL;
}

const char *ub_bell_path (const ub_bell *b) {
  return b->address.sun_path;
}

/* }======================================================================== */

/* {== Beginning and ending ================================================ */

/* The connection that waits, if it is this process's own. */
static int own_connection (const ub_bell *b) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  int fd = accept4(b->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0)
    return -1;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == getpid())
    return fd;
  close(fd);
  return -1;
}

/* No signal is delivered to the thread: the host's handlers belong to the host's. */
static int start_thread (ub_bell *b) {
  pthread_attr_t attributes;
  sigset_t all, before;
  int failed;
  if (pthread_attr_init(&attributes) != 0)
    return UB_ENOMEM;
  pthread_attr_setstacksize(&attributes, STACK > PTHREAD_STACK_MIN ? STACK : PTHREAD_STACK_MIN);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  failed = pthread_create(&b->thread, &attributes, watch, b);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return failed ? UB_ENOMEM : UB_OK;
}

int ub_bell_begin (ub_bell *b) {
  int err;
  if (b->running || b->process != ub_process_mark())
    return b->running ? UB_OK : UB_ECLOSED;
  b->host_fd = counted(own_connection(b));
  if (b->host_fd < 0)
    return UB_ENETWORK;
  close_door(b);
  err = start_thread(b);
  b->running = err == UB_OK;
  return err;
}

static void stop_thread (ub_bell *b) {
  uint64_t one = 1;
  if (!b->running)
    return;
  while (write(b->stop_fd, &one, sizeof one) < 0)  /* an eventfd's first write cannot fail */
    continue;
  pthread_join(b->thread, NULL);
  b->running = 0;
}

void ub_bell_close (ub_bell *b) {
  int owned;
  if (b == NULL)
    return;
  owned = b->process == ub_process_mark();
  if (owned) {
    stop_thread(b);
    close_door(b);
  }
  give_back(&b->listen_fd);
  give_back(&b->host_fd);
  give_back(&b->watch_fd);
  give_back(&b->stop_fd);
  ub_free(b);
}

/* }======================================================================== */
