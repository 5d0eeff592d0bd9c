/*
** link.h: a connection to a Redis server behind one descriptor.
**
**   send ──► hiredis ◄── step         hiredis' callbacks only note the reply and
**               │                     put its request on the list of those that
**               ▼                     have ended
**   next ◄── list of ids ──► take, once for each
**
** Nothing here waits: whoever hosts it waits until the descriptor is readable,
** and steps. It connects when something is sent and there is no connection; what
** is sent meanwhile waits until the server has let us in. Where a name has several
** addresses the next one is tried when one takes no connection, and the one that was
** good last comes first. A connection that is lost, or dropped, ends all its requests.
** Replies come in the order of the requests, as Redis has it.
**
** A link can be made before a fork and used in both processes: in each of them
** 'begin' gives it a descriptor and connections of its own, and the child lets go
** of its parent's without a word to the server.
*/
#ifndef UB_LINK_H
#define UB_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "redis/reply.h"

#define UB_LINK_REQUESTS 65536  /* that may be under way */

typedef struct ub_link ub_link;

typedef struct ub_link_config {
  const char *path;            /* of a unix socket; or NULL: */
  const char *host;
  int port, database;
  const char *user, *password; /* NULL for none */
  size_t most_bytes;           /* of one reply */
} ub_link_config;

/* What became of a request. */
typedef struct ub_answer {
  int ended;          /* 0: not yet; the other fields say nothing */
  int err;            /* why there is no reply; UB_OK when there is one */
  redisReply *reply;  /* to be freed by 'ub_reply_free' */
} ub_answer;

typedef struct ub_link_state {
  int connected;      /* the server has taken the connection */
  int64_t waiting;    /* requests without a reply */
  uint64_t bytes;     /* of them */
  int64_t silent_us;  /* how long they have been waiting without a word; 0 for none */
} ub_link_state;

typedef struct ub_link_totals {
  int64_t links, descriptors;
} ub_link_totals;

/* A link that has nothing open yet. NULL and '*err': UB_ENOMEM. */
ub_link *ub_link_new (const ub_link_config *config, int *err);

/* Close all, free all. NULL is allowed. */
void ub_link_free (ub_link *l);

/* Has it begun in this process? */
int ub_link_owned (const ub_link *l);

/* Open the descriptor of this process; a parent's is let go of. UB_OK, UB_ENETWORK. */
int ub_link_begin (ub_link *l);

/* The descriptor, which stays the same; -1: it has not begun here. */
int ub_link_fd (const ub_link *l);

/*
** Send a command. UB_OK and '*id' (under 2^53, never 0): it will end. Or nothing
** was sent: UB_ENOMEM, UB_EFULL (too many under way), UB_ENETWORK (no connection to be
** had), UB_ECLOSED (it has not begun in this process).
**
** 'waits': whoever sends it will let us step soon. So, where a reply is awaited anyway,
** it is written then, together with what others send meanwhile; else at once.
*/
int ub_link_send (ub_link *l, int count, const char *const *words, const size_t *lengths,
                  int waits, uint64_t *id);

/* Do what is due, or a part of it: then it is readable still. */
void ub_link_step (ub_link *l);

/* A request that has ended, each once; 0: none. Forgotten ones are not named. */
uint64_t ub_link_next (ub_link *l);

/* What became of it; when it has ended, it is gone now. Unknown ones: UB_ECANCELLED. */
ub_answer ub_link_take (ub_link *l, uint64_t id);

/* Nobody wants to know any more. */
void ub_link_forget (ub_link *l, uint64_t id);

/* End the connection: what is under way ends with 'err'. The next command connects anew. */
void ub_link_drop (ub_link *l, int err);

/*
** Why the last connection was lost, once; UB_OK: none was since. '*served': it
** had answered a command before.
*/
int ub_link_lost (ub_link *l, int *served);

ub_link_state ub_link_look (const ub_link *l);

/* What is open in this process, over all links. */
ub_link_totals ub_link_count (void);

#endif
