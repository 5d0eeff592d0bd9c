/*
** link_inner.h: what the two halves of a link share. link.c has its requests and
** its descriptor; connection.c is what hiredis is asked to do.
*/
#ifndef UB_LINK_INNER_H
#define UB_LINK_INNER_H

#include <hiredis/async.h>

#include "redis/link.h"
#include "redis/resolve.h"

typedef struct ub_link_request {
  uint64_t id;
  ub_link *link;
  int ended, forgotten, listed;
  int err;
  redisReply *reply;
  char *command;        /* as hiredis has written it, until it was handed over */
  size_t length;
  struct ub_link_request *next;  /* of the line, or of the list of those that have ended */
} ub_link_request;

typedef struct ub_link_queue {
  ub_link_request *first, *last;
} ub_link_queue;

struct ub_link {
  ub_link_config config;
  int64_t process;        /* the mark of the one that has begun it; 0: none */
  int epoll_fd;
  redisAsyncContext *context;  /* NULL: no connection */
  ub_reply_gate gate;
  ub_resolve *resolve;    /* the name is being looked up; or NULL */
  ub_addresses addresses; /* that the name had last; none of what is no name */
  int address;            /* the one that is tried, or the first to be tried next time */
  int untried;            /* how many are left for this time */
  uint32_t wanted, watched;    /* events of the connection's socket */
  int loss;               /* why we end the connection ourselves; UB_OK: it ends by itself */
  int lost, lost_served;  /* see 'ub_link_lost' */
  int served;             /* this connection has answered a command */
  int greetings;          /* what was said first and is not answered yet */
  ub_link_queue line;     /* commands that wait for a connection */
  ub_link_queue ended;
  ub_link_request **places;
  uint32_t size, active;
  uint64_t sequence;
  uint64_t bytes;
  int64_t heard_us;       /* when the last reply came, or the first command was sent */
  int64_t waiting;
  char texts[];           /* of the configuration */
};

/* What is open, over all links. */
extern ub_link_totals ub_link_open_now;

void ub_link_push (ub_link_queue *q, ub_link_request *r);
ub_link_request *ub_link_pop (ub_link_queue *q);

/* A request has ended: with a reply, which is the request's now, or 'err'. */
void ub_link_end (ub_link_request *r, redisReply *reply, int err);

/* {== connection.c ======================================================== */

/* Connect, or begin to. UB_OK; UB_ENETWORK, UB_ENOMEM: nothing has begun. */
int ub_connection_open (ub_link *l);

/* Hand the commands in line to hiredis, if there is a connection, and write what can be;
   or 'later', in the next step. */
void ub_connection_flush (ub_link *l, int later);

/* The events of the socket, or of the resolver. */
void ub_connection_serve (ub_link *l, int fd, uint32_t events);

/* End it; 'orphan': it is the parent's, who goes on. Everything under way ends. */
void ub_connection_close (ub_link *l, int err, int orphan);

/* }======================================================================== */

#endif
