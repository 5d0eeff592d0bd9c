/*
** reply.h: what a Redis server answers, as objects of ours.
**
** hiredis reads the bytes and has its objects made by functions that may be
** replaced. Ours count their memory, take no more than a server of good will
** says, and may be kept beyond the callback they are given to. What they refuse
** ends the connection.
*/
#ifndef UB_REPLY_H
#define UB_REPLY_H

#include <hiredis/hiredis.h>

#define UB_REPLY_ITEMS 65536  /* of a list */

/* The kind of an error, see 'ub_reply_error', that a server says instead of all else. */
#define UB_REPLY_CROWDED "ERR max number of clients"

/* What a reader's 'privdata' is: what may come in. */
typedef struct ub_reply_gate {
  int (*expects) (void *self);  /* asked about each reply: 0 when none is expected */
  void *self;
  size_t most_bytes;  /* that one reply may take here, with all that is in it */
  size_t bytes;       /* of the one that is being read */
  int exceeded;       /* one was refused, since it takes more or is none that we know */
} ub_reply_gate;

/* The functions; 'privdata' of the reader is an 'ub_reply_gate'. */
extern redisReplyObjectFunctions ub_reply_functions;

/* From now on it is the caller's, who ends it by 'ub_reply_free'. */
void ub_reply_keep (redisReply *reply);

/* NULL is allowed. */
void ub_reply_free (redisReply *reply);

/*
** The kind of an error reply: its first words, where they are some that servers are
** known to say ("NOAUTH"), else "ERR". The rest may repeat what it was sent.
*/
const char *ub_reply_error (const redisReply *reply);

#endif
