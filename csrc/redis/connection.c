/*
** connection.c: one connection of a link, by hiredis' asynchronous API.
**
** hiredis is a careless guest in a few ways, and so:
**
** - It takes a reply that nobody asked for as a mistake of its caller's, and
**   ends the process (assert). The functions that make its objects refuse such a
**   one first: see 'expects'.
** - It writes without MSG_NOSIGNAL: SIGPIPE is kept from the host meanwhile.
** - When it lacks the memory to note a callback it says nothing, and all later
**   replies would go to the wrong ones: see 'hand_over'.
** - A reply may be as long as the server likes: see 'check_length', and the gate of reply.h.
** - Its sockets are inherited by programs that are run.
*/
#include "redis/link_inner.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/err.h"
#include "engine/pipe_guard.h"

#define LIST_BYTES 1048576  /* that the names of a SCAN may take here, beside an entry */

/* {== What hiredis tells us =============================================== */

static void add_read (void *self) { ((ub_link *)self)->wanted |= EPOLLIN; }
static void add_write (void *self) { ((ub_link *)self)->wanted |= EPOLLOUT; }
static void del_read (void *self) { ((ub_link *)self)->wanted &= ~(uint32_t)EPOLLIN; }
static void del_write (void *self) { ((ub_link *)self)->wanted &= ~(uint32_t)EPOLLOUT; }

/* Why hiredis ends the connection. */
static int loss_of (const ub_link *l, const redisAsyncContext *context) {
  if (l->loss != UB_OK)
    return l->loss;
  switch (context->err) {
    case REDIS_ERR_PROTOCOL: return UB_EUPSTREAM;
    case REDIS_ERR_OOM: return l->gate.exceeded ? UB_EUPSTREAM : UB_ENOMEM;
    default: return UB_ENETWORK;
  }
}

/* There is no connection: those in line end. */
static void end_line (ub_link *l, int err) {
  ub_link_request *r;
  while ((r = ub_link_pop(&l->line)) != NULL)
    ub_link_end(r, NULL, err);
}

static int is_connected (const ub_link *l) {
  return l->context != NULL && (l->context->c.flags & REDIS_CONNECTED) != 0;
}

/* This address is no good now: the next one comes first. */
static void pass_address (ub_link *l) {
  if (l->addresses.count > 0)
    l->address = (l->address + 1) % l->addresses.count;
}

/* The connection is about to be freed; those that it was given have ended by now. */
static void on_cleanup (void *self) {
  ub_link *l = self;
  int err = loss_of(l, l->context);
  epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, l->context->c.fd, NULL);
  if (is_connected(l))
    l->untried = 0;
  else
    pass_address(l);
  l->context = NULL;
  ub_link_open_now.descriptors--;
  if (l->untried > 0)
    return;  /* those in line wait for the next address */
  l->lost = err;
  l->lost_served = l->served;
  end_line(l, err);
}

static void on_reply (redisAsyncContext *context, void *reply, void *self) {
  ub_link_request *r = self;
  ub_link *l = r->link;
  if (reply == NULL) {
    ub_link_end(r, NULL, loss_of(l, context));
    return;
  }
  l->served = 1;
  if (!r->forgotten)
    ub_reply_keep(reply);  /* else hiredis frees it, behind us */
  ub_link_end(r, r->forgotten ? NULL : reply, UB_OK);
}

/* What it means that we are not let in; 'plain': what an error means that has no kind. */
static int refusal_of (const redisReply *error, int plain) {
  static const struct { const char *kind; int err; } known[] = {
    {"NOAUTH", UB_EAUTH}, {"WRONGPASS", UB_EAUTH}, {"NOPERM", UB_EAUTH},
    {UB_REPLY_CROWDED, UB_EBUSY}
  };
  const char *kind = ub_reply_error(error);
  size_t i;
  for (i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strcmp(kind, known[i].kind) == 0)
      return known[i].err;
  return strcmp(kind, "ERR") == 0 ? plain : UB_EUPSTREAM;
}

/* The server's answer to what we say first. */
static void on_hello (redisAsyncContext *context, void *reply, void *plain) {
  ub_link *l = context->ev.data;
  if (reply != NULL)
    l->greetings--;
  if (reply != NULL && ((redisReply *)reply)->type == REDIS_REPLY_ERROR && l->loss == UB_OK)
    l->loss = refusal_of(reply, *(const int *)plain);
}

/* Does anybody wait for a reply? */
static int expects (void *self) {
  ub_link *l = self;
  if (l->context->replies.head != NULL)
    return 1;
  l->loss = UB_EUPSTREAM;
  return 0;
}

