/*
** loopback.h: a server in the process of its client, for C programs that test
** the engine. It never waits: 'loopback_step' does what can be done now.
**
** Each connection gets the same answer, in pieces of the sizes named, once its
** request has come. Then the server says that nothing more comes, keeps the
** connection for one more request, or resets it.
*/
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include <stddef.h>
#include <stdint.h>

typedef enum loopback_end {
  LOOPBACK_CLOSE, LOOPBACK_KEEP, LOOPBACK_RESET
} loopback_end;

typedef struct loopback {
  int listener, port;
  int fd;                  /* the connection served; -1: none */
  char request[1024];      /* what has come of a request */
  size_t got;
  const uint8_t *answer;
  size_t length, sent;
  const uint8_t *cuts;     /* sizes of pieces, each at least 1, used in turn */
  size_t cut_count, pieces;
  loopback_end end;
  size_t answered;         /* answers sent to their end */
} loopback;

/* Listen on a free port. Gives 0, or -1 when there is none. */
int loopback_open (loopback *l);
void loopback_close (loopback *l);

/* From now on each request, which ends with 'body', is answered so. */
void loopback_answer (loopback *l, const uint8_t *answer, size_t length, loopback_end end);

/* Send at most these many bytes at a time. */
void loopback_cut (loopback *l, const uint8_t *cuts, size_t count);

/* Do what can be done now, for a request that ends with 'tail'. */
void loopback_step (loopback *l, const char *tail);

/* Forget the connection served: it is closed. */
void loopback_drop (loopback *l);

#endif
