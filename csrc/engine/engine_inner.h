/*
** engine_inner.h: what the two halves of the engine share. engine.c watches and
** steps; transfers.c takes requests and hands out their news.
*/
#ifndef UB_ENGINE_INNER_H
#define UB_ENGINE_INNER_H

#include "base/buf.h"
#include "engine/engine.h"
#include "engine/transfer.h"

#define UB_IDLE_EASY 64  /* handles of a kind that are kept for the next requests */

typedef struct ub_engine_place {
  ub_transfer *transfer;  /* NULL: free */
  uint32_t next_free;
} ub_engine_place;

/* Handles of a kind: each keeps its room for reading, which is not of the same size in both. */
typedef struct ub_engine_idle {
  CURL *easy[UB_IDLE_EASY];
  int count;
} ub_engine_idle;

/* When something has come last over the connection of a local port. */
#define UB_EARS 1024  /* ports with the same remainder share one: the last one has it */

typedef struct ub_engine_ear {
  int port;
  int64_t us;
} ub_engine_ear;

struct ub_engine {
  CURLM *multi;
  int epoll_fd, timer_fd;
  int *host_fd;        /* descriptors of the host's that are watched too */
  int host_fds, host_room;  /* how many there are, and fit */
  int heard;           /* one was readable since 'ub_engine_heard' */
  int64_t process;     /* the mark of the one that opened it */
  ub_engine *inherited;  /* in a forked child: the next one of its parent's */
  int64_t due_us;      /* when libcurl wants to be called; NEVER */
  int64_t armed_us;    /* what the timer is set to; NEVER */
  int64_t again_us;    /* the next wait when libcurl was called too early */
  int due_changed;     /* libcurl named a deadline since this was cleared */
  ub_transfer *line;   /* of those that have not been sent, the last one first */
  int64_t line_us;     /* when one of them may have stood there for long enough; NEVER */
  int lost;            /* a socket may have been lost: see 'find_lost' */
  int guard_pipe;      /* TLS was used: OpenSSL may raise SIGPIPE */
  ub_transfer *ready, *last_ready;
  ub_engine_place *places;
  uint32_t size, free_place, active;
  uint64_t sequence;
  ub_urls urls;        /* of the last requests */
  ub_buf handed;       /* the data that were taken last */
  ub_engine_idle idle[2];  /* the second kind is for streams */
  ub_engine_ear ears[UB_EARS];
};

/* What is open, over all engines. */
extern ub_engine_totals ub_engine_open_now;

/* libcurl was called: do what it left due, and set the timer. */
void ub_engine_settle (ub_engine *e);

/* The transfer is about to be added: its way to a connection is watched. */
void ub_engine_line_up (ub_engine *e, ub_transfer *t);

/* Take a transfer off the ready list. */
void ub_engine_unlist (ub_engine *e, ub_transfer *t);

#endif
