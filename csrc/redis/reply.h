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

/* Whoever a reader's 'privdata' is asked about each reply: 0 when none is expected. */
typedef struct ub_reply_gate {
  int (*expects) (void *self);
  void *self;
} ub_reply_gate;

/* The functions; 'privdata' of the reader is an 'ub_reply_gate'. */
extern redisReplyObjectFunctions ub_reply_functions;

/* From now on it is the caller's, who ends it by 'ub_reply_free'. */
void ub_reply_keep (redisReply *reply);

/* NULL is allowed. */
void ub_reply_free (redisReply *reply);

/*
** The kind of an error reply: its first word, where it is one that servers are
** known to say ("NOAUTH"), else "ERR". The rest may repeat what it was sent.
*/
const char *ub_reply_error (const redisReply *reply);

#endif
