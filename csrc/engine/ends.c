/*
** ends.c: requests of nginx that have ended.
*/
#include "engine/ends.h"

#include <dlfcn.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"

/* As nginx declares it (ngx_http_request.h), since 0.8. */
typedef struct cleanup {
  void (*handler)(void *data);
  void *data;
  struct cleanup *next;
} cleanup;

typedef cleanup *add_cleanup (void *request, size_t size);

#define SIGNATURE 0x50545448u  /* "HTTP" */

/* How an ngx_connection_t and an ngx_http_request_t begin, since 0.1. The two name each
** other, by which 'ub_ends_left' knows that they are what they seem. */
typedef struct connection {
  void *data;
  void *read;
  void *write;
  int fd;
} connection;

typedef struct head {
  uint32_t signature;
  connection *connection;
} head;

typedef struct watched {
  ub_ends *ends;
  void *request;
  struct watched *next;  /* of those that have ended */
} watched;

struct ub_ends {
  add_cleanup *add;
  watched *ended;
  size_t open;   /* watched, and not ended */
  int closed;
};

ub_ends *ub_ends_open (int *err) {
  ub_ends *e;
  void *found = dlsym(RTLD_DEFAULT, "ngx_http_cleanup_add");
  *err = found == NULL ? UB_EINVALID : UB_ENOMEM;
  e = found == NULL ? NULL : ub_alloc(sizeof *e);
  if (e == NULL)
    return NULL;
  memset(e, 0, sizeof *e);
  memcpy(&e->add, &found, sizeof found);  /* C has no cast from object to function */
  return e;
}

static void drop_ended (ub_ends *e) {
  while (ub_ends_next(e) != NULL)
    continue;
  if (e->closed && e->open == 0)
    ub_free(e);
}

/* Called by nginx. */
static void on_end (void *data) {
  watched *w = data;
  ub_ends *e = w->ends;
  w->next = e->ended;
  e->ended = w;
  e->open--;
  if (e->closed)
    drop_ended(e);
}

int ub_ends_watch (ub_ends *e, void *request) {
  watched *w = ub_alloc(sizeof *w);
  cleanup *c = w != NULL ? e->add(request, 0) : NULL;
  if (c == NULL) {
    ub_free(w);
    return UB_ENOMEM;
  }
  w->ends = e;
  w->request = request;
  c->handler = on_end;
  c->data = w;
  e->open++;
  return UB_OK;
}

void *ub_ends_next (ub_ends *e) {
  watched *w = e->ended;
  void *request = w != NULL ? w->request : NULL;
  if (w != NULL)
    e->ended = w->next;
  ub_free(w);
  return request;
}

int ub_ends_left (void *request) {
  const head *r = request;
  struct pollfd peer = {-1, POLLRDHUP, 0};
  if (r->signature == SIGNATURE && r->connection != NULL && r->connection->data == request)
    peer.fd = r->connection->fd;  /* a negative one has no events */
  return poll(&peer, 1, 0) == 1 && (peer.revents & POLLRDHUP) != 0;
}

void ub_ends_close (ub_ends *e) {
  if (e == NULL)
    return;
  e->closed = 1;
  drop_ended(e);
}
