/*
** bell.c: one thread, one epoll, one byte.
*/
#include "engine/bell.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
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

#define DOOR "/bell"
#define TICK_MS 500  /* it rings then though nothing has happened */
#define STACK 65536  /* bytes; the thread calls nothing deep */

struct ub_bell {
  int fd;           /* whose readiness is told; not ours */
  int watch_fd;     /* the thread's epoll: 'fd', once each time it is armed, and 'stop_fd' */
  int stop_fd;      /* an eventfd */
  int listen_fd;    /* where the host connects; -1 once it has */
  int door_fd;      /* names the socket once it has no path any more; or -1 */
  int on_disk;      /* the socket's path and its folder are there */
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
    int count = epoll_wait(b->watch_fd, &event, 1, TICK_MS);
    if (count == 1 && event.data.fd == b->stop_fd)
      return NULL;
    if (count >= 0)
      ub_bell_ring(b);
  }
}

/* }======================================================================== */

/* {== Opening ============================================================= */

/* A new folder that others cannot enter; its path is in 'path', or "". */
static int make_folder (char *path, size_t room) {
  static const char *const places[] = {NULL, "/tmp", "/dev/shm", "/var/tmp"};
  size_t i;
  for (i = 0; i < sizeof places / sizeof places[0]; i++) {
    const char *place = i == 0 ? getenv("TMPDIR") : places[i];
    if (place == NULL || *place != '/')
      continue;
    if ((size_t)snprintf(path, room, "%s/unbusy.XXXXXX", place) < room && mkdtemp(path) != NULL)
      return UB_OK;
  }
  *path = '\0';
  return UB_ENETWORK;
}

static void remove_files (ub_bell *b) {
  char *path = b->address.sun_path;
  if (!b->on_disk)
    return;
  unlink(path);
  *strrchr(path, '/') = '\0';
  rmdir(path);
  *path = '\0';
  b->on_disk = 0;
}

/* Whoever dies leaves no files behind: they are removed before anybody has connected, where
** /proc can still name the socket. */
static void hide (ub_bell *b) {
  char name[32];
  b->door_fd = counted(open(b->address.sun_path, O_PATH | O_CLOEXEC));
  snprintf(name, sizeof name, "/proc/self/fd/%d", b->door_fd);
  if (b->door_fd < 0 || access(name, F_OK) != 0)
    return;
  remove_files(b);
  strcpy(b->address.sun_path, name);
}

static int open_door (ub_bell *b) {
  char *path = b->address.sun_path;
  int err = make_folder(path, sizeof b->address.sun_path - sizeof DOOR);
  if (err != UB_OK)
    return err;
  strcat(path, DOOR);
  b->on_disk = 1;
  b->address.sun_family = AF_UNIX;
  b->listen_fd = counted(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (b->listen_fd < 0 ||
      bind(b->listen_fd, (struct sockaddr *)&b->address, sizeof b->address) != 0 ||
      listen(b->listen_fd, 1) != 0)
    return UB_ENETWORK;
  hide(b);
  return UB_OK;
}

/* It has served: nobody else finds it. */
static void close_door (ub_bell *b) {
  remove_files(b);
  b->address.sun_path[0] = '\0';
  give_back(&b->door_fd);
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
  b->watch_fd = b->stop_fd = b->listen_fd = b->door_fd = b->host_fd = -1;
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

static int is_own (int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == getpid();
}

/* The connection that this process has made; others are turned away. */
static int own_connection (const ub_bell *b) {
  int fd;
  while ((fd = accept4(b->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
    if (is_own(fd))
      return fd;
    close(fd);
  }
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
  if (b->host_fd < 0)  /* else there was no thread to be had the last time */
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
  give_back(&b->door_fd);
  give_back(&b->listen_fd);
  give_back(&b->host_fd);
  give_back(&b->watch_fd);
  give_back(&b->stop_fd);
  ub_free(b);
}

/* }======================================================================== */