/* }======================================================================== */

/* {== Connecting ========================================================== */

/* Let the epoll watch for what hiredis wants now. */
static void watch (ub_link *l) {
  struct epoll_event event = {0};
  if (l->context == NULL || l->wanted == l->watched)
    return;
  event.events = l->wanted;
  event.data.fd = l->context->c.fd;
  epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, event.data.fd, &event);
  l->watched = l->wanted;
}

/* Did hiredis note the callback of the last command? */
static int is_noted (const redisAsyncContext *a, const void *data) {
  return a->c.err == 0 && a->replies.tail != NULL && a->replies.tail->privdata == data;
}

/* Send a command that comes before all others; '*plain' is what it means when it is refused for
   no known reason. 0 when there is no memory. */
static int say (ub_link *l, const int *plain, int count, const char **words) {
  void *data = (void *)(uintptr_t)plain;
  int err = redisAsyncCommandArgv(l->context, on_hello, data, count, words, NULL);
  l->greetings++;  /* of a failure the connection ends */
  return err == REDIS_OK && is_noted(l->context, data);
}

static int say_hello (ub_link *l) {
  static const int auth = UB_EAUTH, invalid = UB_EINVALID;
  const ub_link_config *c = &l->config;
  const char *words[3] = {"AUTH", c->user, c->password};
  char number[16];
  if (c->password != NULL && c->user != NULL && !say(l, &auth, 3, words))
    return 0;
  words[1] = c->password;
  if (c->password != NULL && c->user == NULL && !say(l, &auth, 2, words))
    return 0;
  if (c->database == 0)
    return 1;
  snprintf(number, sizeof number, "%d", c->database);
  words[0] = "SELECT";
  words[1] = number;
  return say(l, &invalid, 2, words);
}

/* The connection is ours from now on. */
static void take_over (ub_link *l, redisAsyncContext *a) {
  ub_link_open_now.descriptors++;
  fcntl(a->c.fd, F_SETFD, FD_CLOEXEC);
  l->context = a;
  l->wanted = EPOLLOUT;  /* when it is connected */
  l->watched = 0;
  l->loss = UB_OK;
  l->served = 0;
  l->greetings = 0;
  a->ev.data = l;
  a->ev.addRead = add_read;
  a->ev.addWrite = add_write;
  a->ev.delRead = del_read;
  a->ev.delWrite = del_write;
  a->ev.cleanup = on_cleanup;
  l->gate.expects = expects;
  l->gate.self = l;
  l->gate.most_bytes = l->config.most_bytes + LIST_BYTES;
  l->gate.bytes = 0;
  l->gate.exceeded = 0;
  a->c.reader->fn = &ub_reply_functions;
  a->c.reader->privdata = &l->gate;
}

static int connect_to (ub_link *l, const char *address) {
  struct epoll_event event = {0};
  redisAsyncContext *a = l->config.path != NULL
                           ? redisAsyncConnectUnix(l->config.path)
                           : redisAsyncConnect(address, l->config.port);
  if (a == NULL)
    return UB_ENOMEM;
  a->c.fd = ub_above_standard(a->c.fd);
  event.data.fd = a->c.fd;
  if (a->err != 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, a->c.fd, &event) != 0) {
    int err = a->err == REDIS_ERR_OOM ? UB_ENOMEM : UB_ENETWORK;
    pass_address(l);
    redisAsyncFree(a);
    return err;
  }
  take_over(l, a);
  if (say_hello(l))
    return UB_OK;
  ub_connection_close(l, UB_ENOMEM, 0);
  return UB_ENOMEM;
}

int ub_connection_open (ub_link *l) {
  struct epoll_event event = {0};
  int err;
  if (l->context != NULL || l->resolve != NULL)
    return UB_OK;
  if (l->config.path != NULL || ub_resolve_is_address(l->config.host))
    return connect_to(l, l->config.host);
  l->resolve = ub_resolve_begin(l->config.host, &err);
  if (l->resolve == NULL)
    return err;
  event.events = EPOLLIN;
  event.data.fd = ub_resolve_fd(l->resolve);
  ub_link_open_now.descriptors++;
  epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event);
  return UB_OK;
}

/* The name is no longer looked up. */
static void end_resolve (ub_link *l, int orphan) {
  if (l->resolve == NULL)
    return;
  if (!orphan)
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, ub_resolve_fd(l->resolve), NULL);
  ub_resolve_drop(l->resolve, orphan);
  l->resolve = NULL;
  ub_link_open_now.descriptors--;
}

static void note_loss (ub_link *l, int err) {
  l->lost = err;
  l->lost_served = 0;
}

/* Connect to the next address that can be had, or the line ends. */
static void try_addresses (ub_link *l) {
  int err = UB_ENETWORK;
  while (err == UB_ENETWORK && l->untried > 0) {
    l->untried--;
    err = connect_to(l, l->addresses.text[l->address]);
  }
  if (err == UB_OK) {
    ub_connection_flush(l, 0);
    return;
  }
  note_loss(l, err);
  end_line(l, err);
}

/* The name has these addresses: begin where it went on last. */
static void note_addresses (ub_link *l, const ub_addresses *found) {
  const char *last = l->addresses.text[l->address];
  int i = 0;
  while (i < found->count && strcmp(found->text[i], last) != 0)
    i++;
  l->address = i < found->count ? i : 0;
  l->addresses = *found;
  l->untried = found->count;
}

static void on_resolved (ub_link *l) {
  note_addresses(l, ub_resolve_look(l->resolve));
  end_resolve(l, 0);
  try_addresses(l);
}

void ub_connection_close (ub_link *l, int err, int orphan) {
  redisAsyncContext *a = l->context;
  l->loss = err;
  l->untried = 0;
  if (l->resolve != NULL)
    note_loss(l, err);
  end_resolve(l, orphan);
  if (a != NULL && orphan) {  /* its epoll is the parent's too: leave it alone */
    memset(&a->ev, 0, sizeof a->ev);
    l->context = NULL;
    ub_link_open_now.descriptors--;
  }
  if (a != NULL)
    redisAsyncFree(a);
  end_line(l, err);
}

/* }======================================================================== */

/* {== Sending and hearing ================================================= */

/* Write what there is; the connection may be gone after that. */
static void write_some (ub_link *l) {
  ub_pipe_guard guard;
  ub_pipe_guard_begin(&guard, 1);
  redisAsyncHandleWrite(l->context);
  ub_pipe_guard_end(&guard);
}

/* The next command in line becomes hiredis'. */
static void hand_over (ub_link *l) {
  ub_link_request *r = ub_link_pop(&l->line);
  redisAsyncContext *a = l->context;
  int err = redisAsyncFormattedCommand(a, on_reply, r, r->command, r->length);
  redisFreeCommand(r->command);
  r->command = NULL;
  if (err != REDIS_OK || a->replies.tail == NULL || a->replies.tail->privdata != r) {
    ub_link_end(r, NULL, UB_ENOMEM);  /* hiredis does not know of it */
    ub_connection_close(l, UB_ENOMEM, 0);
  } else if (a->c.err != 0) {
    ub_connection_close(l, UB_ENOMEM, 0);
  }
}

/* Nothing is asked before there is a connection, which may be another address', and before we are
   let in: it would be done as somebody else, or elsewhere. */
static int is_open (const ub_link *l) {
  return is_connected(l) && l->greetings == 0;
}

void ub_connection_flush (ub_link *l, int later) {
  while (is_open(l) && l->line.first != NULL)
    hand_over(l);
  if (l->context == NULL)
    return;
  if (later || !is_connected(l))
    watch(l);
  if (later)
    return;
  if (is_connected(l))
    write_some(l);
  else
    ub_link_step(l);  /* perhaps it is there already */
  watch(l);
}

/* No reply may be longer than that; what has come of one lies in the reader. */
static void check_length (ub_link *l) {
  if (l->context != NULL && l->context->c.reader->len > l->config.most_bytes)
    ub_connection_close(l, UB_EUPSTREAM, 0);
}

static void serve_socket (ub_link *l, uint32_t events) {
  int connected = is_connected(l);
  if ((events & EPOLLOUT) || !connected)
    write_some(l);
  if (connected && l->context != NULL && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
    redisAsyncHandleRead(l->context);
  check_length(l);
  if (l->context != NULL && l->loss != UB_OK)
    ub_connection_close(l, l->loss, 0);  /* it was not let in */
  if (l->context == NULL && l->untried > 0)
    try_addresses(l);
  else if (is_open(l) && l->line.first != NULL)
    ub_connection_flush(l, 0);  /* by now it is */
  watch(l);
}

void ub_connection_serve (ub_link *l, int fd, uint32_t events) {
  if (l->resolve != NULL && fd == ub_resolve_fd(l->resolve))
    on_resolved(l);
  else if (l->context != NULL && fd == l->context->c.fd)
    serve_socket(l, events);
}

/* }======================================================================== */
